// The parts of ELF that a guest dump needs, from the System V ABI. ("elf.h" of the C library defines macros with names
// that other headers use as identifiers, so it is included nowhere in this project.)
#pragma once

#include <cstdint>

#include "writer/format/endian.h"

namespace gcore::format {

/// e_machine. The values are those of the ELF specification.
enum class Machine : uint16_t { x86 = 3, x86_64 = 62, aarch64 = 183 };

/// "x86_64", "aarch64", "x86".
constexpr const char* machine_name(Machine machine) {
  switch (machine) {
    case Machine::x86:
      return "x86";
    case Machine::x86_64:
      return "x86_64";
    case Machine::aarch64:
      return "aarch64";
  }
  return "unknown";
}

inline constexpr uint8_t kElfMagic[4] = {0x7f, 'E', 'L', 'F'};
inline constexpr uint8_t kElfClass32 = 1, kElfClass64 = 2;
inline constexpr uint8_t kElfDataLittle = 1, kElfDataBig = 2;
inline constexpr uint16_t kElfTypeCore = 4;
inline constexpr uint32_t kSegmentLoad = 1, kSegmentNote = 4;                          // p_type
inline constexpr uint32_t kSegmentExecute = 1, kSegmentWrite = 2, kSegmentRead = 4;    // p_flags
inline constexpr uint32_t kSectionNull = 0, kSectionProgbits = 1, kSectionStrtab = 3;  // sh_type
/// e_phnum of a file with this many program headers or more; the count is then sh_info of section header 0.
inline constexpr uint16_t kProgramHeadersExtended = 0xffff;

struct Elf64Header {
  uint8_t magic[4];
  uint8_t file_class, data, ident_version, os_abi, abi_version, pad[7];
  Le16 type, machine;
  Le32 version;
  Le64 entry, program_headers, section_headers;  // file offsets
  Le32 flags;
  Le16 header_size, program_header_size, program_header_count, section_header_size, section_header_count,
      section_names_index;
};
static_assert(sizeof(Elf64Header) == 64);

struct Elf64ProgramHeader {
  Le32 type, flags;
  Le64 offset, virtual_address, physical_address, file_size, memory_size, align;
};
static_assert(sizeof(Elf64ProgramHeader) == 56);

struct Elf64SectionHeader {
  Le32 name, type;
  Le64 flags, address, offset, size;
  Le32 link, info;
  Le64 align, entry_size;
};
static_assert(sizeof(Elf64SectionHeader) == 64);

/// The header of one ELF note. Name and descriptor follow, each padded to a multiple of four bytes.
struct ElfNoteHeader {
  Le32 name_size, descriptor_size, type;  // name_size counts the NUL
};
static_assert(sizeof(ElfNoteHeader) == 12);

}  // namespace gcore::format
