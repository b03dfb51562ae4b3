#include "reader/dump/segment_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

namespace gcore::reader {
namespace {

constexpr size_t kCopy = size_t{1} << 20;    // how much a view copies at most
constexpr size_t kZeros = size_t{64} << 10;  // how much of zeros it has

/// What Source::Result::error means when there are fewer bytes than were asked for.
Missing why(int error) {
  switch (error) {
    case 0:
      return Missing::file_truncated;
    case ENODATA:  // a kdump-compressed file
      return Missing::left_out;
    case EBADMSG:
      return Missing::damaged;
    default:
      return Missing::io_error;
  }
}

uint64_t last_of(const Segment& s) { return s.address.value + (s.memory_size - 1); }

}  // namespace

SegmentMap::SegmentMap(const Source& source, std::vector<Segment> segments, std::vector<DumpInfo::Range> unreadable,
                       std::vector<std::string>& warnings)
    : segments_(std::move(segments)), unreadable_(std::move(unreadable)) {
  std::ranges::sort(segments_, {}, [](const Segment& s) { return std::tuple(s.address, s.index); });
  set_aliases_apart();
  pieces_.reserve(segments_.size());
  split_overlaps(parts(source), warnings);
  make_index();
  for (const Piece& piece : pieces_) bytes_ += piece.last - piece.first + 1;
}

/// Of a segment that ends in `whole`.
bool SegmentMap::shows_again(const Segment& segment, const Segment& whole) {
  constexpr uint64_t kKernelHalf = uint64_t{1} << 63;
  const uint64_t within = segment.address.value - whole.address.value;
  if (segment.virtual_address == whole.virtual_address || within + segment.file_size > whole.file_size) return false;
  const bool same_bytes =
      segment.file_size == segment.memory_size && segment.offset.value - whole.offset.value == within;
  return same_bytes || ((segment.virtual_address.value & kKernelHalf) != 0 &&
                        segment.virtual_address.value - whole.virtual_address.value != within);
}

/// Takes out segments that show a part of a larger one a second time, by the kernel's virtual addresses of its image:
/// Linux' own vmcores have them, and ours of Linux guests, where they share the bytes of the file. What Linux wrote, or
/// makedumpfile -E, has the bytes twice.
void SegmentMap::set_aliases_apart() {
  const Segment* widest = nullptr;  // of those so far, the one that ends last
  std::vector<Segment> kept;
  kept.reserve(segments_.size());  // `widest` points into it
  for (const Segment& segment : segments_) {
    if (widest != nullptr && last_of(segment) <= last_of(*widest) && shows_again(segment, *widest)) {
      aliases_.push_back(segment);
      continue;
    }
    kept.push_back(segment);
    if (widest == nullptr || last_of(segment) > last_of(*widest)) widest = &kept.back();
  }
  segments_ = std::move(kept);
}

/// By address, then by segment.
std::vector<SegmentMap::Part> SegmentMap::parts(const Source& source) const {
  std::vector<Part> all;
  all.reserve(segments_.size());
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    const uint64_t first = segment.address.value;
    if (segment.file_size == 0) {
      all.push_back({first, last_of(segment), i, Part::Kind::left_out});
      continue;
    }
    // Behind the first byte that a truncated file lacks others may follow, if it was a flattened one.
    const uint64_t there = std::min(segment.file_size, source.next_lost(segment.offset).first - segment.offset.value);
    if (there != 0) all.push_back({first, first + (there - 1), i, Part::Kind::stored});
    if (there < segment.file_size)
      all.push_back({first + there, first + (segment.file_size - 1), i, Part::Kind::truncated});
    if (segment.file_size < segment.memory_size)
      all.push_back({first + segment.file_size, last_of(segment), i, Part::Kind::zero_filled});
  }
  std::ranges::sort(all, {}, [](const Part& part) { return std::tuple(part.first, part.segment); });
  return all;
}

