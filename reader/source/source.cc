#include "reader/source/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace gcore::reader {

const Lost& Source::lost() const {
  static const Lost kNothing;
  return kNothing;
}

Lost::Stretch Source::next_lost(FileOffset offset) const {
  if (offset.value < size())
    if (const auto inside = lost().next(offset.value); inside && inside->first < size())
      return {std::max(inside->first, offset.value), inside->end};
  return {std::max(offset.value, size()), std::numeric_limits<uint64_t>::max()};
}

uint64_t Source::lost_bytes(FileOffset offset, uint64_t bytes) const {
  if (offset.value >= size()) return bytes;
  const uint64_t inside = std::min(bytes, size() - offset.value);
  return bytes - inside + lost().bytes(offset.value, offset.value + inside);
}

FileOffset Source::next_hole(FileOffset) const { return FileOffset(size()); }

FileOffset Source::next_data(FileOffset offset) const { return std::min(offset, FileOffset(size())); }

std::vector<Source::Damage> Source::check(const std::function<void(uint64_t, uint64_t)>&) const { return {}; }

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
