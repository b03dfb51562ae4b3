// VMCOREINFO: the text that a Linux kernel leaves for debuggers (kernel/crash_core.c; the keys are described in
// Documentation/admin-guide/kdump/vmcoreinfo.rst). Lines KEY=value; the kernel prints symbols and KERNELOFFSET in
// hexadecimal without a prefix, and numbers in decimal, signed, or with 0x.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gcore::reader {

/// Looks keys up in a text, which must outlive it. A key that is not there, and a value that is no number, is nothing.
class Vmcoreinfo {
 public:
  explicit Vmcoreinfo(std::string_view text) : text_(text) {}

  std::optional<std::string_view> value(std::string_view key) const;

  /// A decimal value, possibly negative (then modulo 2^64), or a hexadecimal one with 0x.
  std::optional<uint64_t> number(std::string_view key) const { return parse(key, 10); }
  /// A hexadecimal value, with or without 0x.
  std::optional<uint64_t> hex(std::string_view key) const { return parse(key, 16); }
  /// SYMBOL(name): the address of a symbol in the running kernel.
  std::optional<uint64_t> symbol(std::string_view name) const;

  bool empty() const { return text_.empty(); }

 private:
  std::optional<uint64_t> parse(std::string_view key, int base) const;

  std::string_view text_;
};

/// A note is never longer: the kernel keeps it in whole pages of its own, and fills one (of 4 KiB) at most.
inline constexpr size_t kMaxVmcoreinfoNote = 8192;

/// The text of the note that starts with the first of these bytes, or "". The kernel's own copy of the note stands at
/// the start of a page (before 4.13: anywhere in its image, 4-byte aligned). It is as the kernel wrote it once and for
/// all while it booted.
std::string vmcoreinfo_note_at(std::string_view bytes);

}  // namespace gcore::reader
