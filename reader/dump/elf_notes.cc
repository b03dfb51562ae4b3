#include "reader/dump/elf_notes.h"

#include <fmt/format.h>

#include <algorithm>

#include "writer/base/sparse_file.h"

namespace gcore::reader {
namespace {

constexpr size_t kHeaderSize = 12, kLongestName = 64;

bool is_printable(std::string_view name) {
  return std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
}

uint64_t align(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

/// `padding` is 4 or 8; offsets are aligned relative to the segment's start, which is itself aligned in the file.
ElfNotes parse(std::span<const std::byte> segment, format::ByteOrder order, uint64_t padding) {
  ElfNotes out;
  uint64_t at = 0;
  while (segment.size() - at >= kHeaderSize && !base::is_zero(segment.subspan(at, kHeaderSize))) {
    const std::byte* header = segment.data() + at;
    const uint64_t name_size = format::load<uint32_t>(header, order);
    const uint64_t descriptor_size = format::load<uint32_t>(header + 4, order);
    const uint64_t name_at = at + kHeaderSize, descriptor_at = align(name_at + name_size, padding);
    const uint64_t end = descriptor_at + descriptor_size;
    if (end > segment.size()) {
      out.problem = fmt::format(
          "the note at offset {} of the note segment has a name of {} bytes and a descriptor of {} "
          "bytes, which end at offset {}, past the end of the segment ({} bytes); it and what follows is lost",
          at, name_size, descriptor_size, end, segment.size());
      return out;
    }
    std::string_view name(reinterpret_cast<const char*>(segment.data() + name_at), name_size);
    while (!name.empty() && name.back() == '\0') name.remove_suffix(1);
    if (!is_printable(name)) {
      out.problem = fmt::format(
          "the note at offset {} of the note segment has a name that is not text; it and what follows is lost", at);
      return out;
    }
    out.notes.push_back(
        {name, format::load<uint32_t>(header + 8, order), segment.subspan(descriptor_at, descriptor_size), at});
    at = out.end = std::min<uint64_t>(align(end, padding), segment.size());
  }
  if (!base::is_zero(segment.subspan(at)))
    out.problem = fmt::format("{} bytes are left after the note that ends at offset {} of the note segment ({} bytes)",
                              segment.size() - at, at, segment.size());
  return out;
}

}  // namespace

bool starts_with_elf_note(std::span<const std::byte> segment, format::ByteOrder order) {
  if (segment.size() < kHeaderSize) return false;
  const uint32_t size = format::load<uint32_t>(segment.data(), order);
  if (size < 2 || size > kLongestName || size > segment.size() - kHeaderSize) return false;
  const std::string_view name(reinterpret_cast<const char*>(segment.data() + kHeaderSize), size);
  if (name.back() == '\0') return is_printable(name.substr(0, size - 1));
  // VirtualBox's sizes of names do not count the NUL that follows them.
  return is_printable(name) && segment.size() > kHeaderSize + size && segment[kHeaderSize + size] == std::byte{0};
}

ElfNotes parse_elf_notes(std::span<const std::byte> segment, format::ByteOrder order) {
  ElfNotes by_four = parse(segment, order, 4);
  if (by_four.problem.empty() && by_four.end == segment.size()) return by_four;
  ElfNotes by_eight = parse(segment, order, 8);
  if (by_eight.problem.empty() && (by_eight.end == segment.size() || !by_four.problem.empty())) return by_eight;
  if (by_four.problem.empty()) return by_four;
  // The wrong padding makes notes without names of what stands between the others.
  const auto named = [](const ElfNotes& parsed) {
    return std::ranges::count_if(parsed.notes, [](const ElfNote& note) { return !note.name.empty(); });
  };
  return named(by_eight) > named(by_four) ? by_eight : by_four;
}

}  // namespace gcore::reader
