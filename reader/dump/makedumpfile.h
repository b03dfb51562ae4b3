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
  std::vector<std::byte> notes;    // ELF notes, as far as the file has them
  uint64_t notes_size = 0;         // their size by the headers
  std::string vmcoreinfo;          // when it stands outside of the notes
};

/// From the first 16 bytes.
bool is_kdump(std::span<const std::byte> start);

/// Looks for pages that a truncated file lacks, and warns of them: the file ends before their data, or before the
/// descriptors that locate it; or these are in `lost`, when it was rearranged. In a whole file this takes little time.
/// Error::Kind::unsupported in a build without libkdumpfile.
Expected<KdumpFile> open_kdump(Rearranged file, std::vector<std::string>& warnings);

}  // namespace gcore::reader
