// Every page of guest memory, looked at once, by all cores.
//
// Pages are 4 KiB at multiples of 4 KiB of guest-physical memory, whatever the file's extents are. Holes cost nothing.
#pragma once

#include <bitset>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"

namespace gcore::tools {
class Progress;
}

namespace gcore::tools::inspect {

inline constexpr uint64_t kPageSize = 4096;

/// Consecutive pages about which the same is known before they are read.
struct PageRun {
  enum class State : uint8_t {
    data,     // stored in the file; of some page only a part may be memory
    zero,     // known to be zeros
    missing,  // memory that the dump lacks
  };
  uint64_t first = 0;  // page number: guest-physical address / kPageSize
  uint64_t count = 0;
  State state = State::data;

  reader::PhysAddr address() const { return reader::PhysAddr(first * kPageSize); }
  uint64_t bytes() const { return count * kPageSize; }
};

/// All of memory as runs, ascending and disjoint; those of data have at most `max_data` pages. Pages that are no memory
/// at all are in none.
std::vector<PageRun> page_runs(const reader::Dump& dump, uint64_t max_data);

/// How many bytes of these runs have to be read.
uint64_t data_bytes(std::span<const PageRun> runs);

/// Calls `work(i)` for each i below `count`, in any order, on all cores; returns when all are done. What `work` throws
/// is thrown here, and what was not begun by then is left out.
void parallel_for(size_t count, const std::function<void(size_t)>& work);

/// The bytes of one page. Those that the dump does not have are 0.
struct PageBytes {
  alignas(64) std::byte bytes[kPageSize];
  std::bitset<kPageSize> memory, present;  // which of them the guest has, and which the dump
};

/// Calls `on_page(n, bytes)` for each page of a run of data, n counting from 0: a span of kPageSize bytes, or an empty
/// one for a page that cannot be read as a whole (read_page has what is there).
void read_pages(const reader::Dump& dump, const PageRun& run,
                const std::function<void(uint64_t, std::span<const std::byte>)>& on_page);
void read_page(const reader::Dump& dump, uint64_t page, PageBytes& into);

/// 128 bits of XXH3: that two of 2^32 distinct pages meet has a probability of 2^-65.
struct PageHash {
  uint64_t low = 0, high = 0;
  auto operator<=>(const PageHash&) const = default;
};

/// What a page holds, by a look at its bytes.
enum class Content : uint8_t {
  zero,
  data,     // none of the others
  text,     // nine in ten of its bytes that are not 0, and at least 1024, are printable ASCII
  random,   // at least 7.5 bits of entropy a byte: compressed or encrypted, for the most part
  partial,  // only a part of it is in the dump
  missing,  // nothing of it is in the dump
};

/// One run of data after the look at it. Both vectors have an entry a page.
struct LookedAt {
  std::vector<PageHash> hashes;    // of a page that is neither zero, partial nor missing; else of nothing
  std::vector<Content> contents;   // without `entropies`: zero, data, partial or missing
  std::vector<uint8_t> entropies;  // in 1/16 bit a byte, 0 to 128; empty unless asked for
};

struct Scan {
  std::vector<PageRun> runs;
  std::vector<LookedAt> looks;   // of each run; empty for those that are no data
  uint64_t partial_present = 0;  // bytes in partial pages that the dump has
};

/// `content`: tell text and random data from other data, and measure the entropy, which takes most of the time.
Scan scan_pages(const reader::Dump& dump, bool content, Progress& progress);

/// For each run of the scan a flag for each page: is it equal to another one before it (or, with runs of data, at
/// a lower address)? Empty for runs that are no data.
std::vector<std::vector<bool>> find_duplicates(const Scan& scan);

/// How many pages there are of which kind.
struct PageCounts {
  uint64_t hole = 0;                                                 // zero, and known without a look
  uint64_t zero = 0;                                                 // zero, and stored in the file
  uint64_t stored = 0;                                               // not zero
  uint64_t distinct = 0;                                             // of `stored`; the others are duplicates
  uint64_t partial_bytes = 0, missing = 0;                           // missing: pages
  uint64_t pages() const { return hole + zero + stored + missing; }  // whole ones
};
PageCounts count_pages(const Scan& scan);

/// What pages are compared with, and its version: "xxHash 0.8.1".
std::string hash_library();

}  // namespace gcore::tools::inspect
