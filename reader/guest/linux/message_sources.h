// Where a Linux kernel keeps its messages: a function each. Private to the reader.
#pragma once

#include "reader/error.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

// message_ring.cc: 5.10 and later (kernel/printk/printk_ringbuffer.h).
Expected<Messages> read_message_ring(const Kernel& kernel, VirtAddr ring);

// message_log.cc: before 5.10 (kernel/printk/printk.c, struct printk_log). `log` is the variable that points to it.
Expected<Messages> read_message_log(const Kernel& kernel, VirtAddr log);

/// An offset or a size by VMCOREINFO, which needs no BTF and costs nothing, else by BTF.
class PrintkLayout {
 public:
  explicit PrintkLayout(const Kernel& kernel);

  uint64_t offset(std::string_view type, std::string_view member);
  uint64_t size(std::string_view type);
  /// An address, by VMCOREINFO, else by kallsyms.
  std::optional<VirtAddr> symbol(std::string_view name) const;

  /// What was asked for and is nowhere known: "the offset of printk_info.seq". Empty: all there. What is missing was
  /// given as 0.
  const std::string& missing() const { return missing_; }
  /// "VMCOREINFO" or "BTF": what was needed.
  const char* source() const { return used_btf_ ? "BTF" : "VMCOREINFO"; }

 private:
  uint64_t or_missing(std::optional<uint64_t> value, std::string what);

  const Kernel& kernel_;
  std::string missing_;
  bool used_btf_ = false;
};

/// What becomes of the byte that holds flags (5 bits) and level (3 bits), in the byte order of the guest.
void set_flags_and_level(Message& message, uint8_t bits, format::ByteOrder order);

}  // namespace gcore::reader::linux_guest
