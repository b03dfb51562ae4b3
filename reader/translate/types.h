// What a page walk takes and gives: the vocabulary of this folder. Values only; nothing here reads memory.
//
// Addresses are the reader's types: a PhysAddr is guest-physical, a VirtAddr guest-virtual. Sizes are bytes.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"

namespace gcore::translate {

using reader::PhysAddr;
using reader::VirtAddr;

/// How a walk reads guest-physical memory: fills the span from the address on, says how many leading bytes it could
/// read and, when fewer than asked, why the next one is missing. Called from every thread that translates, so it has to
/// be thread-safe; what it answers for an address must not change while a Translator uses it.
using ReadPhysical = std::function<reader::ReadResult(PhysAddr, std::span<std::byte>)>;

/// Told where a page is read next, while there is still something else to read.
using ExpectPhysical = std::function<void(PhysAddr)>;

/// What the tables allow, combined over all levels. Write protection that the CPU may ignore (CR0.WP), protection keys,
/// SMEP, SMAP, PAN and aarch64's permission indirection are not looked at.
struct Permissions {
  bool read = true;
  bool write = true;
  bool execute = true;  // by the kernel or by a user process, whichever
  bool user = true;     // accessible to user mode

  bool operator==(const Permissions&) const = default;
};

/// "rwxu" with '-' for what is not allowed.
std::string to_string(Permissions permissions);

/// One table entry that a walk came across.
struct Step {
  enum class Meaning : uint8_t { table, page, not_present, malformed, unreadable };

  const char* level = "";    // static: "PML5E" "PML4E" "PDPTE" "PDE" "PTE", or "L-1" "L0" "L1" "L2" "L3"
  PhysAddr entry_address{};  // where the entry is
  uint64_t entry = 0;        // as it stands in memory, byte order resolved; 0 when unreadable
  Meaning meaning = Meaning::not_present;
  PhysAddr target{};          // of a table: the next table; of a page: its first byte; else 0
  uint64_t page_size = 0;     // of a page, else 0
  Permissions permissions{};  // combined down to this entry
};

struct Translation {
  PhysAddr address{};  // of the very byte that was asked for
  uint64_t contiguous =
      0;  // bytes from here on that stay contiguous, with the same permissions; at least 1. A lower bound
  uint64_t page_size = 0;  // of the page that holds the address; 0 when paging is off
  Permissions permissions{};

  bool operator==(const Translation&) const = default;
};

/// Why an address has no translation. `text` is one sentence without a final stop, which says at which level, at which
/// entry address, what the entry is and what is wrong with it.
struct Fault {
  enum class Kind : uint8_t {
    not_canonical,  // not an address of this mode at all: its upper bits are wrong
    not_present,    // an entry says that nothing is mapped
    malformed,      // an entry has reserved bits set, or is a large page where none is legal
    table_missing,  // a table is in memory that the dump lacks
    no_root,        // this half of the address space has no root table (disabled, or of an impossible size)
  };

  Kind kind = Kind::not_present;
  std::string text;
  PhysAddr entry_address{};  // of the entry at fault, 0 for not_canonical and no_root
  int height = -1;           // levels above the last one (PTE, L3 = 0), -1 for not_canonical and no_root
  /// Bytes from the address on that have no translation, as far as the entries beside it show: at least 1, and for
  /// not_present and malformed the rest of what the entry stands for. A lower bound.
  uint64_t contiguous = 1;
};

/// "not_canonical", "not_present", "malformed", "table_missing", "no_root".
const char* to_string(Fault::Kind kind);

/// A walk with all its steps, the last of which explains the result.
struct Walk {
  std::vector<Step> steps;  // empty when paging is off, or for not_canonical and no_root
  std::expected<Translation, Fault> result = std::unexpected(Fault{});
  std::string note;  // what is remarkable: an assumption or a second root that was used; else empty
};

/// A range of virtual addresses that is mapped to contiguous physical ones with equal permissions and page size.
struct Mapping {
  VirtAddr start{};
  uint64_t size = 0;
  PhysAddr physical{};
  uint64_t page_size = 0;  // 0 when paging is off
  Permissions permissions{};

  bool operator==(const Mapping&) const = default;
};

/// Bounds for listing an address space whose tables may be hostile. One table that stands in the tree at many places (a
/// shadow of zeros, Linux' espfix aliases, a table that points to itself) is entered at most `visits_per_table` times
/// at each level, so that the work is linear in the tables that exist and not in the addresses that they map.
struct Limits {
  uint64_t table_visits = uint64_t{1} << 20;  // a table larger than 4 KiB counts as so many visits of 4 KiB
  uint32_t visits_per_table = 16;
};

/// How a listing ended.
struct Listing {
  uint64_t table_visits = 0;
  uint64_t skipped_tables = 0;  // places at which a table was not entered once more (Limits::visits_per_table)
  uint64_t missing_tables = 0;  // tables that, or a part of which, the dump lacks
  uint64_t malformed_entries = 0;
  bool stopped = false;  // by the callback or by Limits::table_visits: what follows was not looked at
  std::string note;      // one sentence when the list is not the whole truth (any of the above), else empty
};

/// Receives the mappings in ascending order of virtual address; false stops the listing.
using OnMapping = std::function<bool(const Mapping&)>;

/// Receives each table, or part of one, that a listing looks into: where it is and how many bytes its entries take.
using OnTable = std::function<void(PhysAddr, uint64_t)>;

/// Result of reading virtual memory: `bytes` leading bytes were read. When these are fewer than asked, `why` is one
/// sentence that says why the next byte cannot be read, and exactly one of `fault` and `missing` is set.
struct VirtReadResult {
  size_t bytes = 0;
  std::string why;
  bool unmapped = false;                            // the next byte has no translation
  reader::Missing missing = reader::Missing::none;  // or it has one, to memory that the dump lacks
  size_t zero_filled = 0;                           // as in reader::ReadResult
};

}  // namespace gcore::translate