/// Goes up the addresses with the parts that cover the current one in a heap, the one that counts on top.
void SegmentMap::split_overlaps(std::vector<Part> parts, std::vector<std::string>& warnings) {
  const auto rank = [&](uint32_t part) { return std::pair(parts[part].kind, segments_[parts[part].segment].index); };
  const auto counts_less = [&](uint32_t a, uint32_t b) { return rank(a) > rank(b); };
  std::priority_queue<uint32_t, std::vector<uint32_t>, decltype(counts_less)> covering(counts_less);
  size_t next = 0, overlaps = 0;
  std::string example;
  uint64_t at = 0;
  while (true) {
    while (!covering.empty() && parts[covering.top()].last < at) covering.pop();
    if (covering.empty()) {
      if (next == parts.size()) break;
      at = parts[next].first;
    }
    for (; next < parts.size() && parts[next].first == at; ++next) {
      const Segment& segment = segments_[parts[next].segment];
      if (segment.address.value == at && !covering.empty() && ++overlaps == 1)
        example = fmt::format("program headers {} and {} at {:#x}", segments_[parts[covering.top()].segment].index,
                              segment.index, at);
      covering.push(static_cast<uint32_t>(next));
    }
    const Part& top = parts[covering.top()];
    uint64_t last = top.last;
    if (next < parts.size() && parts[next].first <= last) last = parts[next].first - 1;
    add_piece(at, last, top.segment);
    if (last == std::numeric_limits<uint64_t>::max()) break;
    at = last + 1;
  }
  if (overlaps != 0)
    warnings.push_back(
        fmt::format("{} segment{} another one, of which what the file has counts, then the first in the program header "
                    "table (the first such place: {})",
                    overlaps, overlaps == 1 ? " overlaps" : "s overlap", example));
}

void SegmentMap::add_piece(uint64_t first, uint64_t last, uint32_t segment) {
  if (!pieces_.empty() && pieces_.back().segment == segment && pieces_.back().last + 1 == first) {
    pieces_.back().last = last;
  } else {
    const Segment& from = segments_[segment];
    pieces_.push_back({first, last, from.address.value, from.file_size, from.offset, segment});
  }
}

/// About two buckets a piece.
void SegmentMap::make_index() {
  if (pieces_.empty()) return;
  const uint64_t span = pieces_.back().last - pieces_.front().first;
  while (span >> bucket_shift_ >= 2 * pieces_.size()) ++bucket_shift_;
  // Rounded up, so that the first byte of a piece is not guessed to be in the one before.
  __extension__ using Wide = unsigned __int128;
  const Wide inverse = ((Wide{pieces_.size()} << 64) + span) / (Wide{span} + 1);
  pieces_a_byte_ = static_cast<uint64_t>(std::min<Wide>(inverse, std::numeric_limits<uint64_t>::max()));
  const size_t count = static_cast<size_t>(span >> bucket_shift_) + 1;
  buckets_.reserve(count + 1);
  uint32_t piece = 0;
  for (uint64_t bucket = 0; bucket < count; ++bucket) {
    while (pieces_[piece].last - pieces_.front().first < bucket << bucket_shift_) ++piece;
    buckets_.push_back(piece);
  }
  buckets_.push_back(static_cast<uint32_t>(pieces_.size()) - 1);
}

/// Where pieces are all of one size, a guess is right, and takes one cache miss. The bucket leaves few pieces to look
/// at, or, where sizes are very different, at worst all of them.
std::vector<SegmentMap::Piece>::const_iterator SegmentMap::piece_from(uint64_t address) const {
  if (pieces_.empty() || address > pieces_.back().last) return pieces_.end();
  if (address <= pieces_.front().first) return pieces_.begin();
  __extension__ using Wide = unsigned __int128;
  const uint64_t from_first = address - pieces_.front().first;
  const size_t guess = std::min(static_cast<size_t>(Wide{from_first} * pieces_a_byte_ >> 64), pieces_.size() - 1);
  if (pieces_[guess].first <= address && address <= pieces_[guess].last)
    return pieces_.begin() + static_cast<std::ptrdiff_t>(guess);
  const size_t bucket = static_cast<size_t>(from_first >> bucket_shift_);
  const auto first = pieces_.begin() + buckets_[bucket], last = pieces_.begin() + buckets_[bucket + 1];
  return std::ranges::lower_bound(first, last, address, {}, &Piece::last);
}

