#include "reader/search/needle.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && !defined(__clang__) && __has_include(<sys/platform/x86.h>)  // it is not C++ to clang
#include <sys/platform/x86.h>
#endif

namespace gcore::reader {
namespace {

/// Bytes that are compared at once; GCC's vectors, so that one text serves SSE2 and NEON, which
/// every processor of its kind has, and AVX2.
template <size_t kBytes>
struct Wide {
  using Lanes [[gnu::vector_size(kBytes)]] = unsigned char;
};
constexpr size_t kGroups = 4;

#ifdef __x86_64__
/// The C library has asked the processor already. Whether the compiler's built-in function is called or not, it has
/// each start of the program ask again, by a dozen instructions that a virtual machine's host answers: 0.1 ms.
bool has_avx2() {
#ifdef CPU_FEATURE_ACTIVE
  return CPU_FEATURE_ACTIVE(AVX2);
#else
  return __builtin_cpu_supports("avx2") != 0;
#endif
}
#endif

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

Needle::Needle(std::span<const std::byte> pattern, size_t widest)
    : pattern_(pattern.begin(), pattern.end()), is_wide_(widest >= 32) {
#ifdef __x86_64__
  is_wide_ = is_wide_ && has_avx2();
#endif
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
    const std::byte* const last = end - (size() - 1) + rare_;  // after the last place of the rare byte
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

template <size_t kBytes>
[[gnu::always_inline]] inline const std::byte* Needle::find_wide(const std::byte* at, const std::byte* end) const {
  using Lanes = Wide<kBytes>::Lanes;
  constexpr size_t kPlaces = kGroups * kBytes;
  if (static_cast<size_t>(end - at) < size() - 1 + kPlaces) return find_rare(at, end);
  const std::byte* const last = end - (size() - 1 + kPlaces);
  const size_t rare = rare_, other = other_;
  const Lanes all_rare = Lanes{} + std::to_integer<unsigned char>(pattern_[rare]);
  const Lanes all_other = Lanes{} + std::to_integer<unsigned char>(pattern_[other]);
  Patience patience(at);
  for (; at <= last; at += kPlaces) {
    Lanes seen{};
#pragma GCC unroll 4
    for (size_t i = 0; i < kGroups; ++i) {
      Lanes first, second;
      std::memcpy(&first, at + i * kBytes + rare, kBytes);
      std::memcpy(&second, at + i * kBytes + other, kBytes);
      seen |= (Lanes)(first == all_rare) & (Lanes)(second == all_other);
    }
    uint64_t words[kBytes / 8], any = 0;
    std::memcpy(words, &seen, sizeof words);
    for (const uint64_t word : words) any |= word;
    if (any == 0) [[likely]]
      continue;
    for (const std::byte* place = at; place < at + kPlaces; ++place) {
      if (place[rare] != pattern_[rare] || place[other] != pattern_[other]) continue;
      if (stands_at(place)) return place;
      if (patience.lost(place)) return find_rare(place + 1, end);
    }
  }
  return find_rare(at, end);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] const std::byte* Needle::find_avx2(const std::byte* at, const std::byte* end) const {
  return find_wide<32>(at, end);
}
#endif

const std::byte* Needle::find(const std::byte* at, const std::byte* end) const {
  if (size() == 1) return find_rare(at, end);
#ifdef __x86_64__
  if (is_wide_) return find_avx2(at, end);
#endif
  return find_wide<16>(at, end);
}

}  // namespace gcore::reader
