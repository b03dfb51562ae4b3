#include "tools/gcore-dump/flat_view.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace gcore::tools::qemu {
namespace {

/// Cuts a hexadecimal number off the front; nothing when there is none.
std::optional<uint64_t> take_hex(std::string_view& text) {
  uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (problem != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

/// Splits "mem @00000000000c0000", and drops what -d or an accelerator adds after the name.
void set_block(RamRegion& region, std::string_view rest) {
  const size_t at = rest.rfind(" @");
  if (at != std::string_view::npos) {
    std::string_view digits = rest.substr(at + 2);
    const size_t count = std::min(digits.find(' '), digits.size());
    const bool last = count == digits.size() || digits.substr(count) == " KVM";
    std::string_view number = digits.substr(0, count);
    if (const auto offset = take_hex(number); count == 16 && offset && number.empty() && last) {
      region.offset = *offset;
      region.block = rest.substr(0, at);
      return;
    }
  }
  if (rest.ends_with(" KVM")) rest.remove_suffix(4);
  region.block = rest;
}

enum class Line { other, ram, broken };

/// "  0000000000000000-000000000009ffff (prio 0, ram): mem"
Line parse_region(std::string_view line, RamRegion& region) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto first = take_hex(line);
  if (!first || !take(line, "-")) return Line::other;
  const auto last = take_hex(line);
  if (!last || *last < *first || !take(line, " (prio ")) return Line::broken;
  const size_t comma = line.find(", ");
  const size_t end = line.find("): ");
  if (comma == std::string_view::npos || end == std::string_view::npos || end < comma) return Line::broken;
  std::string_view type = line.substr(comma + 2, end - comma - 2);
  take(type, "nv-");
  if (type != "ram" && type != "rom") return Line::other;
  region.address = *first;
  region.size = *last - *first + 1;
  if (region.size == 0) return Line::broken;  // all of 2^64
  set_block(region, line.substr(end + 3));
  return Line::ram;
}

void append(std::vector<RamRegion>& regions, RamRegion region) {
  if (!regions.empty()) {
    RamRegion& last = regions.back();
    if (last.block == region.block && last.address + last.size == region.address &&
        last.offset + last.size == region.offset) {
      last.size += region.size;
      return;
    }
  }
  regions.push_back(std::move(region));
}

}  // namespace

std::expected<std::vector<RamRegion>, std::string> parse_flat_view(std::string_view text) {
  std::vector<RamRegion> found;
  bool in_memory = false, seen = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("FlatView #")) {
      if (seen) break;
      in_memory = false;
    } else if (line.starts_with(" AS \"memory\",")) {
      in_memory = seen = true;
    } else if (in_memory && line.starts_with("  ")) {
      RamRegion region;
      const Line kind = parse_region(line, region);
      if (kind == Line::broken) return std::unexpected("a line that makes no sense: " + std::string(line));
      if (kind == Line::ram) found.push_back(std::move(region));
    }
  }
  if (!seen) return std::unexpected("it does not show the address space \"memory\"");
  if (found.empty()) return std::unexpected("it shows no RAM");
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  std::vector<RamRegion> merged;
  for (RamRegion& region : found) {
    if (!merged.empty() && merged.back().address + (merged.back().size - 1) >= region.address)
      return std::unexpected("its regions overlap");
    append(merged, std::move(region));
  }
  return merged;
}

}  // namespace gcore::tools::qemu
