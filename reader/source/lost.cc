#include "reader/source/lost.h"

#include <algorithm>

namespace gcore::reader {

void Lost::add(uint64_t first, uint64_t end) {
  if (!stretches_.empty() && stretches_.back().end == first) {
    stretches_.back().end = end;
    return;
  }
  const uint64_t before =
      stretches_.empty() ? 0 : stretches_.back().before + (stretches_.back().end - stretches_.back().first);
  stretches_.push_back({first, end, before});
}

std::optional<Lost::Stretch> Lost::next(uint64_t offset) const {
  const auto found = std::ranges::upper_bound(stretches_, offset, {}, &Entry::end);
  if (found == stretches_.end()) return std::nullopt;
  return Stretch{found->first, found->end};
}

uint64_t Lost::bytes_below(uint64_t offset) const {
  const auto behind = std::ranges::lower_bound(stretches_, offset, {}, &Entry::first);
  if (behind == stretches_.begin()) return 0;
  const Entry& last = *(behind - 1);
  return last.before + (std::min(offset, last.end) - last.first);
}

uint64_t Lost::bytes(uint64_t first, uint64_t end) const { return bytes_below(end) - bytes_below(first); }

}  // namespace gcore::reader
