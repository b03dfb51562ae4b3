// ELF notes: (name, type, descriptor) triples in a PT_NOTE segment. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "reader/error.h"
#include "writer/format/endian.h"

namespace gcore::reader {

struct ElfNote {
  std::string_view name;  // without its NUL
  uint32_t type = 0;
  std::span<const std::byte> descriptor;
  uint64_t offset = 0;  // of the note in its segment
};

/// Whether the segment starts with an ELF note header: a name that is printable and ends in a NUL. The qnx dialect's
/// note has none; its first bytes make a name size of 0 or of many thousands.
bool starts_with_elf_note(std::span<const std::byte> segment, format::ByteOrder order);

/// All notes of a segment. Names and descriptors are padded to multiples of 4 (the System V ABI's 64-bit text says 8,
/// which few writers follow) or of 8: the one that fits the segment's size is taken. Up to a header's size of zeros may
/// follow. Fails with the sizes that do not add up; views point into `segment`.
Expected<std::vector<ElfNote>> parse_elf_notes(std::span<const std::byte> segment, format::ByteOrder order);

}  // namespace gcore::reader
