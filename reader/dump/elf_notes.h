// ELF notes: (name, type, descriptor) triples in a PT_NOTE segment. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "writer/format/endian.h"

namespace gcore::reader {

struct ElfNote {
  std::string_view name;  // without its NUL
  uint32_t type = 0;
  std::span<const std::byte> descriptor;
  uint64_t offset = 0;  // of the note in its segment
};

/// Whether the segment starts with an ELF note header: a name that is printable and ends in, or is followed by, a NUL.
/// The qnx dialect's note has none; its first bytes make a name size of 0 or of many thousands.
bool starts_with_elf_note(std::span<const std::byte> segment, format::ByteOrder order);

struct ElfNotes {
  std::vector<ElfNote> notes;
  uint64_t end = 0;     // where the last note ends, with its padding
  std::string problem;  // why what follows is no note, with the sizes that do not add up; else ""
};

/// The notes of a segment, up to where it is damaged or ends. Names and descriptors are padded to multiples of 4 (the
/// System V ABI's 64-bit text says 8, which few writers follow) or of 8: the one that fits the segment's size is taken,
/// or where none does the one that gives more notes. Up to a header's size of zeros may follow. Views point into
/// `segment`.
ElfNotes parse_elf_notes(std::span<const std::byte> segment, format::ByteOrder order);

}  // namespace gcore::reader
