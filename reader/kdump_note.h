// The note of the qnx dialect, turned into vCPUs. Private to the reader. See writer/format/kdump_note.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "reader/dump.h"

namespace gcore::reader {

struct KdumpNoteContent {
  std::vector<Cpu> cpus;
  KdumpFacts facts;  // without the segments, which need the program headers
  uint8_t signal = 0;
  uint16_t faulting_cpu = 0;  // as written
};

/// Takes a whole note segment. `bytes` is what the file has of it.
///
/// The two sizes of extra registers are taken as sizes of whole blocks, or as sizes of one entry each: whichever makes
/// header, names and records add up to the segment's size. The number of records is num_cpus or, if fewer fit, that
/// many; what is left over is reported. Fails with the numbers when not even one record fits.
Expected<KdumpNoteContent> read_kdump_note(std::span<const std::byte> bytes, format::Machine machine,
                                           format::ByteOrder order, std::vector<std::string>& warnings);

}  // namespace gcore::reader
