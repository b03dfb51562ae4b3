// The messages of a Linux kernel (printk).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::reader::linux_guest {

struct Message {
  uint64_t sequence = 0;
  uint64_t time_ns = 0;  // since boot, on the kernel's clock
  uint8_t facility = 0;
  uint8_t level = 0;             // 0 emerg, 1 alert, 2 crit, 3 err, 4 warning, 5 notice, 6 info, 7 debug
  bool continues = false;        // not ended by a newline: the next record of the caller goes on
  bool is_continuation = false;  // of the caller's record before, which the message of somebody else cut off
  bool finished = true;          // false: more may have been about to come; the guest's own dmesg does not show it yet
  uint32_t caller = 0;           // a task's pid, or 0x80000000 + CPU; 0 when it is not known
  std::string text;              // as the guest has it, may hold newlines
};

struct Messages {
  std::vector<Message> records{};
  uint64_t lost = 0;     // records that were overwritten or torn
  std::string source{};  // "prb by BTF", "log_buf by VMCOREINFO", ...
};

/// As the guest's `dmesg` prints them: "[    0.000000] text", a line for each of the text's lines. What is neither a
/// tab nor printable UTF-8 stands there as a backslash, x and two digits.
std::string dmesg_text(const Messages& messages);

/// Appends a text of the guest in that way.
void append_printable(std::string& out, std::string_view text);

}  // namespace gcore::reader::linux_guest
