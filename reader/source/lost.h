// The gaps of a truncated file. It has gaps where its bytes do not stand in the order in which they were written.
// Private to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace gcore::reader {

/// Stretches of offsets: ascending, neither overlapping nor adjoining.
class Lost {
 public:
  struct Stretch {
    uint64_t first = 0, end = 0;  // `end`: the first offset after it
  };

  /// Adds a stretch, which is not empty and comes after all others.
  void add(uint64_t first, uint64_t end);

  bool empty() const { return stretches_.empty(); }

  /// The stretch that has the offset, or else the next one. Logarithmic.
  std::optional<Stretch> next(uint64_t offset) const;

  /// How many of the bytes in [first, end) are lost. Logarithmic.
  uint64_t bytes(uint64_t first, uint64_t end) const;

 private:
  struct Entry {
    uint64_t first, end;
    uint64_t before;  // bytes in the stretches before it
  };
  uint64_t bytes_below(uint64_t offset) const;

  std::vector<Entry> stretches_;
};

}  // namespace gcore::reader
