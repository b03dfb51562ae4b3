// Memory that stands elsewhere in a file than its headers say. Private to the reader.
#pragma once

#include <cstdint>

#include "reader/source/source.h"
#include "writer/format/endian.h"

namespace gcore::reader {

/// QEMU's dump-guest-memory (5.0 to at least 7.2) assumes that the notes of every vCPU of an aarch64 guest are as large
/// as the first one's (target/arm/arch_dump.c: cpu_get_note_size). It writes them one after the other, each with the
/// SVE vectors that this vCPU has at the moment. Where their lengths differ, all that the headers place after the notes
/// is elsewhere in the file. Returns by how many bytes it is later (negative: earlier). 0: `size`, which the headers
/// give the notes, is right, or is wrong in another way.
int64_t displaced_by_sve_notes(const Source& file, FileOffset notes, uint64_t size, format::ByteOrder order);

}  // namespace gcore::reader
