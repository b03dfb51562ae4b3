// The one step that every walk consists of. Internal to this folder.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "reader/translate/entry.h"
#include "reader/translate/paging.h"
#include "reader/translate/types.h"
#include "reader/translate/x86_entry.h"

namespace gcore::translate {

inline Decoded decode(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights) {
  return paging.mode == Mode::aarch64 ? decode_aarch64(paging, half, height, entry, rights)
                                      : decode_x86(paging, half, height, entry, rights);
}

/// A little-endian entry.
template <size_t width>
uint64_t load_entry(const std::byte* from) {
  if constexpr (width == 4) {
    uint32_t entry;
    std::memcpy(&entry, from, sizeof entry);
    return std::endian::native == std::endian::little ? entry : __builtin_bswap32(entry);
  } else {
    uint64_t entry;
    std::memcpy(&entry, from, sizeof entry);
    return std::endian::native == std::endian::little ? entry : __builtin_bswap64(entry);
  }
}

/// Reads one entry in the tables' byte order.
inline uint64_t load_entry(const Paging& paging, const std::byte* from) {
  if (paging.entry_bytes == 4) return load_entry<4>(from);  // x86 only, so little-endian
  const uint64_t entry = load_entry<8>(from);
  return paging.big_endian ? __builtin_bswap64(entry) : entry;
}

/// How far a walk is: it reads the table at `table` next, which is `height` levels above the last one.
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
  uint64_t file_end = 0;  // as reader::ReadResult
  Decoded decoded;

  Entries entries() const { return {bytes.data(), index - begin, end - begin}; }
};

/// The half of an address; nullptr when it has no tables or the address is none of it. `value` is left without tag.
inline const Half* half_of(const Paging& paging, VirtAddr address, uint64_t& value) {
  value = address.value;
  bool upper = false;
  unsigned sign_bit = 64;  // the lowest of the bits that have to be equal
  const Half* half = &paging.lower;
  if (paging.mode == Mode::x86_64) {
    upper = static_cast<int64_t>(value) < 0;
    half = upper ? &paging.upper : half;
    sign_bit = half->address_bits - 1u;
  } else if (paging.mode == Mode::aarch64) {
    constexpr uint64_t kTag = uint64_t{0xff} << 56;
    upper = (value >> 55 & 1) != 0;
    half = upper ? &paging.upper : half;
    if (half->ignore_tag) value = upper ? value | kTag : value & ~kTag;
    sign_bit = half->address_bits;
  } else {
    sign_bit = half->address_bits;
  }
  if (!half->usable || value >> sign_bit != (upper ? ~uint64_t{0} >> sign_bit : 0)) return nullptr;
  return half;
}

/// The start of a walk: at the root table of the address's half.
std::expected<Position, Fault> start(const Paging& paging, VirtAddr address);

/// Reads and decodes the entry of the position's table. Moves the position down when that is a table; returns whether
/// the walk has to go on. A walk takes at most `levels` steps, whatever memory says.
bool step(const Paging& paging, const ReadPhysical& read, Position& position, Block& block);

/// How many bytes stay contiguous from the first byte of `page` on, as far as its neighbours among `entries` show,
/// until that is at least `wanted`.
uint64_t contiguous_from(const Paging& paging, const Position& position, const Decoded& page, const Entries& entries,
                         uint64_t wanted);

/// The translation at the end of a walk that found `page`.
inline void set_translation(Translation& translation, const Paging& paging, const Position& position,
                            const Decoded& page, const Entries& entries, uint64_t wanted) {
  const uint64_t size = uint64_t{1} << shift_of(*position.half, position.height);
  const uint64_t offset = position.address & (size - 1);
  translation.address = PhysAddr(page.target + offset);
  translation.contiguous = size - offset;
  translation.page_size = size;
  translation.permissions = permissions_of(page.rights);
  if (wanted > size - offset)
    translation.contiguous =
        contiguous_from(paging, position, page, entries, std::max(wanted, wanted + offset)) - offset;
}

/// The fault at the end of a walk whose last step found none.
Fault fault_of(const Paging& paging, const Position& position, const Block& block);

/// printf into a string, for sentences.
[[gnu::format(printf, 1, 2)]] std::string formatted(const char* pattern, ...);

}  // namespace gcore::translate
