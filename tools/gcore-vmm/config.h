// The configuration of a VM: one option a line, as CLI users write it (see gcore-vmm.1).
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/dump_limits.h"
#include "writer/format/elf.h"

namespace gcore::tools::vmm {

inline constexpr size_t kMaxCpus = 64;
inline constexpr uint64_t kMaxRam = uint64_t{1} << 40;  // all ranges together

struct RamRange {
  std::optional<uint64_t> address;  // guest-physical; nothing: where the architecture has its RAM
  uint64_t size = 0;                // bytes, a multiple of 4096, not 0
};

/// What happens when a device has something to say. The dump comes first.
struct DeviceAction {
  bool dump = false, terminate = true;
};

/// A watchdog and what happens when the guest no longer serves it.
struct WatchdogConfig : DeviceAction {
  enum class Device : uint8_t { ib700, sp805 } device = Device::ib700;
};

enum class EngineKind : uint8_t { unicorn, kvm };

struct Config {
  std::string system;  // "" without a `system` line
  format::Machine arch = format::Machine::x86_64;
  size_t cpus = 1;  // at least 1
  std::vector<RamRange> ram;
  EngineKind engine = EngineKind::unicorn;
  std::string load;            // "" runs the built-in guest, or
  std::string kernel, initrd;  // a Linux kernel; "" without one
  std::string cmdline;         // text for the guest program, or for the kernel
  std::optional<WatchdogConfig> watchdog;
  std::optional<DeviceAction> pvpanic;  // what happens when the guest panics
  std::optional<std::string> dump;      // "DIRECTORY" or "|COMMAND"; nothing: this VM is not dumped
  bool dump_live = false;               // the guest goes on while its memory is copied
  uint64_t dump_aside = 0;              // bytes of memory for copies, with which it goes on sooner
  std::chrono::milliseconds dump_deadline = kDefaultPauseDeadline;  // how long a dump may pause the guest; 0: for ever
  uint64_t dump_rate = 0;                                           // bytes a second; 0: as fast as it goes
};

/// Parses a whole configuration. `name` is the file's name, for messages. The error is one line without newline:
/// "vm.conf:3: unknown option 'rma', did you mean 'ram'?"
std::expected<Config, std::string> parse_config(std::string_view text, std::string_view name);

/// Reads and parses a file of at most 1 MiB.
std::expected<Config, std::string> read_config(const std::string& path);

/// What `gcore-vmm --demo` runs: two vCPUs, 256 MiB, dumps into `dump_directory`.
Config demo_config(std::string dump_directory);

/// The words of a line: blanks separate them, "..." or '...' keeps blanks together, # starts a comment where a word
/// could start. Within "..." a backslash takes the next character as it is. The error says what is wrong with the line.
std::expected<std::vector<std::string>, std::string> split_words(std::string_view line);

}  // namespace gcore::tools::vmm
