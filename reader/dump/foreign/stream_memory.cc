#include "reader/dump/foreign/stream_memory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

namespace gcore::reader {
namespace {

using Run = StreamIndex::Run;
using Runs = StreamIndex::Runs;

constexpr size_t kMostRuns = size_t{1} << 25;
constexpr uint32_t kMostPages = std::numeric_limits<uint32_t>::max();  // of a run

/// The part of a run from `first` page on, up to `end`.
Run part_of(const Run& run, uint64_t first, uint64_t end) {
  Run part = run;
  part.page = first;
  part.place += (first - run.page) * run.stride;
  part.count = static_cast<uint32_t>(end - first);
  return part;
}

bool overlap(const Runs& sorted) {
  return std::ranges::adjacent_find(sorted, [](const Run& a, const Run& b) { return a.end() > b.page; }) !=
         sorted.end();
}

/// From the last run to the first, each only where no later one is.
Runs last_ones(const Runs& in_order) {
  std::map<uint64_t, Run> placed;
  for (auto run = in_order.rbegin(); run != in_order.rend(); ++run) {
    auto next = placed.upper_bound(run->page);
    if (next != placed.begin() && std::prev(next)->second.end() > run->page) --next;
    for (uint64_t page = run->page; page < run->end();) {
      const uint64_t gap_end = next != placed.end() ? std::min(next->first, run->end()) : run->end();
      if (page < gap_end) placed.emplace_hint(next, page, part_of(*run, page, gap_end));
      if (next == placed.end() || next->first >= run->end()) break;
      page = std::max(page, next->second.end());
      ++next;
    }
  }
  Runs all;
  all.reserve(placed.size());
  for (const auto& [page, run] : placed) all.push_back(run);
  return all;
}

class StreamSource final : public StreamMemorySource {
 public:
  StreamSource(std::unique_ptr<Source> stream, std::vector<Runs> blocks, std::vector<PlacedBlock> places, bool complete)
      : stream_(std::move(stream)), blocks_(std::move(blocks)), places_(std::move(places)), complete_(complete) {
    if (!complete) find_lost();
  }
  void place(std::vector<PlacedBlock> places) override {
    places_ = std::move(places);
    lost_ = {};
    if (!complete_) find_lost();
  }

  uint64_t size() const override { return places_.empty() ? 0 : places_.back().address + places_.back().size; }
  uint64_t file_end() const override { return stream_->file_end(); }
  const Lost& lost() const override { return lost_; }
  std::string trouble() const override { return stream_->trouble(); }

  Result read(FileOffset offset, std::span<std::byte> into) const override {
    Result result;
    while (result.bytes < into.size()) {
      const Piece piece = piece_at(offset.value + result.bytes);
      if (piece.size == 0 || piece.lost) break;
      const auto part =
          into.subspan(result.bytes, static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, piece.size)));
      if (!piece.stored) {
        std::memset(part.data(), piece.value, part.size());
      } else {
        const Result got = stream_->read(FileOffset(piece.place), part);
        result.error = got.error;
        if (got.bytes < part.size()) {
          result.bytes += got.bytes;
          break;
        }
      }
      result.bytes += part.size();
    }
    return result;
  }

  FileOffset next_hole(FileOffset offset) const override { return next(offset, true); }
  FileOffset next_data(FileOffset offset) const override { return next(offset, false); }

  std::optional<PinnedBytes> pin(FileOffset offset, size_t size) const override {
    const Piece piece = piece_at(offset.value);
    if (!piece.stored || piece.size == 0) return std::nullopt;
    return stream_->pin(FileOffset(piece.place), static_cast<size_t>(std::min<uint64_t>(size, piece.size)));
  }

 private:
  /// Bytes of one kind that stand one after the other. A size of 0: the end.
  struct Piece {
    uint64_t size = 0, place = 0;
    int value = 0;  // of each byte, when they are not stored
    bool stored = false, lost = false;
  };
  static bool is_hole(const Piece& piece) { return !piece.stored && piece.value == 0 && !piece.lost; }

  /// The first offset from there on that is in a hole, or in none.
  FileOffset next(FileOffset offset, bool hole) const {
    for (uint64_t at = offset.value; at < size();) {
      const Piece piece = piece_at(at);
      if (is_hole(piece) == hole) return FileOffset(at);
      at += piece.size;
    }
    return FileOffset(size());
  }

  Piece piece_at(uint64_t address) const {
    const auto place =
        std::ranges::upper_bound(places_, address, {}, [](const PlacedBlock& p) { return p.address + p.size; });
    if (place == places_.end()) return {};
    if (address < place->address) return {.size = place->address - address};  // a gap between two places
    const uint64_t in_place = address - place->address, at = place->offset + in_place;
    Piece piece = piece_in(blocks_[place->block], at);
    piece.size = std::min(piece.size, place->size - in_place);
    return piece;
  }

