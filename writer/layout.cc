#include "writer/layout.h"

#include <algorithm>
#include <cstring>

#include "writer/format/elf.h"
#include "writer/memory.h"

namespace gcore::writer {
namespace {

using format::Elf64Header;
using format::Elf64ProgramHeader;
using format::Elf64SectionHeader;

constexpr char kSectionNames[] = "\0.gcore.info\0.shstrtab";
constexpr uint32_t kInfoName = 1, kNamesName = 13;  // offsets in kSectionNames
constexpr size_t kSections = 3;

constexpr uint64_t align_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

// crash checks no bounds and does not fill with zeros in a vmcore with one PT_LOAD, so there are at least two. Of a
// single page the second one is empty: makedumpfile refuses halves of a page.
std::vector<LoadSegment> load_segments(Dialect dialect, std::span<const MemoryRange> memory, uint64_t offset) {
  std::vector<LoadSegment> segments;
  const auto add = [&](uint64_t address, uint64_t size) {
    segments.push_back({address, size, offset});
    offset += size;
  };
  if (dialect == Dialect::vmcore && memory.size() == 1) {
    const uint64_t half = align_up(memory[0].size / 2, kPageSize);  // all of a single page
    add(memory[0].address, half);
    add(memory[0].address + half, memory[0].size - half);
  } else {
    for (const MemoryRange& range : memory) add(range.address, range.size);
  }
  return segments;
}

Elf64Header elf_header(format::Machine machine, size_t program_headers, uint64_t section_headers) {
  Elf64Header header = {};
  std::memcpy(header.magic, format::kElfMagic, sizeof header.magic);
  header.file_class = format::kElfClass64;
  header.data = format::kElfDataLittle;
  header.ident_version = 1;
  header.type = format::kElfTypeCore;
  header.machine = static_cast<uint16_t>(machine);
  header.version = 1;
  header.program_headers = sizeof(Elf64Header);
  header.section_headers = section_headers;
  header.header_size = sizeof(Elf64Header);
  header.program_header_size = sizeof(Elf64ProgramHeader);
  header.program_header_count =
      static_cast<uint16_t>(std::min<size_t>(program_headers, format::kProgramHeadersExtended));
  header.section_header_size = sizeof(Elf64SectionHeader);
  header.section_header_count = kSections;
  header.section_names_index = kSections - 1;
  return header;
}

Elf64ProgramHeader load_header(Dialect dialect, const LoadSegment& segment) {
  Elf64ProgramHeader header = {};
  header.type = format::kSegmentLoad;
  header.flags = format::kSegmentRead | format::kSegmentWrite | format::kSegmentExecute;
  header.offset = segment.offset;
  header.physical_address = segment.address;
  header.file_size = segment.size;
  header.memory_size = segment.size;
  if (dialect == Dialect::qnx) {
    header.align = kPageSize;
  } else {
    header.virtual_address = segment.address;
    header.align = 0;  // with another value and an offset like ours, crash takes the file for another format
  }
  return header;
}

/// The kernel's image once more, by the virtual addresses that its symbols have: what Linux' own vmcores have too. With
/// it gdb reads the kernel's data, and drgn finds the page tables, which it looks for by their virtual address.
std::optional<LoadSegment> kernel_segment(const std::vector<LoadSegment>& segments,
                                          const std::optional<KernelImage>& kernel) {
  if (!kernel) return std::nullopt;
  uint64_t start = 0, end = 0;  // of adjoining segments, which adjoin in the file too
  for (const LoadSegment& segment : segments) {
    if (segment.address != end) start = segment.address;
    end = segment.address + segment.size;
    if (kernel->physical_address >= start && kernel->physical_address < end &&
        kernel->size <= end - kernel->physical_address)
      return LoadSegment{kernel->physical_address, kernel->size,
                         segment.offset - (segment.address - kernel->physical_address)};
  }
  return std::nullopt;
}

/// What of a segment is in a file that ends at `end`.
uint64_t written_of(const LoadSegment& segment, uint64_t end) {
  return end > segment.offset ? std::min(segment.size, end - segment.offset) : 0;
}

}  // namespace

Layout lay_out(format::Machine machine, Dialect dialect, std::span<const std::byte> notes,
               std::span<const MemoryRange> memory, const std::optional<KernelImage>& kernel, size_t info_size,
               uint64_t memory_at) {
  Layout layout;
  layout.segments = load_segments(dialect, memory, 0);
  layout.has_kernel_image = kernel_segment(layout.segments, kernel).has_value();
  const size_t program_headers = 1 + layout.segments.size() + (layout.has_kernel_image ? 1 : 0);
  const uint64_t sections_at = sizeof(Elf64Header) + program_headers * sizeof(Elf64ProgramHeader);
  const uint64_t names_at = sections_at + kSections * sizeof(Elf64SectionHeader);
  const uint64_t notes_at = align_up(names_at + sizeof kSectionNames, 8);
  const uint64_t head_end = align_up(notes_at + notes.size(), kPageSize);
  memory_at = std::max(memory_at, head_end);
  for (LoadSegment& segment : layout.segments) segment.offset += memory_at;
  layout.info_offset = layout.segments.back().offset + layout.segments.back().size;

  layout.head.resize(head_end);
  const auto put = [&layout](uint64_t offset, const void* from, size_t size) {
    if (size > 0) std::memcpy(layout.head.data() + offset, from, size);
  };
  const Elf64Header header = elf_header(machine, program_headers, sections_at);
  put(0, &header, sizeof header);

  uint64_t at = header.program_headers;
  Elf64ProgramHeader note = {};
  note.type = format::kSegmentNote;
  note.offset = notes_at;
  note.file_size = notes.size();
  note.memory_size = notes.size();
  note.align = 4;
  put(at, &note, sizeof note);
  for (const LoadSegment& segment : layout.segments) {
    const Elf64ProgramHeader load = load_header(dialect, segment);
    put(at += sizeof load, &load, sizeof load);
  }
  if (layout.has_kernel_image) {
    Elf64ProgramHeader load = load_header(dialect, *kernel_segment(layout.segments, kernel));
    load.virtual_address = kernel->virtual_address;
    put(at += sizeof load, &load, sizeof load);
  }

  Elf64SectionHeader sections[kSections] = {};
  if (program_headers >= format::kProgramHeadersExtended) sections[0].info = static_cast<uint32_t>(program_headers);
  sections[1].name = kInfoName;
  sections[1].type = format::kSectionProgbits;
  sections[1].offset = layout.info_offset;
  sections[1].size = info_size;
  sections[1].align = 1;
  sections[2].name = kNamesName;
  sections[2].type = format::kSectionStrtab;
  sections[2].offset = names_at;
  sections[2].size = sizeof kSectionNames;
  sections[2].align = 1;
  put(sections_at, sections, sizeof sections);
  put(names_at, kSectionNames, sizeof kSectionNames);
  put(notes_at, notes.data(), notes.size());
  return layout;
}

uint64_t head_room(size_t cpus, size_t ranges, size_t vmcoreinfo) {
  constexpr uint64_t kOnce = 32 << 10;  // headers, and the names of registers
  constexpr uint64_t kOfCpu = 8 << 10;  // its registers, in either dialect
  static_assert(format::kMaxRegisters * (sizeof(uint64_t) + 16) < kOfCpu && format::kMaxRegisters * 64 < kOnce);
  return align_up(kOnce + cpus * kOfCpu + ranges * sizeof(Elf64ProgramHeader) + vmcoreinfo, kPageSize);
}

void cut_off(Layout& layout, uint64_t end) {
  std::byte* at = layout.head.data() + sizeof(Elf64Header);
  for (const LoadSegment& segment : layout.segments) {
    at += sizeof(Elf64ProgramHeader);
    Elf64ProgramHeader header;
    std::memcpy(&header, at, sizeof header);
    const uint64_t written = written_of(segment, end);
    header.file_size = written;
    header.memory_size = written > 0 ? written : segment.size;
    std::memcpy(at, &header, sizeof header);
  }
  if (layout.has_kernel_image) {
    at += sizeof(Elf64ProgramHeader);
    Elf64ProgramHeader header;
    std::memcpy(&header, at, sizeof header);
    header.file_size = written_of({header.physical_address, header.file_size, header.offset}, end);
    header.memory_size = header.file_size;
    std::memcpy(at, &header, sizeof header);
  }
  layout.info_offset = std::min(layout.info_offset, end);
  Elf64Header file;
  std::memcpy(&file, layout.head.data(), sizeof file);
  std::byte* info_at = layout.head.data() + file.section_headers + sizeof(Elf64SectionHeader);
  Elf64SectionHeader info;
  std::memcpy(&info, info_at, sizeof info);
  info.offset = layout.info_offset;
  std::memcpy(info_at, &info, sizeof info);
}

}  // namespace gcore::writer
