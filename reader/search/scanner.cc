#include "reader/search/scanner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace gcore::reader {
namespace {

// Fits the second-level cache: the copy out of the page cache is still there when it is looked at.
constexpr size_t kSlice = 128 << 10;
constexpr uint64_t kPage = 4096;

}  // namespace

Scanner::Scanner(const Dump& dump, const Needle& needle)
    : dump_(&dump),
      needle_(&needle),
      slice_(std::max(kSlice, 2 * needle.size())),
      window_(std::make_unique_for_overwrite<std::byte[]>(needle.size() - 1 + slice_)) {}

void Scanner::begin(size_t at, uint64_t offset, size_t counted, size_t end) {
  window_size_ = looked_ = 0;
  at_ = at;
  done_ = offset;
  counted_ = counted;
  end_ = end;
  searched_ = 0;
  problem_.clear();
}

bool Scanner::run(std::span<const Stretch> stretches, std::vector<uint64_t>& hits, size_t most) {
  if (!look(hits, most)) return false;
  while (at_ < end_) {
    const Stretch& stretch = stretches[at_];
    stretch.zeros ? take_zeros(stretch) : take_data(stretch);
    if (!look(hits, most)) return false;
  }
  return true;
}

/// Passes over `size` bytes, of which so many could be looked at.
void Scanner::pass(const Stretch& stretch, uint64_t size, uint64_t seen) {
  if (at_ >= counted_) searched_ += seen;
  done_ += size;
  if (done_ < stretch.size) return;
  ++at_;
  done_ = 0;
}

/// Room in the window for `size` bytes at `address`. Of the old content that stays which may still begin a hit, if the
/// addresses adjoin.
std::span<std::byte> Scanner::grow(uint64_t address, size_t size) {
  const size_t keep = next_ == address ? std::min(window_size_, needle_->size() - 1) : 0;
  std::memmove(window_.get(), window_.get() + window_size_ - keep, keep);
  window_size_ = keep + size;
  window_end_ = next_ = address + size;
  looked_ = 0;
  return {window_.get() + keep, size};
}

void Scanner::take_data(const Stretch& stretch) {
  const PhysAddr at = stretch.physical + done_;
  const size_t want = static_cast<size_t>(std::min<uint64_t>(stretch.size - done_, slice_));
  const auto result = dump_->read(at, grow(stretch.address + done_, want));
  const size_t lost = want - result.bytes;
  window_size_ -= lost;
  window_end_ -= lost;
  const bool in_dump = result.missing != Missing::not_in_any_segment && result.missing != Missing::left_out;
  if (lost > 0 && in_dump && problem_.empty())
    problem_ = fmt::format("{:#x} cannot be read: {}", at.value + result.bytes, describe(result));
  if (lost == 0) return pass(stretch, want, want);
  next_ = window_end_;  // nothing adjoins that: what comes next is after a gap
  const uint64_t gap = gap_at(at + result.bytes, result.missing);
  pass(stretch, std::min(stretch.size - done_ - result.bytes, gap) + result.bytes, result.bytes);
}

/// How many bytes from a missing one on need not be tried.
uint64_t Scanner::gap_at(PhysAddr lost, Missing why) const {
  if (why != Missing::not_in_any_segment && why != Missing::left_out) return kPage - lost.value % kPage;
  uint64_t last = UINT64_MAX;
  if (const Segment* there = dump_->segment_at(lost)) last = there->address.value + (there->memory_size - 1);
  const auto next = std::ranges::upper_bound(dump_->segments(), lost, {}, &Segment::address);
  if (next != dump_->segments().end()) last = std::min(last, next->address.value - 1);
  return last - lost.value == UINT64_MAX ? UINT64_MAX : last - lost.value + 1;
}

/// Of many zeros only the edges can be part of a hit, unless all of the pattern is zeros.
void Scanner::take_zeros(const Stretch& stretch) {
  const uint64_t left = stretch.size - done_;
  const uint64_t fed = std::min<uint64_t>(left, needle_->zeros() ? slice_ : needle_->size() - 1);
  std::ranges::fill(grow(stretch.address + done_, static_cast<size_t>(fed)), std::byte{0});
  const uint64_t passed = needle_->zeros() ? fed : left;
  next_ += passed - fed;  // before which there are as many zeros as in the window
  pass(stretch, passed, passed);
}

/// Looks through the window. False when it stopped at `most`.
bool Scanner::look(std::vector<uint64_t>& hits, size_t most) {
  const std::byte* const begin = window_.get();
  const std::byte* const end = begin + window_size_;
  while (looked_ < window_size_) {
    const std::byte* found = needle_->find(begin + looked_, end);
    if (found == end) break;
    if (hits.size() >= most) return false;
    hits.push_back(window_end_ - static_cast<uint64_t>(end - found));
    looked_ = static_cast<size_t>(found - begin) + 1;
  }
  looked_ = window_size_;
  return true;
}

}  // namespace gcore::reader
