// The three kinds of 64-bit number that a dump is full of, as types that do not convert into each other.
#pragma once

#include <compare>
#include <cstdint>

namespace gcore::reader {

/// A guest-physical address.
struct PhysAddr {
  uint64_t value = 0;

  PhysAddr() = default;
  constexpr explicit PhysAddr(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(PhysAddr, PhysAddr) = default;
  /// Wraps around at 2^64, as the machine does: whoever cares checks before.
  friend constexpr PhysAddr operator+(PhysAddr a, uint64_t n) { return PhysAddr(a.value + n); }
};

/// A guest-virtual address.
struct VirtAddr {
  uint64_t value = 0;

  VirtAddr() = default;
  constexpr explicit VirtAddr(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(VirtAddr, VirtAddr) = default;
  friend constexpr VirtAddr operator+(VirtAddr a, uint64_t n) { return VirtAddr(a.value + n); }
};

/// A position in the dump file (of a compressed dump: in what it decompresses to).
struct FileOffset {
  uint64_t value = 0;

  FileOffset() = default;
  constexpr explicit FileOffset(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(FileOffset, FileOffset) = default;
  friend constexpr FileOffset operator+(FileOffset a, uint64_t n) { return FileOffset(a.value + n); }
};

}  // namespace gcore::reader
