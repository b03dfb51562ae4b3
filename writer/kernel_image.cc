#include "writer/kernel_image.h"

#include <algorithm>
#include <charconv>

namespace gcore::writer {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kTextMapping = 0xffffffff80000000;  // x86_64: __START_KERNEL_map
constexpr uint64_t kLargestImage = 1 << 30;            // x86_64: KERNEL_IMAGE_SIZE; aarch64's is smaller

/// A whole number in the given base, "-" and (in base 16) "0x" in front included.
std::optional<uint64_t> number(std::string_view text, int base) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? -value : value;
}

/// Calls on_line(key, value) for each line KEY=VALUE.
template <class OnLine>
void for_each_line(std::string_view text, const OnLine& on_line) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t equals = line.find('=');
    if (equals != std::string_view::npos) on_line(line.substr(0, equals), line.substr(equals + 1));
  }
}

}  // namespace

std::optional<KernelImage> find_kernel_image(format::Machine machine, std::string_view vmcoreinfo) {
  std::optional<uint64_t> start, difference;  // of virtual and physical addresses
  for_each_line(vmcoreinfo, [&](std::string_view key, std::string_view value) {
    if (key == "SYMBOL(_stext)") start = number(value, 16);
    if (machine == format::Machine::x86_64 && key == "NUMBER(phys_base)") {
      difference = number(value, 10);
      if (difference) difference = kTextMapping - *difference;
    }
    if (machine == format::Machine::aarch64 && key == "NUMBER(kimage_voffset)") difference = number(value, 16);
  });
  if (!start || !difference) return std::nullopt;
  const uint64_t first = *start & ~(kPage - 1);
  uint64_t last = first;  // the last page
  for_each_line(vmcoreinfo, [&](std::string_view key, std::string_view value) {
    const auto symbol = key.starts_with("SYMBOL(") ? number(value, 16) : std::nullopt;
    // Some symbols' values are pointers to elsewhere.
    if (symbol && *symbol > first && *symbol - first < kLargestImage) last = std::max(last, *symbol & ~(kPage - 1));
  });
  return KernelImage{first, first - *difference, last - first + kPage};
}

}  // namespace gcore::writer
