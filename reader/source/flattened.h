// makedumpfile's flattened format: a file in pieces, as QEMU and `makedumpfile -F` write it down a pipe. Private to the
// reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/source/file.h"
#include "reader/source/lost.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// From the first 16 bytes.
bool is_flattened(std::span<const std::byte> start);

struct Rearranged {
  std::unique_ptr<File> file;
  uint64_t flattened_size = 0;  // bytes of what it was made of; 0 when it was a file already
  bool truncated = false;       // that ended before its end mark
  Lost lost;                    // then: the bytes that no piece had
};

/// Puts the pieces where they belong, in an unnamed temporary file. The format (makedumpfile's IMPLEMENTATION): 4096
/// bytes of header, "makedumpfile", then at 16 type 1 and at 24 version 1; pieces follow, each an offset and a size (64
/// bits, big-endian, as all integers here) and that many bytes; -1 and -1 at the end. A file that ends before that
/// gives what it has, and a warning.
Expected<Rearranged> rearrange(const Source& flattened, std::vector<std::string>& warnings);

/// As a source that reads nothing where nothing was: the file alone has zeros there.
std::unique_ptr<Source> source_of(Rearranged rearranged);

}  // namespace gcore::reader