const Segment* SegmentMap::segment_at(PhysAddr address) const {
  const auto piece = piece_from(address.value);
  return piece == pieces_.end() || piece->first > address.value ? nullptr : &segments_[piece->segment];
}

std::vector<DumpInfo::Range>::const_iterator SegmentMap::unreadable_from(PhysAddr address) const {
  return std::ranges::lower_bound(unreadable_, address, {}, &DumpInfo::Range::last);
}

Missing SegmentMap::why_unreadable(PhysAddr address) const {
  const Segment* segment = segment_at(address);
  if (segment == nullptr) return Missing::not_in_any_segment;
  return segment->file_size == 0 ? Missing::left_out : Missing::unreadable;
}

ReadResult SegmentMap::read(const Source& source, PhysAddr address, std::span<std::byte> into) const {
  const auto bad = unreadable_from(address);
  if (into.empty() || bad == unreadable_.end()) return read_file(source, address, into);
  const uint64_t before = bad->first <= address ? 0 : bad->first.value - address.value;
  if (before >= into.size()) return read_file(source, address, into);
  ReadResult result = read_file(source, address, into.first(static_cast<size_t>(before)));
  if (result.missing == Missing::none) result.missing = why_unreadable(std::max(address, bad->first));
  return result;
}

/// Segments that adjoin both in memory and in the file are read at once.
ReadResult SegmentMap::read_file(const Source& source, PhysAddr address, std::span<std::byte> into) const {
  ReadResult result;
  const auto stop = [&](Missing missing) {
    result.missing = missing;
    if (missing == Missing::file_truncated) result.file_end = source.file_end();
    return result;
  };
  FileOffset from{0};  // what has been planned, and not been read yet: so many bytes after result.bytes
  size_t planned = 0;
  const auto read_planned = [&] {
    if (planned == 0) return true;
    const Source::Result got = source.read(from, into.subspan(result.bytes, planned));
    result.bytes += got.bytes;
    if (got.bytes < planned) stop(why(got.error));
    return got.bytes == std::exchange(planned, 0);
  };
  uint64_t at = address.value;
  for (auto piece = piece_from(at); result.bytes + planned < into.size(); ++piece) {
    if (piece == pieces_.end() || piece->first > at) return read_planned() ? stop(Missing::not_in_any_segment) : result;
    if (piece->file_size == 0) return read_planned() ? stop(Missing::left_out) : result;
    const size_t left = into.size() - result.bytes - planned;
    const size_t count = static_cast<size_t>(std::min<uint64_t>(left - 1, piece->last - at) + 1);
    const uint64_t in_segment = at - piece->address;
    const size_t stored = static_cast<size_t>(
        in_segment < piece->file_size ? std::min<uint64_t>(count, piece->file_size - in_segment) : 0);
    if (stored > 0) {
      const FileOffset begin = piece->offset + in_segment;
      if (planned > 0 && begin != from + planned && !read_planned()) return result;
      if (begin < piece->offset) return read_planned() ? stop(Missing::file_truncated) : result;
      if (planned == 0) from = begin;
      planned += stored;
    }
    if (const size_t zeros = count - stored; zeros > 0) {
      if (!read_planned()) return result;
      std::memset(&into[result.bytes], 0, zeros);
      result.bytes += zeros;
      result.zero_filled += zeros;
    }
    at += count;
    if (at == 0 && result.bytes + planned < into.size())
      return read_planned() ? stop(Missing::not_in_any_segment) : result;
  }
  read_planned();
  return result;
}

void SegmentMap::expect(const Source& source, PhysAddr address) const {
  const auto piece = piece_from(address.value);
  if (piece == pieces_.end() || piece->first > address.value) return;
  const uint64_t in_segment = address.value - piece->address;
  if (in_segment < piece->file_size) source.expect(piece->offset + in_segment);
}

View SegmentMap::view(const Source& source, PhysAddr address, size_t size) const {
  static constexpr std::byte kZeroBytes[kZeros]{};
  const auto extent = size == 0 ? std::nullopt : next_extent(source, address);
  if (!extent || extent->address != address) return View({}, nullptr, Missing::not_in_any_segment);
  if (extent->kind == Dump::Extent::Kind::missing) return View({}, nullptr, extent->why);
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(size, extent->size));
  if (extent->kind == Dump::Extent::Kind::zero)
    return View(std::span(kZeroBytes).first(std::min(wanted, kZeros)), nullptr, Missing::none);
  const Segment& segment = *segment_at(address);
  const FileOffset from = segment.offset + (address.value - segment.address.value);
  if (auto pinned = source.pin(from, wanted)) return View(pinned->bytes, std::move(pinned->owner), Missing::none);
  const std::shared_ptr<std::byte[]> copy(new std::byte[std::min(wanted, kCopy)]);
  const ReadResult got = read(source, address, {copy.get(), std::min(wanted, kCopy)});
  return View({copy.get(), got.bytes}, copy, got.bytes == 0 ? got.missing : Missing::none);
}

std::optional<Dump::Extent> SegmentMap::next_extent(const Source& source, PhysAddr address) const {
  const auto extent = extent_in_file(source, address, true);
  return extent ? std::optional(without_unreadable(*extent)) : std::nullopt;
}

std::optional<Dump::Extent> SegmentMap::next_missing(const Source& source, PhysAddr address) const {
  for (uint64_t at = address.value;;) {
    auto extent = extent_in_file(source, PhysAddr(at), false);
    if (!extent) return std::nullopt;
    extent = without_unreadable(*extent);
    if (extent->kind == Dump::Extent::Kind::missing) return extent;
    at = extent->address.value + extent->size;
    if (at <= extent->address.value) return std::nullopt;
  }
}

Dump::Extent SegmentMap::without_unreadable(Dump::Extent extent) const {
  if (extent.why == Missing::left_out) return extent;
  const auto bad = unreadable_from(extent.address);
  if (bad == unreadable_.end()) return extent;
  if (bad->first > extent.address) {
    extent.size = std::min(extent.size, bad->first.value - extent.address.value);
    return extent;
  }
  const uint64_t after_first = bad->last.value - extent.address.value;
  if (after_first < extent.size) extent.size = after_first + 1;
  extent.kind = Dump::Extent::Kind::missing;
  extent.why = Missing::unreadable;
  extent.zero_filled = false;
  return extent;
}

std::optional<Dump::Extent> SegmentMap::extent_in_file(const Source& source, PhysAddr address, bool find_holes) const {
  const auto piece = piece_from(address.value);
  if (piece == pieces_.end()) return std::nullopt;
  const Segment& segment = segments_[piece->segment];
  const uint64_t first = std::max(address.value, piece->first), in_segment = first - segment.address.value;
  // A piece of all 2^64 bytes would have size 0; one byte less is as good, since extents need not be maximal.
  const uint64_t size = std::max(piece->last - first, piece->last - first + 1);
  Dump::Extent extent{.address = PhysAddr(first), .size = size, .kind = Dump::Extent::Kind::zero};
  if (segment.file_size == 0) {
    extent.kind = Dump::Extent::Kind::missing;
    extent.why = Missing::left_out;
    return extent;
  }
  if (in_segment >= segment.file_size) {
    extent.zero_filled = true;
    return extent;
  }
  extent.size = std::min(size, segment.file_size - in_segment);
  const FileOffset offset = segment.offset + in_segment;
  const Lost::Stretch lost = source.next_lost(offset);
  if (offset < segment.offset || lost.first == offset.value) {
    extent.kind = Dump::Extent::Kind::missing;
    extent.why = Missing::file_truncated;
    // Nothing is after the end of the file, not even where offsets wrap.
    if (offset >= segment.offset && lost.end <= source.size())
      extent.size = std::min(extent.size, lost.end - offset.value);
    return extent;
  }
  extent.size = std::min(extent.size, lost.first - offset.value);
  if (!find_holes) {
    extent.kind = Dump::Extent::Kind::data;
    return extent;
  }
  const FileOffset data = source.next_data(offset);
  if (data > offset) {
    extent.size = std::min(extent.size, data.value - offset.value);
    return extent;
  }
  extent.kind = Dump::Extent::Kind::data;
  if (const FileOffset hole = source.next_hole(offset); hole > offset)
    extent.size = std::min(extent.size, hole.value - offset.value);
  return extent;
}

}  // namespace gcore::reader
