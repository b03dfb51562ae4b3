// The memory of QEMU's process: what no file backs is read where it is, which takes the right to trace that process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {

/// A part of another process's memory. Any thread, one at a time.
class ProcessMemory {
 public:
  /// [address, address + size) of process (or thread) `task`; all of it has to be mapped there for reading. The error
  /// is a clause: what does not let us read it.
  static std::expected<ProcessMemory, std::string> open(int task, uint64_t address, uint64_t size);

  /// Copies whole pages; returns how many leading bytes could be read. A page of private anonymous memory that was
  /// never touched is zeros, and is not touched by this either: that would cost its owner page tables.
  size_t read(uint64_t address, void* to, size_t size);

  /// How many bytes from there on, at most `size`, are of pages that were never touched: 0 when the first one was, or
  /// nobody knows. Whole pages.
  uint64_t untouched(uint64_t address, uint64_t size);

 private:
  ProcessMemory() = default;
  bool load(uint64_t address, uint64_t size);

  int task_ = 0;
  base::UniqueFd page_map_;        // invalid: every page counts as touched
  std::vector<uint64_t> entries_;  // of the page map
};

}  // namespace gcore::tools::qemu
