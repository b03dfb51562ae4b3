// Searching memory slice by slice, over what the address space maps and nothing else. Internal to the stub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gdbstub/target.h"

namespace gcore::gdbstub {

class Scan {
 public:
  /// Looks for `pattern` (not empty) in [first, last]; a hit lies in it as a whole. Ends after `max_hits`.
  Scan(const Target& target, Space space, uint64_t first, uint64_t last, std::string pattern, size_t max_hits);

  /// Does a few milliseconds' work. True when the search is over: see hits() and problem().
  bool step();
  const std::vector<uint64_t>& hits() const { return hits_; }
  /// Why the search ended before all was seen; empty when it did not.
  const std::string& problem() const { return problem_; }

 private:
  struct Range {
    uint64_t first, last;
  };

  void collect_ranges();
  bool next_range();
  void look();

  const Target& target_;
  Space space_;
  uint64_t first_, last_;
  std::string pattern_;
  size_t max_hits_;
  std::vector<uint64_t> hits_;
  std::string problem_;

  bool collected_ = false;
  std::vector<Range> ranges_;
  size_t range_ = 0;
  uint64_t position_ = 0;   // the next byte to read
  bool range_done_ = true;  // position_ is past the current range
  std::string window_;      // the bytes before position_ that may start a hit, then those just read
  uint64_t seen_ = 0;
};

}  // namespace gcore::gdbstub
