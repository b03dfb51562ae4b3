#include "reader/source/flattened.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "reader/source/temporary_file.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMagic = "makedumpfile\0\0\0\0"sv;
constexpr uint64_t kHeader = 4096, kPieceHeader = 16, kEnd = std::numeric_limits<uint64_t>::max();
constexpr size_t kBuffer = size_t{1} << 20;
// What stands before a piece has pieces of its own, so that the result is about as large as the file. But where
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

/// Copies `size` bytes, or as many as the source has: how many.
Expected<uint64_t> copy_piece(const Source& from, uint64_t at, uint64_t size, uint64_t offset, TemporaryFile& to,
                              std::vector<std::byte>& buffer) {
  uint64_t done = 0;
  while (done < size) {
    const auto part = std::span(buffer).first(static_cast<size_t>(std::min<uint64_t>(size - done, buffer.size())));
    const Source::Result got = from.read(FileOffset(at + done), part);
    if (got.error != 0) return unreadable(got.error);
    if (auto written = to.write(offset + done, part.first(got.bytes)); !written)
      return std::unexpected(written.error());
    done += got.bytes;
    if (got.bytes < part.size()) break;
  }
  return done;
}

/// Which offsets pieces had. Writers fill a few places (descriptors here, pages there) a piece at a time in turn.
class Coverage {
 public:
  /// False when they are in more places than any writer makes.
  bool add(uint64_t first, uint64_t end) {
    if (first == end) return true;
    if (!places_.empty() && places_.back().end == first) {
      places_.back().end = end;
      return true;
    }
    places_.push_back({first, end});
    if (places_.size() < limit_) return true;
    merge();
    if (places_.size() > limit_ / 2) limit_ *= 2;
    return limit_ <= kMostPlaces;
  }

  /// What is not in [0, end).
  Lost lacks(uint64_t end) {
    merge();
    Lost lost;
    uint64_t at = 0;
    for (const Lost::Stretch& place : places_) {
      if (place.first > at) lost.add(at, place.first);
      at = place.end;
    }
    if (at < end) lost.add(at, end);
    return lost;
  }

 private:
  static constexpr size_t kMostPlaces = size_t{1} << 22;

  void merge() {
    std::ranges::sort(places_, {}, &Lost::Stretch::first);
    size_t kept = 0;
    for (const Lost::Stretch place : places_) {
      if (kept != 0 && place.first <= places_[kept - 1].end)
        places_[kept - 1].end = std::max(places_[kept - 1].end, place.end);
      else
        places_[kept++] = place;
    }
    places_.resize(kept);
  }

  std::vector<Lost::Stretch> places_;
  size_t limit_ = size_t{1} << 16;  // where they are merged
};

/// What a truncated flattened file gave.
class TruncatedSource final : public Source {
 public:
  explicit TruncatedSource(Rearranged from) : from_(std::move(from)) {}

  uint64_t size() const override { return from_.file->size(); }
  uint64_t file_end() const override { return from_.flattened_size; }
  const Lost& lost() const override { return from_.lost; }

  Result read(FileOffset offset, std::span<std::byte> into) const override {
    return from_.file->read(offset, into.first(static_cast<size_t>(there(offset, into.size()))));
  }
  FileOffset next_hole(FileOffset offset) const override { return from_.file->next_hole(offset); }
  FileOffset next_data(FileOffset offset) const override { return from_.file->next_data(offset); }
  std::optional<PinnedBytes> pin(FileOffset offset, size_t size) const override {
    return from_.file->pin(offset, static_cast<size_t>(there(offset, size)));
  }

 private:
  uint64_t there(FileOffset offset, uint64_t size) const {
    return std::min(size, next_lost(offset).first - offset.value);
  }

  Rearranged from_;
};

}  // namespace

bool is_flattened(std::span<const std::byte> start) {
  return std::string_view(reinterpret_cast<const char*>(start.data()), start.size()).starts_with(kMagic);
}

std::unique_ptr<Source> source_of(Rearranged rearranged) {
  if (!rearranged.truncated) return std::move(rearranged.file);
  return std::make_unique<TruncatedSource>(std::move(rearranged));
}

Expected<Rearranged> rearrange(const Source& flattened, std::vector<std::string>& warnings) {
  Rearranged out{.file = {}, .flattened_size = flattened.size(), .truncated = false, .lost = {}};
  Coverage coverage;
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
      whole = *copied == size;
      if (!coverage.add(offset, offset + *copied))
        return fail(Error::Kind::unsupported, "the pieces of the flattened file belong to millions of places");
    }
    if (!whole) {
      warnings.push_back(fmt::format("the flattened file ends early, after {} bytes", flattened.size()));
      out.truncated = true;
      out.lost = coverage.lacks(to->size());
      break;
    }
    at += kPieceHeader + size;
  }
  auto fd = to->finish();
  if (!fd) return std::unexpected(fd.error());
  auto file = File::adopt(*fd, File::Lasting::yes);
  if (!file) return std::unexpected(file.error());
  out.file = std::move(*file);
  return out;
}

}  // namespace gcore::reader
