// Going through stretches of guest memory with a needle, on one thread. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/search/needle.h"

namespace gcore::reader {

/// Memory that is contiguous in the dump, and in the addresses that hits have: bytes of the dump, or zeros.
struct Stretch {
  uint64_t address;  // of its first byte, as hits have it
  PhysAddr physical;
  uint64_t size;
  bool zeros;
};

/// Reads slices into a window, and keeps of them what may still begin a hit. Movable; refers to dump and needle.
class Scanner {
 public:
  Scanner(const Dump& dump, const Needle& needle);

  /// Starts again at byte `offset` of stretch `at`, and goes up to stretch `end`. Stretches before stretch `counted`
  /// are read too, and do not count as searched.
  void begin(size_t at, uint64_t offset, size_t counted, size_t end);

  /// Appends hits until there are `most` of them and one more was found: then false, and the next call goes on there.
  /// The same stretches each time.
  bool run(std::span<const Stretch> stretches, std::vector<uint64_t>& hits, size_t most);

  uint64_t searched() const { return searched_; }          // bytes, since begin()
  const std::string& problem() const { return problem_; }  // the first one since begin()

 private:
  void take_data(const Stretch& stretch);
  void take_zeros(const Stretch& stretch);
  uint64_t gap_at(PhysAddr lost, Missing why) const;
  void pass(const Stretch& stretch, uint64_t size, uint64_t seen);
  std::span<std::byte> grow(uint64_t address, size_t size);
  bool look(std::vector<uint64_t>& hits, size_t most);

  const Dump* dump_;
  const Needle* needle_;
  size_t slice_;                         // bytes that are read at once
  std::unique_ptr<std::byte[]> window_;  // what was read and may still begin a hit
  size_t window_size_ = 0;               // bytes of it in use
  size_t looked_ = 0;                    // where in it the next hit may begin
  uint64_t window_end_ = 0;              // the address after the window
  uint64_t next_ = 0;                    // the address of what comes next, if that adjoins
  size_t at_ = 0, counted_ = 0, end_ = 0;
  uint64_t done_ = 0;  // bytes of the current stretch
  uint64_t searched_ = 0;
  std::string problem_;
};

}  // namespace gcore::reader
