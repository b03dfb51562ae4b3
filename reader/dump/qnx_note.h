// The note of the qnx dialect, turned into vCPUs. Private to the reader. See writer/format/qnx_note.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"

namespace gcore::reader {

struct QnxNoteContent {
  std::vector<Cpu> cpus;
  KdumpFacts facts;  // without the segments, which need the program headers
  uint8_t signal = 0;
  uint16_t faulting_cpu = 0;  // as written
};

/// Takes a whole note segment of `size` bytes, of which `bytes` is what the file has.
///
/// The two sizes of extra registers are taken as sizes of whole blocks, or as sizes of one entry each: whichever makes
/// header, names and records add up to the segment's size. The number of records is num_cpus or, if fewer are there,
/// that many; what is left over is reported. Where there is not even one, the header's facts are all, and a warning has
/// the numbers. Fails when there is no header.
Expected<QnxNoteContent> read_qnx_note(std::span<const std::byte> bytes, uint64_t size, format::Machine machine,
                                       format::ByteOrder order, std::vector<std::string>& warnings);

}  // namespace gcore::reader
