#include "writer/format/vmcoreinfo.h"

#include <charconv>
#include <string>
#include <system_error>

namespace gcore::format {

std::optional<std::string_view> Vmcoreinfo::value(std::string_view key) const {
  std::string_view rest = text_;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=')
      return line.substr(key.size() + 1);
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : rest.size());
  }
  return std::nullopt;
}

std::optional<uint64_t> Vmcoreinfo::number(std::string_view key) const {
  const auto text = value(key);
  return text ? parse(*text, 10) : std::nullopt;
}

std::optional<uint64_t> Vmcoreinfo::hex(std::string_view key) const {
  const auto text = value(key);
  return text ? parse(*text, 16) : std::nullopt;
}

std::optional<uint64_t> Vmcoreinfo::symbol(std::string_view name) const {
  return hex("SYMBOL(" + std::string(name) + ")");
}

std::optional<uint64_t> Vmcoreinfo::parse(std::string_view text, int base) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
    base = 16;
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return negative ? 0 - number : number;
}

std::optional<uint64_t> kernel_image_offset(Machine machine, const Vmcoreinfo& info) {
  constexpr uint64_t kX86PageOffset = 0xc0000000;
  switch (machine) {
    case Machine::x86_64:
      if (const auto base = info.number("NUMBER(phys_base)")) return kX86_64KernelMap - *base;
      return std::nullopt;
    case Machine::aarch64:
      return info.hex("NUMBER(kimage_voffset)");
    case Machine::x86:
      return kX86PageOffset;
  }
  return std::nullopt;
}

std::optional<KernelStart> kernel_start(Machine machine, const Vmcoreinfo& info) {
  const auto start = info.symbol("_stext");
  if (!start) return std::nullopt;
  const auto offset = kernel_image_offset(machine, info);
  return KernelStart{*start, offset ? std::optional(*start - *offset) : std::nullopt};
}

}  // namespace gcore::format
