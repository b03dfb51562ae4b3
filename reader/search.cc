#include "reader/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace gcore::reader {
namespace {

// Fits the second-level cache: the copy out of the page cache is still there when it is looked at.
constexpr size_t kSlice = 256 << 10;
constexpr size_t kPage = 4096;
// Pages that lie anywhere: to read one costs less than to ask whether it is a hole.
constexpr uint64_t kSmallPiece = 64 << 10;
// Page tables can map one page all over the address space; a real one stays far below this.
constexpr size_t kMaxPieces = 1 << 20;

/// How often a byte occurs in guests' memory, roughly: zeros above all, then what numbers, code and text are full of.
int commonness(std::byte byte) {
  const auto value = std::to_integer<unsigned char>(byte);
  if (value == 0) return 4;
  if (value == 0xff) return 3;
  if (value < 0x10 || value == 0x48 || value == 0x8b || value == 0x89 || value == ' ') return 2;
  return value >= 'a' && value <= 'z' ? 1 : 0;
}

/// The first place of `pattern` in [at, end), or `end`. `rarest` is a position in the pattern. memchr for that byte
/// runs at the speed of memory as long as the byte is rare; where it is not, memmem is the one that stays linear.
const std::byte* find(const std::byte* at, const std::byte* end, std::span<const std::byte> pattern, size_t rarest) {
  size_t misses = 0;
  const std::byte* const begin = at;
  while (static_cast<size_t>(end - at) >= pattern.size()) {
    const std::byte* const last = end - (pattern.size() - 1) + rarest;  // behind the last place of the rare byte
    const void* found =
        std::memchr(at + rarest, static_cast<int>(pattern[rarest]), static_cast<size_t>(last - at - rarest));
    if (found == nullptr) return end;
    const std::byte* const start = static_cast<const std::byte*>(found) - rarest;
    if (std::memcmp(start, pattern.data(), pattern.size()) == 0) return start;
    at = start + 1;
    if (++misses > 64 + static_cast<size_t>(at - begin) / 64) {
      found = memmem(at, static_cast<size_t>(end - at), pattern.data(), pattern.size());
      return found == nullptr ? end : static_cast<const std::byte*>(found);
    }
  }
  return end;
}

}  // namespace

Search::Search(const Dump& dump, std::span<const std::byte> pattern)
    : dump_(&dump), pattern_(pattern.begin(), pattern.end()) {
  assert(!pattern.empty());
  const auto rarer = [](std::byte a, std::byte b) { return commonness(a) < commonness(b); };
  rarest_ = static_cast<size_t>(std::min_element(pattern_.begin(), pattern_.end(), rarer) - pattern_.begin());
  zeros_ = std::ranges::all_of(pattern_, [](std::byte b) { return b == std::byte{0}; });
  window_.resize(pattern_.size() + std::max(kSlice, 2 * pattern_.size()));
}

Search Search::in_memory(const Dump& dump, PhysAddr first, PhysAddr last, std::span<const std::byte> pattern) {
  Search search(dump, pattern);
  if (first <= last) search.pieces_.push_back({first.value, first, last.value - first.value});
  return search;
}

Search Search::in_space(const Dump& dump, const AddressSpace& space, VirtAddr first, VirtAddr last,
                        std::span<const std::byte> pattern) {
  Search search(dump, pattern);
  const Listing listing = space.enumerate([&](const Mapping& mapping) {
    const uint64_t end = mapping.start.value + (mapping.size - 1);
    const uint64_t from = std::max(mapping.start.value, first.value);
    const uint64_t to = std::min(end, last.value);
    if (mapping.start > last) return false;
    if (from > to) return true;
    if (search.pieces_.size() == kMaxPieces) {
      search.problem_ = fmt::format("what is mapped from {:#x} on was not searched: too many pieces", from);
      return false;
    }
    search.pieces_.push_back({from, mapping.physical + (from - mapping.start.value), to - from});
    return true;
  });
  if (search.problem_.empty() && !listing.stopped) search.problem_ = listing.note;
  return search;
}

bool Search::step(std::vector<uint64_t>& hits, uint64_t budget, size_t max_hits) {
  max_hits = max_hits > SIZE_MAX - hits.size() ? SIZE_MAX : max_hits + hits.size();
  if (!look(hits, max_hits)) return true;
  for (uint64_t spent = 0; spent < budget && !at_piece_end();) {
    spent += advance(budget - spent);
    if (!look(hits, max_hits)) return true;
  }
  return !at_piece_end();
}

