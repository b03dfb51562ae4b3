// What stands before the pages of a kdump-compressed file. Private to the reader.
#pragma once

#include <array>
#include <cstdint>

#include "reader/error.h"
#include "reader/source/file.h"
#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader {

/// A part of the file.
struct KdumpArea {
  const char* what = "";
  uint64_t at = 0, size = 0;
};

/// The header and what follows from it: makedumpfile's diskdump_mod.h, QEMU's include/sysemu/dump.h. A 64-bit machine's
/// header aligns its time stamp to 8 bytes, which moves what stands after it.
struct KdumpHeader {
  format::Machine machine = format::Machine::x86_64;
  format::ByteOrder order = format::ByteOrder::little;
  bool is_64_bit = true;
  bool incomplete = false;  // DUMP_DH_COMPRESSED_INCOMPLETE: the disk was full, or makedumpfile was stopped
  bool by_qemu = false;     // whose dump.c fills in no utsname but the machine; makedumpfile has the kernel's
  uint32_t version = 0, block_size = 0, sub_header_blocks = 0, bitmap_blocks = 0;
  uint64_t descriptors = 0;  // where the page descriptors begin
  KdumpArea vmcoreinfo{"VMCOREINFO"}, notes{"the notes"}, erased{"the list of what was erased"};

  std::array<KdumpArea, 3> areas() const { return {vmcoreinfo, notes, erased}; }
};

/// The header of a file that begins with that of a kdump-compressed one. What libkdumpfile would take without a check,
/// sizes of what it allocates among others, is refused here.
Expected<KdumpHeader> read_kdump_header(const File& file);

}  // namespace gcore::reader
