// The memory of QEMU's process: what no file backs is read where it is, which takes the right to trace that process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {

/// A part of another process's memory. Any threads.
class ProcessMemory {
 public:
  /// [address, address + size) of process (or thread) `task`; all of it has to be mapped there for reading. The error
  /// is a clause: what does not let us read it.
  static std::expected<ProcessMemory, std::string> open(int task, uint64_t address, uint64_t size);

  /// Copies whole pages; returns how many leading bytes could be read. A page of private anonymous memory that was
  /// never touched is zeros, and is not touched by this either: that would cost its owner page tables.
  size_t read(uint64_t address, void* to, size_t size) const;

  /// How many bytes from there on, at most `size`, are of pages that were never touched: 0 when the first one was, or
  /// nobody knows. Whole pages.
  uint64_t untouched(uint64_t address, uint64_t size) const;

 private:
  ProcessMemory() = default;
  using Entries = std::array<uint64_t, 2048>;  // of the page map, looked at together: 8 MiB
  std::span<uint64_t> load(uint64_t address, uint64_t size, Entries& entries) const;

  int task_ = 0;
  base::UniqueFd page_map_;  // invalid: every page counts as touched
};

}  // namespace gcore::tools::qemu
