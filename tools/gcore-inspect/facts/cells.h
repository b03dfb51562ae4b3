// Guest-physical memory as a line of cells, for a picture: a cell is a page, or 2^shift of them in a big guest. Memory
// far above the rest does not stretch the line: a long gap is drawn short.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/gcore-inspect/facts/memory_pages.h"

namespace gcore::tools::inspect {

class Cells {
 public:
  /// Part of the line. A gap's cells are fewer than its pages.
  struct Stretch {
    uint64_t page = 0, pages = 0, cell = 0, cells = 0;
    bool gap = false;
  };

  /// `memory`: where memory is, ascending; all cells are `absent`, which is 0, at first.
  explicit Cells(std::span<const PageRun> memory);

  /// Sets pages that are in `memory`; `value` is not 0. Of the pages that share a cell the highest value is shown.
  void set(uint64_t first, uint64_t count, uint8_t value);

  /// The cells' values as base64 of (value, how many as LEB128) pairs. Halves the number of cells until that has at
  /// most `limit` characters; the rest of this object says what holds after that.
  std::string encode(size_t limit);

  unsigned shift() const { return shift_; }
  size_t size() const { return values_.size(); }
  size_t count(uint8_t value) const { return static_cast<size_t>(std::ranges::count(values_, value)); }
  const std::vector<Stretch>& stretches() const { return stretches_; }

 private:
  void lay_out();
  void halve();

  unsigned shift_ = 0;
  std::vector<Stretch> stretches_;
  std::vector<uint8_t> values_;
  size_t last_ = 0;  // the stretch of the last set()
};

}  // namespace gcore::tools::inspect
