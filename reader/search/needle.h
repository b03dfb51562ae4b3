// The bytes that a search looks for. Private to the reader.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace gcore::reader {

/// Finds a pattern at about the speed of memory: 64 places at once, or 128, are looked at for two of its bytes, those
/// that guests' memory has the fewest of. Linear in the bytes, whatever they are.
class Needle {
 public:
  /// At least one byte. `widest`: bytes that may be compared at once, if the processor can.
  explicit Needle(std::span<const std::byte> pattern, size_t widest = 32);

  size_t size() const { return pattern_.size(); }
  bool zeros() const { return zeros_; }  // it is nothing but zeros

  /// The first place in [at, end) at which the pattern stands as a whole, or `end`.
  const std::byte* find(const std::byte* at, const std::byte* end) const;

 private:
  template <size_t kBytes>
  const std::byte* find_wide(const std::byte* at, const std::byte* end) const;
  const std::byte* find_avx2(const std::byte* at, const std::byte* end) const;
  const std::byte* find_rare(const std::byte* at, const std::byte* end) const;
  bool stands_at(const std::byte* at) const;

  std::vector<std::byte> pattern_;
  size_t rare_ = 0, other_ = 0;  // two positions; the same if there is only one
  bool zeros_ = false, is_wide_ = false;
};

}  // namespace gcore::reader
