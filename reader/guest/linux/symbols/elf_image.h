// An ELF file as a linker leaves it, made of sections. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "writer/format/elf.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {

struct ElfSection {
  std::string name{};
  uint32_t type = 0;  // SHT_*
  uint64_t flags = 0;
  uint64_t address = 0;
  uint64_t size = 0;               // in memory; of a section with bytes: as many
  std::vector<std::byte> bytes{};  // none of one without contents (SHT_NOBITS)
  uint32_t link = 0, info = 0;     // section numbers are positions in the list, plus one
  uint64_t entry_size = 0, alignment = 1;
  bool loaded = false;  // has a program header (PT_LOAD, of a note PT_NOTE)
};

inline constexpr uint32_t kShtProgbits = 1, kShtSymtab = 2, kShtStrtab = 3, kShtNote = 7, kShtNobits = 8;
inline constexpr uint64_t kShfWrite = 1, kShfAlloc = 2, kShfExec = 4;

/// An executable (ET_EXEC) of 64 bits. Adds .shstrtab.
std::vector<std::byte> make_elf_image(format::Machine machine, format::ByteOrder order,
                                      std::vector<ElfSection> sections);

}  // namespace gcore::reader::linux_guest
