// The bytes that a search looks for. Private to the reader.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace gcore::reader {

/// Finds a pattern at about the speed of memory: sixteen places at once are looked at for two of its bytes, those that
/// guests' memory has the fewest of. Linear in the bytes, whatever they are.
class Needle {
 public:
  /// At least one byte.
  explicit Needle(std::span<const std::byte> pattern);

  size_t size() const { return pattern_.size(); }
  bool zeros() const { return zeros_; }  // it is nothing but zeros

  /// The first place in [at, end) at which the pattern stands as a whole, or `end`.
  const std::byte* find(const std::byte* at, const std::byte* end) const;

 private:
  const std::byte* find_rare(const std::byte* at, const std::byte* end) const;
  bool stands_at(const std::byte* at) const;

  std::vector<std::byte> pattern_;
  size_t rare_ = 0, other_ = 0;  // two positions; the same if there is only one
  bool zeros_ = false;
};

}  // namespace gcore::reader
