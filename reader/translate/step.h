// The one step that every walk consists of. Internal to this folder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "reader/translate/paging.h"
#include "reader/translate/types.h"

namespace gcore::translate {

/// What is allowed so far, as a set of bits: each level takes away from it.
using Rights = uint8_t;
inline constexpr Rights kMayWrite = 1, kMayUser = 2, kMayExecuteUser = 4, kMayExecuteKernel = 8, kMayAll = 15;

constexpr Permissions permissions_of(Rights rights) {
  return {.read = true,
          .write = (rights & kMayWrite) != 0,
          .execute = (rights & (kMayExecuteUser | kMayExecuteKernel)) != 0,
          .user = (rights & kMayUser) != 0};
}

/// What an entry says. `why` is a static clause for malformed and not_present ones.
struct Decoded {
  Step::Meaning meaning = Step::Meaning::not_present;
  Rights rights = 0;    // of the entry, combined with those passed in
  uint64_t target = 0;  // of the next table, or of the page (which has 2^shift_of(half, height) bytes)
  const char* why = "";
};

Decoded decode_x86(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights);
Decoded decode_aarch64(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights);

inline Decoded decode(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights) {
  return paging.mode == Mode::aarch64 ? decode_aarch64(paging, half, height, entry, rights)
                                      : decode_x86(paging, half, height, entry, rights);
}

/// Reads one entry in the tables' byte order.
uint64_t load_entry(const Paging& paging, const std::byte* from);

/// Where a walk stands: in front of the table at `table`, which is `height` levels above the last one.
struct Position {
  const Half* half = nullptr;
  uint64_t address = 0;  // virtual, without tag
  uint64_t table = 0;
  unsigned height = 0;
  Rights rights = kMayAll;
};

/// Some entries of a table, one of which is the walk's.
struct Entries {
  const std::byte* bytes;  // of the first
  size_t index, count;
};

/// A piece of a table, aligned to its size: what a step read. The neighbours of a page's entry tell how far it is
/// contiguous.
struct Block {
  static constexpr size_t kEntries = 64;

  alignas(8) std::array<std::byte, kEntries * 8> bytes;
  size_t begin = 0, end = 0,
         index = 0;  // table indices: of the first entry read, past the last one, of the walk's entry
  uint64_t entry_address = 0;
  uint64_t entry = 0;
  reader::Missing missing = reader::Missing::none;
  Decoded decoded;

  Entries entries() const { return {bytes.data(), index - begin, end - begin}; }
};

/// Chooses the half and checks the address. The position is in front of the root table.
std::expected<Position, Fault> start(const Paging& paging, VirtAddr address);

/// Reads and decodes the entry of the position's table. Moves the position down when that is a table; returns whether
/// the walk has to go on. A walk takes at most `levels` steps, whatever memory says.
bool step(const Paging& paging, const ReadPhysical& read, Position& position, Block& block);

/// The translation at the end of a walk that found `page`. Looks at its neighbours among `entries` until `wanted` bytes
/// are contiguous.
Translation translation_of(const Paging& paging, const Position& position, const Decoded& page, const Entries& entries,
                           uint64_t wanted);

/// The fault at the end of a walk whose last step found none.
Fault fault_of(const Paging& paging, const Position& position, const Block& block);

/// printf into a string, for sentences.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace gcore::translate
