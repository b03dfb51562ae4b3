// VMCOREINFO: the text that a Linux kernel leaves for debuggers (kernel/crash_core.c; the keys are described in
// Documentation/admin-guide/kdump/vmcoreinfo.rst). Lines KEY=value; the kernel prints symbols and KERNELOFFSET in
// hexadecimal without a prefix, and numbers in decimal, signed, or with 0x.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "writer/format/elf.h"

namespace gcore::format {

/// Looks keys up in a text, which must outlive it. A key that is not there, and a value that is no number, is nothing.
class Vmcoreinfo {
 public:
  explicit Vmcoreinfo(std::string_view text) : text_(text) {}

  std::optional<std::string_view> value(std::string_view key) const;

  /// A decimal value, possibly negative (then modulo 2^64), or a hexadecimal one with 0x.
  std::optional<uint64_t> number(std::string_view key) const;
  /// A hexadecimal value, with or without 0x.
  std::optional<uint64_t> hex(std::string_view key) const;
  /// SYMBOL(name): the address of a symbol in the running kernel.
  std::optional<uint64_t> symbol(std::string_view name) const;

  /// Calls on_symbol(value) for each SYMBOL(name) whose value is a number.
  template <class OnSymbol>
  void for_each_symbol(const OnSymbol& on_symbol) const {
    for (std::string_view rest = text_; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : rest.size());
      const size_t equals = line.find('=');
      if (!line.starts_with("SYMBOL(") || equals == std::string_view::npos) continue;
      if (const auto value = parse(line.substr(equals + 1), 16)) on_symbol(*value);
    }
  }

  bool empty() const { return text_.empty(); }

 private:
  static std::optional<uint64_t> parse(std::string_view text, int base);

  std::string_view text_;
};

/// Where the running kernel's first symbol, _stext, is.
struct KernelStart {
  uint64_t address;                            // guest-virtual
  std::optional<uint64_t> physical_address{};  // nothing where VMCOREINFO does not say
};

/// Where an x86_64 kernel has its image (__START_KERNEL_map), when it is not moved in physical memory.
inline constexpr uint64_t kX86_64KernelMap = 0xffffffff80000000;

/// By how much virtual addresses in the kernel's image are above physical ones, modulo 2^64. x86_64: kX86_64KernelMap
/// less NUMBER(phys_base); aarch64: NUMBER(kimage_voffset); 32-bit x86: 0xc0000000. Nothing where that is not said.
std::optional<uint64_t> kernel_image_offset(Machine machine, const Vmcoreinfo& info);

/// Nothing without _stext.
std::optional<KernelStart> kernel_start(Machine machine, const Vmcoreinfo& info);

}  // namespace gcore::format
