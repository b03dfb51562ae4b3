// kdump-compressed files, as makedumpfile and QEMU's dump-guest-memory make them. Private to the reader.
//
// Their pages are read by libkdumpfile, which is optional. Registers and VMCOREINFO, which it does not give for all of
// them, and where a page ends in the file, which it does not check, are read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/elf_file.h"
#include "reader/source/flattened.h"
#include "reader/source/source.h"

namespace gcore::reader {

struct KdumpFile {
  std::unique_ptr<Source> memory;  // offsets are guest-physical addresses
  ElfFile elf;                     // as if it were one: a PT_LOAD for each run of pages, those left out too
  std::vector<std::byte> notes;    // ELF notes: what the file has of them
  uint64_t notes_size = 0;         // and how much that should be
  std::string vmcoreinfo;          // when it stands outside of the notes
};

/// From the first 16 bytes.
bool is_kdump(std::span<const std::byte> start);

/// Pages that a truncated file lacks are found out, and are a warning: their data, or the descriptors that say where it
/// is, are behind its end, or in `lost` when it was rearranged. A file that is whole is asked little for that.
/// Error::Kind::unsupported in a build without libkdumpfile.
Expected<KdumpFile> open_kdump(Rearranged file, std::vector<std::string>& warnings);

}  // namespace gcore::reader
