#include "reader/needle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>

namespace gcore::reader {
namespace {

/// SSE2 or NEON, which every processor of its kind has.
using Lanes = unsigned char __attribute__((vector_size(16)));
constexpr size_t kLanes = sizeof(Lanes), kGroups = 4, kPlaces = kGroups * kLanes;

Lanes load(const std::byte* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

Lanes all(std::byte value) { return Lanes{} + std::to_integer<unsigned char>(value); }

bool any(Lanes lanes) {
  const auto halves = std::bit_cast<std::array<uint64_t, 2>>(lanes);
  return (halves[0] | halves[1]) != 0;
}

/// How often a byte occurs in guests' memory, roughly: zeros above all, then what numbers, code and text are full of.
int commonness(std::byte byte) {
  const auto value = std::to_integer<unsigned char>(byte);
  if (value == 0) return 4;
  if (value == 0xff) return 3;
  if (value < 0x10 || value == 0x48 || value == 0x8b || value == 0x89 || value == ' ') return 2;
  return value >= 'a' && value <= 'z' ? 1 : 0;
}

/// Says when too much was looked at in vain: then memmem is the one that stays linear.
class Patience {
 public:
  explicit Patience(const std::byte* begin) : begin_(begin) {}
  bool lost(const std::byte* at) { return ++misses_ > 64 + static_cast<size_t>(at - begin_) / 64; }

 private:
  const std::byte* begin_;
  size_t misses_ = 0;
};

}  // namespace

Needle::Needle(std::span<const std::byte> pattern) : pattern_(pattern.begin(), pattern.end()) {
  assert(!pattern.empty());
  zeros_ = std::ranges::all_of(pattern_, [](std::byte b) { return b == std::byte{0}; });
  for (size_t i = 1; i < size(); ++i)
    if (commonness(pattern_[i]) < commonness(pattern_[rare_])) rare_ = i;
  // The same byte once more says less: where one of them stands, the next is often not far.
  const auto cost = [&](size_t i) { return 2 * commonness(pattern_[i]) + (pattern_[i] == pattern_[rare_] ? 1 : 0); };
  other_ = rare_ == 0 ? size() - 1 : 0;
  for (size_t i = 0; i < size(); ++i)
    if (i != rare_ && cost(i) < cost(other_)) other_ = i;
}

bool Needle::stands_at(const std::byte* at) const { return std::memcmp(at, pattern_.data(), size()) == 0; }

/// The rest, which is too short for groups of places, or all of it when there is one byte only.
const std::byte* Needle::find_rare(const std::byte* at, const std::byte* end) const {
  Patience patience(at);
  while (static_cast<size_t>(end - at) >= size()) {
    const std::byte* const first = at + rare_;
    const std::byte* const last = end - (size() - 1) + rare_;  // behind the last place of the rare byte
    const void* found = std::memchr(first, std::to_integer<int>(pattern_[rare_]), static_cast<size_t>(last - first));
    if (found == nullptr) return end;
    at = static_cast<const std::byte*>(found) - rare_;
    if (stands_at(at)) return at;
    ++at;
    if (patience.lost(at)) {
      found = memmem(at, static_cast<size_t>(end - at), pattern_.data(), size());
      return found == nullptr ? end : static_cast<const std::byte*>(found);
    }
  }
  return end;
}

const std::byte* Needle::find(const std::byte* at, const std::byte* end) const {
  if (size() == 1) return find_rare(at, end);
  const Lanes rare = all(pattern_[rare_]), other = all(pattern_[other_]);
  Patience patience(at);
  for (; static_cast<size_t>(end - at) >= size() - 1 + kPlaces; at += kPlaces) {
    std::array<Lanes, kGroups> both;
    Lanes seen{};
    for (size_t i = 0; i < kGroups; ++i) {
      const std::byte* const places = at + i * kLanes;
      both[i] = std::bit_cast<Lanes>((load(places + rare_) == rare) & (load(places + other_) == other));
      seen |= both[i];
    }
    if (!any(seen)) continue;
    for (size_t i = 0; i < kPlaces; ++i) {
      if (both[i / kLanes][i % kLanes] == 0) continue;
      if (stands_at(at + i)) return at + i;
      if (patience.lost(at)) return find_rare(at + i + 1, end);
    }
  }
  return find_rare(at, end);
}

}  // namespace gcore::reader
