// What differs between two dumps of one guest: registers, and pages of memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "tools/gcore-inspect/facts/memory_pages.h"

namespace gcore::tools {
class Program;
}

namespace gcore::tools::inspect {

/// A register that the two dumps say different things of; nothing where one of them does not have it.
struct RegisterDiff {
  std::string name;
  unsigned bytes = 8;  // its size
  std::optional<uint64_t> a, b;
};

/// One vCPU, by the guest's number for it (Cpu::number).
struct CpuDiff {
  uint32_t number = 0;
  std::optional<size_t> a, b;  // its index in the dumps; nothing: that dump does not have the vCPU
  std::string process_a{}, process_b{};
  std::vector<RegisterDiff> registers{};
};

/// Consecutive pages of one kind.
struct PageDiff {
  enum class Kind : uint8_t {
    equal,
    differs,
    only_a,  // the other guest has no memory there
    only_b,
    missing_a,  // both have memory there, but the dump of this one lacks it: nothing can be said
    missing_b,
    missing_both,
  };
  static constexpr size_t kKinds = 7;
  uint64_t first = 0, count = 0;  // page number (address / kPageSize), pages
  Kind kind = Kind::equal;
  uint64_t bytes = 0;  // of a kind `differs`: how many bytes do
};

/// "equal", "differs", "only_a", ...
const char* to_string(PageDiff::Kind kind);

struct MemoryDiff {
  std::vector<PageDiff> runs;                      // ascending; all of the memory that either has
  std::array<uint64_t, PageDiff::kKinds> pages{};  // by kind
  uint64_t differing_bytes = 0;
  uint64_t of(PageDiff::Kind kind) const { return pages[static_cast<size_t>(kind)]; }
};

struct DumpDiff {
  std::vector<CpuDiff> cpus;  // all vCPUs of either, by number
  MemoryDiff memory;

  size_t differing_registers() const;
  /// The same vCPUs with the same registers, the same memory, and nothing of it missing.
  bool identical() const;
};

std::vector<CpuDiff> diff_cpus(const reader::Dump& a, const reader::Dump& b);

/// Reads only what is stored in at least one of the files, on all cores.
MemoryDiff diff_memory(const reader::Dump& a, const reader::Dump& b, const Program& program);

}  // namespace gcore::tools::inspect
