// Looking for bytes in guest memory: in all of a dump, or in what an address space maps.
//
//   Search search = Search::in_memory(dump, PhysAddr(0), PhysAddr(UINT64_MAX), pattern);
//   std::vector<uint64_t> hits;
//   while (search.step(hits)) show_progress(search.searched());
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/address_space.h"
#include "reader/dump.h"

namespace gcore::reader {

/// A search in progress. Memory that the dump lacks is passed over; a hit may lie across pieces of memory whose
/// addresses adjoin, also across virtual pages that are far apart in physical memory. Holes cost nothing. Takes a few
/// hundred KiB, and 24 bytes for each mapping of an address space. Refers to the dump, which must outlive it.
class Search {
 public:
  /// All hits that lie in [first, last] as a whole. `pattern` has at least one byte, and is copied.
  static Search in_memory(const Dump& dump, PhysAddr first, PhysAddr last, std::span<const std::byte> pattern);

  /// The same through what `space` maps. Enumerates it at once, up to a million pieces, of which problem() tells.
  static Search in_space(const Dump& dump, const AddressSpace& space, VirtAddr first, VirtAddr last,
                         std::span<const std::byte> pattern);

  /// Looks through about `budget` bytes and appends the addresses at which the pattern begins, in ascending order, but
  /// not more than `max_hits` of them: the next call goes on right behind. False when the search is over.
  bool step(std::vector<uint64_t>& hits, uint64_t budget = 16 << 20, size_t max_hits = SIZE_MAX);

  /// Bytes that were looked at so far, holes included.
  uint64_t searched() const { return searched_; }

  /// Why memory was left out that should have been looked at, one sentence; empty when none was.
  const std::string& problem() const { return problem_; }

 private:
  /// Addresses that adjoin, of memory that does.
  struct Piece {
    uint64_t address;
    PhysAddr physical;
    uint64_t left;  // bytes behind the first
  };

  Search(const Dump& dump, std::span<const std::byte> pattern);
  bool at_piece_end() const { return piece_ == pieces_.size(); }
  uint64_t advance(uint64_t budget);
  uint64_t take_data(uint64_t size);
  uint64_t take_zeros(uint64_t size);
  void skip(uint64_t behind);
  std::span<std::byte> grow(size_t size);
  bool look(std::vector<uint64_t>& hits, size_t max_hits);

  const Dump* dump_;
  std::vector<std::byte> pattern_;
  size_t rarest_ = 0;  // the position in pattern_ of the byte that memory has the fewest of
  bool zeros_;         // the pattern is nothing but zeros
  std::vector<Piece> pieces_;
  size_t piece_ = 0;
  uint64_t done_ = 0;              // bytes of the current piece
  Dump::Extent extent_;            // the last one asked for
  std::vector<std::byte> window_;  // what was read and may still begin a hit
  size_t window_size_ = 0;         // of it in use
  size_t looked_ = 0;              // of that, where the next hit may begin
  uint64_t window_end_ = 0;        // the address behind the window
  uint64_t next_ = 0;              // the address of what comes next, if that adjoins
  uint64_t searched_ = 0;
  std::string problem_;
};

}  // namespace gcore::reader