/// Takes the next stretch of memory of one kind, or a slice of it, into the window. Returns what it cost, in bytes.
uint64_t Search::advance(uint64_t budget) {
  constexpr uint64_t kStretchCost = 512;  // however much it spans
  const Piece& piece = pieces_[piece_];
  const PhysAddr at = piece.physical + done_;
  const uint64_t left = piece.left - done_;  // bytes behind the one at `at`
  if (left < kSmallPiece) return kStretchCost + take_data(left + 1);
  // Asking for the extent again for every slice would be quadratic: some file systems find its end page by page.
  if (at < extent_.address || at.value - extent_.address.value >= extent_.size) {
    const auto extent = dump_->next_extent(at);
    if (!extent || extent->address.value - at.value > left) {
      skip(left);
      return kStretchCost;
    }
    extent_ = *extent;
    if (const uint64_t gap = extent_.address.value - at.value; gap > 0) {
      skip(gap - 1);
      return kStretchCost;
    }
  }
  const uint64_t rest = extent_.size - (at.value - extent_.address.value);
  const uint64_t size = std::min(rest - 1, left) + 1;
  switch (extent_.kind) {
    case Dump::Extent::Kind::missing:
      skip(size - 1);
      return kStretchCost;
    case Dump::Extent::Kind::zero:
      return kStretchCost + take_zeros(size);
    case Dump::Extent::Kind::data:
      return kStretchCost + take_data(std::min(size, budget));
  }
  return kStretchCost;
}

/// Passes over the byte at the current position and so many behind it.
void Search::skip(uint64_t behind) {
  if (behind >= pieces_[piece_].left - done_) {
    ++piece_;
    done_ = 0;
  } else {
    done_ += behind + 1;
  }
}

/// Room in the window for `size` bytes from the current position on. Of the old content that stays which may still
/// begin a hit, if the addresses adjoin.
std::span<std::byte> Search::grow(size_t size) {
  const uint64_t address = pieces_[piece_].address + done_;
  const size_t keep = next_ == address ? std::min(window_size_, pattern_.size() - 1) : 0;
  std::memmove(window_.data(), window_.data() + window_size_ - keep, keep);
  window_size_ = keep + size;
  window_end_ = next_ = address + size;
  looked_ = 0;
  return std::span(window_).subspan(keep, size);
}

uint64_t Search::take_data(uint64_t size) {
  const PhysAddr at = pieces_[piece_].physical + done_;
  const size_t want = static_cast<size_t>(std::min<uint64_t>(size, window_.size() - pattern_.size()));
  const auto result = dump_->read(at, grow(want));
  const size_t lost = want - result.bytes;
  window_size_ -= lost;
  window_end_ -= lost;
  searched_ += result.bytes;
  const bool in_dump = result.missing != Missing::not_in_any_segment && result.missing != Missing::left_out;
  if (lost > 0 && in_dump && problem_.empty())
    problem_ = fmt::format("{:#x} cannot be read: {}", at.value + result.bytes, describe(result.missing));
  const size_t passed = lost > 0 ? std::min(want, result.bytes + kPage) : want;
  skip(passed - 1);
  return passed;
}

/// Of many zeros only the edges can be part of a hit, unless all of the pattern is zeros.
uint64_t Search::take_zeros(uint64_t size) {
  const uint64_t fed = std::min<uint64_t>(size, zeros_ ? window_.size() - pattern_.size() : pattern_.size() - 1);
  std::ranges::fill(grow(static_cast<size_t>(fed)), std::byte{0});
  const uint64_t passed = zeros_ ? fed : size;
  next_ += passed - fed;  // in front of which there are as many zeros as in the window
  searched_ += passed;
  skip(passed - 1);
  return fed;
}

/// Looks through the window. False when it stopped at max_hits.
bool Search::look(std::vector<uint64_t>& hits, size_t max_hits) {
  const std::byte* const begin = window_.data();
  const std::byte* const end = begin + window_size_;
  while (looked_ < window_size_) {
    const std::byte* found = find(begin + looked_, end, pattern_, rarest_);
    if (found == end) break;
    if (hits.size() >= max_hits) return false;
    hits.push_back(window_end_ - static_cast<uint64_t>(end - found));
    looked_ = static_cast<size_t>(found - begin) + 1;
  }
  looked_ = window_size_;
  return true;
}

}  // namespace gcore::reader