  Piece piece_in(const Runs& runs, uint64_t at) const {
    const uint64_t page = at / kStreamPage, in_page = at % kStreamPage;
    const auto run = std::ranges::upper_bound(runs, page, {}, &Run::end);
    if (run == runs.end()) return {.size = std::numeric_limits<uint64_t>::max(), .lost = !complete_};
    if (page < run->page) return {.size = (run->page - page) * kStreamPage - in_page, .lost = !complete_};
    const uint64_t left = (run->end() - page) * kStreamPage - in_page;
    if (run->stride == 0) return {.size = left, .value = static_cast<int>(run->place)};
    const uint64_t size = run->stride == kStreamPage ? left : kStreamPage - in_page;
    const uint64_t place = run->place + (page - run->page) * run->stride + in_page;
    // Mapped memory may have its places where a file that is cut off has ended.
    if (place >= stream_->size()) return {.size = size, .lost = true};
    return {.size = std::min(size, stream_->size() - place), .place = place, .stored = true};
  }

  void find_lost() {
    for (const PlacedBlock& place : places_)
      for (uint64_t at = place.address; at < place.address + place.size;) {
        const Piece piece = piece_at(at);
        if (piece.lost) lost_.add(at, at + piece.size);
        at += piece.size;
      }
  }

  std::unique_ptr<Source> stream_;
  std::vector<Runs> blocks_;
  std::vector<PlacedBlock> places_;
  bool complete_;  // what has no run is zeros, and not lost
  Lost lost_;
};

}  // namespace

Expected<void> StreamIndex::begin(std::span<const StreamBlock> blocks) {
  blocks_.resize(blocks.size());
  for (const StreamBlock& block : blocks) pages_.push_back(block.size / kStreamPage);
  return {};
}

Expected<void> StreamIndex::page(size_t block, uint64_t offset, std::span<const std::byte>, uint64_t place) {
  const uint64_t page = offset / kStreamPage;
  if (!blocks_[block].empty()) {
    Run& last = blocks_[block].back();
    const uint64_t distance = place - last.place;
    if (last.stride != 0 && last.end() == page && last.count < kMostPages) {
      if (last.count == 1 && distance <= 2 * kStreamPage) last.stride = static_cast<uint32_t>(distance);
      if (distance == uint64_t{last.count} * last.stride) {
        ++last.count;
        return {};
      }
    }
  }
  return add(block, {.page = page, .place = place, .count = 1, .stride = kStreamPage});
}

Expected<void> StreamIndex::fill(size_t block, uint64_t offset, std::byte value) {
  const uint64_t page = offset / kStreamPage, byte = static_cast<uint8_t>(value);
  if (!blocks_[block].empty()) {
    Run& last = blocks_[block].back();
    if (last.stride == 0 && last.place == byte && last.end() == page && last.count < kMostPages) {
      ++last.count;
      return {};
    }
  }
  return add(block, {.page = page, .place = byte, .count = 1, .stride = 0});
}

Expected<void> StreamIndex::mapped(size_t block, uint64_t bitmap, uint64_t pages) {
  std::array<std::byte, 1 << 16> bytes;
  const uint64_t count = pages_[block];
  constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();
  uint64_t first = kNone;  // of a run that goes on
  const auto close = [&](uint64_t end) -> Expected<void> {
    for (uint64_t page = std::min(first, end); page < end;) {
      const auto some = static_cast<uint32_t>(std::min<uint64_t>(end - page, kMostPages));
      if (auto added = add(block, {page, pages + page * kStreamPage, some, kStreamPage}); !added) return added;
      page += some;
    }
    first = kNone;
    return {};
  };
  for (uint64_t page = 0; page < count;) {
    const auto part =
        std::span(bytes).first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), (count - page + 7) / 8)));
    if (auto read = stream_.read_exactly(FileOffset(bitmap + page / 8), part, "a bitmap of its memory"); !read)
      return read;
    for (size_t i = 0; i < part.size() && page < count; ++i) {
      const auto bits = static_cast<uint8_t>(part[i]);
      if ((bits == 0 && first == kNone) || (bits == 0xff && first != kNone)) {
        page += 8;
        continue;
      }
      for (unsigned bit = 0; bit < 8 && page < count; ++bit, ++page) {
        const bool set = (bits >> bit & 1) != 0;
        if (set && first == kNone) first = page;
        if (!set && first != kNone)
          if (auto closed = close(page); !closed) return closed;
      }
    }
  }
  return close(count);
}

Expected<void> StreamIndex::add(size_t block, Run run) {
  if (++runs_ > kMostRuns)
    return std::unexpected(Error{Error::Kind::unsupported, "its pages of memory are in too many separate places"});
  blocks_[block].push_back(run);
  return {};
}

std::vector<Runs> StreamIndex::finish(bool keep_zeros) {
  for (Runs& runs : blocks_) {
    Runs sorted = runs;
    std::ranges::sort(sorted, {}, &Run::page);
    runs = overlap(sorted) ? last_ones(runs) : std::move(sorted);
    if (!keep_zeros) std::erase_if(runs, [](const Run& run) { return run.stride == 0 && run.place == 0; });
    runs.shrink_to_fit();
  }
  return std::move(blocks_);
}

std::unique_ptr<StreamMemorySource> stream_source(std::unique_ptr<Source> stream, std::vector<Runs> blocks,
                                                  std::vector<PlacedBlock> places, bool complete) {
  return std::make_unique<StreamSource>(std::move(stream), std::move(blocks), std::move(places), complete);
}

}  // namespace gcore::reader
