#include "reader/guest/linux/symbols/elf_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kMaxNames = 16 << 20, kMaxNote = 4096;
constexpr uint32_t kMaxSections = 1 << 20, kNote = 7, kNobits = 8, kBuildIdNote = 3, kNumberElsewhere = 0xffff;

std::unexpected<Error> fail(Error::Kind kind, std::string why) { return std::unexpected(Error{kind, std::move(why)}); }

}  // namespace

Expected<ElfSections> ElfSections::read(const ReadAt& read) {
  std::array<std::byte, 64> header{};
  const size_t got = read(0, header);
  if (got < 52 || std::memcmp(header.data(), "\177ELF", 4) != 0)
    return fail(Error::Kind::not_elf, "it is not an ELF file");
  ElfSections sections;
  const bool wide = sections.is_64_bit_ = header[4] == std::byte{2};
  const auto order = sections.order_ = header[5] == std::byte{2} ? format::ByteOrder::big : format::ByteOrder::little;
  if (wide && got < 64) return fail(Error::Kind::truncated, "it ends within its header");
  const auto u16 = [&](const std::byte* at) { return format::load<uint16_t>(at, order); };
  const auto u32 = [&](const std::byte* at) { return format::load<uint32_t>(at, order); };
  const auto word = [&](const std::byte* at) { return wide ? format::load<uint64_t>(at, order) : u32(at); };
  sections.type_ = u16(&header[16]), sections.machine_ = u16(&header[18]);
  const uint64_t table = word(&header[wide ? 40 : 32]);
  const uint16_t entry_size = u16(&header[wide ? 58 : 46]);
  uint64_t count = u16(&header[wide ? 60 : 48]), names = u16(&header[wide ? 62 : 50]);
  const size_t entry_bytes = wide ? 64 : 40;
  if (table == 0) return sections;
  if (entry_size != entry_bytes) return fail(Error::Kind::malformed, "its section headers have an odd size");

  std::vector<std::byte> entries(entry_bytes);
  if (read(table, entries) != entry_bytes)
    return fail(Error::Kind::truncated, fmt::format("its section headers, at {}, are past its end", table));
  if (count == 0) count = word(&entries[wide ? 32 : 20]);
  if (names == kNumberElsewhere) names = u32(&entries[wide ? 40 : 24]);
  if (count > kMaxSections) return fail(Error::Kind::malformed, fmt::format("it has {} sections", count));
  entries.resize(entry_bytes * count);
  if (read(table, entries) != entries.size())
    return fail(Error::Kind::truncated, fmt::format("it ends within its {} section headers, at {}", count, table));
  std::vector<uint32_t> name_at;
  for (size_t i = 0; i < count; ++i) {
    const std::byte* at = &entries[i * entry_bytes];
    Section section{.name = {},
                    .type = u32(at + 4),
                    .link = u32(at + (wide ? 40 : 24)),
                    .info = u32(at + (wide ? 44 : 28)),
                    .flags = word(at + 8),
                    .address = word(at + (wide ? 16 : 12)),
                    .offset = word(at + (wide ? 24 : 16)),
                    .size = word(at + (wide ? 32 : 20)),
                    .entry_size = word(at + (wide ? 56 : 36)),
                    .header_at = table + i * entry_bytes};
    name_at.push_back(u32(at));
    sections.list_.push_back(std::move(section));
  }
  if (names >= count) return sections;
  sections.names_ = names;
  const auto texts = bytes(read, sections.list_[names], kMaxNames);
  if (!texts) return fail(Error::Kind::truncated, "the names of its sections are past its end");
  for (size_t i = 0; i < count; ++i) {
    if (name_at[i] >= texts->size()) continue;
    const auto* text = reinterpret_cast<const char*>(texts->data()) + name_at[i];
    sections.list_[i].name.assign(text, strnlen(text, texts->size() - name_at[i]));
  }
  return sections;
}

const ElfSections::Section* ElfSections::find(std::string_view name) const {
  const auto found = std::ranges::find(list_, name, &Section::name);
  return found == list_.end() ? nullptr : &*found;
}

std::optional<std::vector<std::byte>> ElfSections::bytes(const ReadAt& read, const Section& section, uint64_t limit) {
  if (section.type == kNobits || section.size > limit) return std::nullopt;
  std::vector<std::byte> bytes(section.size);
  if (read(section.offset, bytes) != bytes.size()) return std::nullopt;
  return bytes;
}

std::string ElfSections::build_id(const ReadAt& read) const {
  for (const Section& section : list_) {
    if (section.type != kNote) continue;
    const auto note = bytes(read, section, kMaxNote);
    for (size_t at = 0; note && at + 12 <= note->size();) {
      const uint64_t name = format::load<uint32_t>(&(*note)[at], order_),
                     size = format::load<uint32_t>(&(*note)[at + 4], order_);
      const uint32_t kind = format::load<uint32_t>(&(*note)[at + 8], order_);
      const uint64_t value = at + 12 + (name + 3) / 4 * 4;
      if (value + size > note->size()) break;
      if (kind == kBuildIdNote && name == 4 && std::memcmp(&(*note)[at + 12], "GNU", 4) == 0) {
        std::string text;
        for (size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", std::to_integer<unsigned>((*note)[value + i]));
        return text;
      }
      at = value + (size + 3) / 4 * 4;
    }
  }
  return "";
}

}  // namespace gcore::reader::linux_guest
