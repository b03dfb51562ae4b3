// Looking for bytes in guest memory: in all of a dump, or in what an address space maps.
//
//   Search search = Search::in_memory(dump, PhysAddr(0), PhysAddr(UINT64_MAX), pattern);
//   std::vector<uint64_t> hits;
//   while (search.step(hits)) show_progress(search.searched());
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/space/address_space.h"

namespace gcore::reader {

/// A search in progress. Memory that the dump lacks is passed over; a hit may lie across pieces of memory whose
/// addresses adjoin, also across virtual pages that are far apart in physical memory. Holes cost nothing. Takes a few
/// hundred KiB for each thread, and 24 bytes for each mapping of an address space. Movable. Refers to the dump, which
/// must outlive it.
class Search {
 public:
  /// All hits that lie in [first, last] as a whole. `pattern` has at least one byte, and is copied.
  static Search in_memory(const Dump& dump, PhysAddr first, PhysAddr last, std::span<const std::byte> pattern);

  /// The same in memory that `space` maps. The first steps list its mappings, a million at the most: problem() tells.
  static Search in_space(const Dump& dump, const AddressSpace& space, VirtAddr first, VirtAddr last,
                         std::span<const std::byte> pattern);

  Search(Search&&) noexcept;
  Search& operator=(Search&&) noexcept;
  ~Search();

  /// Threads, and the part of memory in bytes that one takes at a time.
  struct Share {
    unsigned threads;
    size_t part;
  };

  /// How the work of one step() is shared: a budget of fewer than two parts is the caller's alone. Unless said
  /// otherwise, there are as many threads as CPUs, and parts of 2 MiB. They run within step() only.
  void share(Share share);

  /// Looks through about `budget` bytes and appends the addresses at which the pattern begins, in ascending order, but
  /// not more than `max_hits` of them: the next call goes on after the last one. False when the search is over.
  bool step(std::vector<uint64_t>& hits, uint64_t budget = 16 << 20, size_t max_hits = SIZE_MAX);

  /// Bytes that were looked at so far, holes included.
  uint64_t searched() const;

  /// Why memory was left out that should have been looked at, one sentence; empty when none was.
  const std::string& problem() const;

 private:
  class State;
  explicit Search(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader
