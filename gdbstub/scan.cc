#include "gdbstub/scan.h"

#include <algorithm>
#include <cstring>

namespace gcore::gdbstub {
namespace {

constexpr size_t kSlice = 4 << 20;
constexpr uint64_t kPage = 4096;
constexpr size_t kPagesSkippedPerStep = 16384;
// Page tables can map one page all over the address space; a real one stays far below these.
constexpr size_t kMaxRanges = 1 << 20;
constexpr uint64_t kMaxBytes = uint64_t{1} << 40;

}  // namespace

Scan::Scan(const Target& target, Space space, uint64_t first, uint64_t last, std::string pattern, size_t max_hits)
    : target_(target),
      space_(std::move(space)),
      first_(first),
      last_(last),
      pattern_(std::move(pattern)),
      max_hits_(max_hits) {}

void Scan::collect_ranges() {
  collected_ = true;
  const auto add = [this](uint64_t first, uint64_t last) {
    first = std::max(first, first_);
    last = std::min(last, last_);
    if (first > last) return true;
    if (!ranges_.empty() && (ranges_.back().last == UINT64_MAX || first <= ranges_.back().last + 1)) {
      ranges_.back().last = std::max(ranges_.back().last, last);
      return true;
    }
    if (ranges_.size() == kMaxRanges) {
      problem_ = "the address space has too many pieces to search";
      return false;
    }
    ranges_.push_back({first, last});
    return true;
  };
  if (space_.physical) {
    for (const Segment& segment : target_.segments())
      if (segment.file_size > 0 && !add(segment.address, segment.address + (segment.size - 1))) return;
    return;
  }
  target_.mappings(space_, [&](const Mapping& mapping) {
    return mapping.start <= last_ && add(mapping.start, mapping.start + (mapping.size - 1));
  });
}

bool Scan::next_range() {
  if (range_ == ranges_.size()) return false;
  position_ = ranges_[range_].first;
  range_done_ = false;
  window_.clear();
  return true;
}

/// Looks through the window, and keeps of it what may start a hit.
void Scan::look() {
  const uint64_t start = position_ - window_.size();
  size_t at = 0;
  while (hits_.size() < max_hits_) {
    const void* found = memmem(window_.data() + at, window_.size() - at, pattern_.data(), pattern_.size());
    if (found == nullptr) break;
    const size_t offset = static_cast<size_t>(static_cast<const char*>(found) - window_.data());
    hits_.push_back(start + offset);
    at = offset + 1;
  }
  const size_t keep = std::min(window_.size() - std::min(at, window_.size()), pattern_.size() - 1);
  window_.erase(0, window_.size() - keep);
}

bool Scan::step() {
  if (!collected_) {
    collect_ranges();
    return !problem_.empty();
  }
  if (range_done_ && !next_range()) return true;
  for (size_t skipped = 0; skipped < kPagesSkippedPerStep && !range_done_; ++skipped) {
    const uint64_t left = ranges_[range_].last - position_;  // bytes after the one at position_
    // What is mapped to memory that the dump lacks is passed page by page: a slice's worth of window for each would
    // cost a thousand times the step.
    const size_t slice = skipped > 0 ? kPage - position_ % kPage : kSlice;
    const size_t wanted = left >= slice ? slice : static_cast<size_t>(left) + 1;
    const size_t kept = window_.size();
    window_.resize(kept + wanted);
    const size_t got =
        target_.read(space_, position_, std::as_writable_bytes(std::span(window_)).subspan(kept, wanted));
    window_.resize(kept + got);
    uint64_t advance = got;
    if (got > 0) {
      position_ += got;
      look();
      position_ -= got;
    } else {
      window_.clear();
      advance = kPage - position_ % kPage;
    }
    if (advance > left) {
      range_done_ = true;
      ++range_;
    } else {
      position_ += advance;
    }
    if (hits_.size() == max_hits_) return true;
    seen_ += got;
    if (seen_ > kMaxBytes) {
      problem_ = "more memory is mapped than can be searched; name a smaller range";
      return true;
    }
    if (got > 0) return false;
  }
  return false;
}

}  // namespace gcore::gdbstub
