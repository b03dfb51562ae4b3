#include "reader/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace gcore::reader {

FileOffset Source::next_hole(FileOffset) const { return FileOffset(size()); }

FileOffset Source::next_data(FileOffset offset) const { return std::min(offset, FileOffset(size())); }

std::optional<PinnedBytes> Source::pin(FileOffset, size_t) const { return std::nullopt; }

Expected<void> Source::read_exactly(FileOffset offset, std::span<std::byte> into, const char* what) const {
  const Result result = read(offset, into);
  if (result.bytes == into.size()) return {};
  if (result.error != 0)
    return std::unexpected(Error{Error::Kind::io, fmt::format("{} at offset {} cannot be read: {}", what, offset.value,
                                                              words_of(result.error))});
  return std::unexpected(
      Error{Error::Kind::truncated, fmt::format("{} ({} bytes at offset {}) goes past the end of the file ({} bytes)",
                                                what, into.size(), offset.value, size())});
}

const char* words_of(int error) {
  return error == EBADMSG ? "the compressed data is damaged there" : std::strerror(error);
}

}  // namespace gcore::reader
