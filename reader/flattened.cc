#include "reader/flattened.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "reader/temporary_file.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMagic = "makedumpfile\0\0\0\0"sv;
constexpr uint64_t kHeader = 4096, kPieceHeader = 16, kEnd = std::numeric_limits<uint64_t>::max();
constexpr size_t kBuffer = size_t{1} << 20;
// What stands in front of a piece has pieces of its own, so that the result is about as large as the file. But where
// the file ends early there may be bitmaps (two bits for each page of memory) and pages, without the descriptors
// between them (24 bytes for each page).
constexpr uint64_t kMostSparse = 128, kSlack = uint64_t{16} << 20;

uint64_t number_at(const std::byte* from) { return format::load<uint64_t>(from, format::ByteOrder::big); }

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

std::unexpected<Error> unreadable(int error) {
  return fail(Error::Kind::io, fmt::format("it cannot be read: {}", words_of(error)));
}

/// Copies `size` bytes; false when the source has not as many.
Expected<bool> copy_piece(const Source& from, uint64_t at, uint64_t size, uint64_t offset, TemporaryFile& to,
                          std::vector<std::byte>& buffer) {
  while (size != 0) {
    const auto part = std::span(buffer).first(static_cast<size_t>(std::min<uint64_t>(size, buffer.size())));
    const Source::Result got = from.read(FileOffset(at), part);
    if (got.error != 0) return unreadable(got.error);
    if (auto written = to.write(offset, part.first(got.bytes)); !written) return std::unexpected(written.error());
    if (got.bytes < part.size()) return false;
    at += got.bytes, offset += got.bytes, size -= got.bytes;
  }
  return true;
}

}  // namespace

bool is_flattened(std::span<const std::byte> start) {
  return std::string_view(reinterpret_cast<const char*>(start.data()), start.size()).starts_with(kMagic);
}

Expected<std::unique_ptr<File>> rearrange(const Source& flattened, std::vector<std::string>& warnings) {
  auto to = TemporaryFile::make();
  if (!to) return std::unexpected(to.error());
  std::vector<std::byte> buffer(kBuffer);
  for (uint64_t at = kHeader;;) {
    std::array<std::byte, kPieceHeader> header;
    const Source::Result got = flattened.read(FileOffset(at), header);
    if (got.error != 0) return unreadable(got.error);
    const uint64_t offset = number_at(header.data()), size = number_at(&header[8]);
    bool whole = got.bytes == header.size();
    if (whole && offset == kEnd && size == kEnd) break;
    constexpr uint64_t kLimit = std::numeric_limits<int64_t>::max();
    const uint64_t limit = std::min(flattened.size(), (kLimit - kSlack) / kMostSparse) * kMostSparse + kSlack;
    if (whole && (offset > limit || size > limit - offset))
      return fail(
          Error::Kind::malformed,
          fmt::format("the piece of the flattened file at offset {} has {} bytes for offset {}", at, size, offset));
    if (whole) {
      const auto copied = copy_piece(flattened, at + kPieceHeader, size, offset, *to, buffer);
      if (!copied) return std::unexpected(copied.error());
      whole = *copied;
    }
    if (!whole) {
      warnings.push_back(fmt::format("the flattened file ends early, after {} bytes", flattened.size()));
      break;
    }
    at += kPieceHeader + size;
  }
  auto fd = to->finish();
  if (!fd) return std::unexpected(fd.error());
  return File::adopt(*fd, File::Lasting::yes);
}

}  // namespace gcore::reader
