#include "reader/guest/linux/symbols/elf_image.h"

#include <utility>

#include "reader/guest/linux/symbols/bytes.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kHeader = 64, kProgramHeader = 56, kSectionHeader = 64;
constexpr uint64_t kPage = 4096;

uint64_t file_offset(const ElfSection& section, uint64_t at) {
  if (section.bytes.empty()) return at;
  // A loaded one stands in its page as in memory.
  const uint64_t alignment = section.loaded && section.type == kShtProgbits ? kPage
                             : section.alignment                            ? section.alignment
                                                                            : 1;
  const uint64_t wanted = alignment == kPage ? section.address % kPage : 0;
  return at + (wanted - at % alignment + alignment) % alignment;
}

void write_header(Bytes& out, format::Machine machine, format::ByteOrder order, size_t program_headers,
                  uint64_t section_headers, size_t sections) {
  out.u8(0x7f);
  out.text("ELF");
  out.take().pop_back();
  out.u8(2), out.u8(order == format::ByteOrder::little ? 1 : 2), out.u8(1), out.u8(0);
  out.u64(0);
  out.u16(2);  // ET_EXEC
  out.u16(static_cast<uint16_t>(machine));
  out.u32(1);
  out.u64(0);
  out.u64(program_headers ? kHeader : 0);
  out.u64(section_headers);
  out.u32(0);
  out.u16(kHeader), out.u16(kProgramHeader), out.u16(program_headers);
  out.u16(kSectionHeader), out.u16(sections), out.u16(sections - 1);
}

}  // namespace

std::vector<std::byte> make_elf_image(format::Machine machine, format::ByteOrder order,
                                      std::vector<ElfSection> sections) {
  Bytes names(order);
  names.u8(0);
  std::vector<size_t> name_at;
  sections.push_back({".shstrtab", kShtStrtab});
  for (const ElfSection& section : sections) name_at.push_back(names.size()), names.text(section.name);
  sections.back().bytes = std::move(names.take());
  sections.back().size = sections.back().bytes.size();

  size_t program_headers = 0;
  for (const ElfSection& section : sections) program_headers += section.loaded ? 1 : 0;
  std::vector<uint64_t> offsets;
  uint64_t at = kHeader + program_headers * kProgramHeader;
  for (const ElfSection& section : sections) {
    offsets.push_back(at = file_offset(section, at));
    at += section.bytes.size();
  }
  const uint64_t headers_at = (at + 7) / 8 * 8;

  Bytes out(order);
  out.reserve(headers_at + (sections.size() + 1) * kSectionHeader);
  write_header(out, machine, order, program_headers, headers_at, sections.size() + 1);
  for (size_t i = 0; i < sections.size(); ++i) {
    const ElfSection& section = sections[i];
    if (!section.loaded) continue;
    const bool note = section.type == kShtNote;
    out.u32(note ? 4 : 1);
    out.u32((section.flags & kShfExec ? 1 : 0) | (section.flags & kShfWrite ? 2 : 0) | 4);
    out.u64(offsets[i]), out.u64(section.address), out.u64(section.address);
    out.u64(section.bytes.size()), out.u64(note ? section.bytes.size() : section.size);
    out.u64(note ? 4 : section.bytes.empty() ? 1 : kPage);
  }
  for (size_t i = 0; i < sections.size(); ++i) {
    auto& bytes = out.take();
    bytes.resize(offsets[i]);
    bytes.insert(bytes.end(), sections[i].bytes.begin(), sections[i].bytes.end());
    sections[i].bytes = {};
  }
  out.take().resize(headers_at);
  for (size_t i = 0; i < kSectionHeader; ++i) out.u8(0);
  for (size_t i = 0; i < sections.size(); ++i) {
    const ElfSection& section = sections[i];
    out.u32(name_at[i]), out.u32(section.type);
    out.u64(section.flags), out.u64(section.address), out.u64(offsets[i]), out.u64(section.size);
    out.u32(section.link), out.u32(section.info);
    out.u64(section.alignment), out.u64(section.entry_size);
  }
  return std::move(out.take());
}

}  // namespace gcore::reader::linux_guest
