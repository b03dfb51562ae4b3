#include "reader/translate/translator.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <utility>

#include "reader/translate/cache.h"
#include "reader/translate/step.h"
#include "reader/translate/table_store.h"

namespace gcore::translate {
namespace {

std::expected<Translation, Fault> identity(const Paging& paging, VirtAddr address) {
  const uint64_t end = uint64_t{1} << paging.identity_bits;
  if (address.value >= end)
    return std::unexpected(
        Fault{Fault::Kind::not_canonical, format("0x%" PRIx64 " is beyond %u-bit physical addresses (paging is off)",
                                                 address.value, paging.identity_bits)});
  return Translation{PhysAddr(address.value), end - address.value, 0, {}};
}

}  // namespace

/// The last table on the way to an address, in pieces of up to 4 KiB, by the region that a piece of the lowest level
/// translates.
struct Translator::Caches {
  struct Piece {
    const std::byte* entries;
    size_t count;
  };

  TableStore tables;
  Cache<2048> regions;  // key below -> entries, table, height and rights

  /// Entries of the table at a height that stand in one piece.
  static size_t entries(const Paging& paging, const Half& half, unsigned height) {
    return std::min(size_t{1} << index_bits(half, height), TableStore::kPiece >> (paging.entry_bytes == 8 ? 3 : 2));
  }

  static uint64_t key(const Paging& paging, const Position& at) {
    const auto shift = at.half->page_shift + static_cast<unsigned>(std::countr_zero(entries(paging, *at.half, 0)));
    return at.address >> shift | uint64_t{1} << 63;
  }

  /// Moves the position down to its last table; nullptr when that is not known.
  const std::byte* descend(const Paging& paging, Position& at) const {
    Cache<2048>::Value value;
    if (!regions.get(key(paging, at), value)) return nullptr;
    at.table = value.b;
    at.rights = static_cast<Rights>(value.c);
    at.height = static_cast<unsigned>(value.c >> 8);
    return reinterpret_cast<const std::byte*>(value.a);
  }

  void keep(const Paging& paging, const Position& at, const std::byte* piece) {
    regions.put(key(paging, at), {reinterpret_cast<uintptr_t>(piece), at.table, at.rights | uint64_t{at.height} << 8});
  }

  /// The piece of the position's table that holds the entry; nullptr when it cannot be had.
  const std::byte* piece(const Paging& paging, const Position& at, const ReadPhysical& read) {
    const size_t count = entries(paging, *at.half, at.height), width = paging.entry_bytes;
    const size_t index = static_cast<size_t>(at.address >> shift_of(*at.half, at.height)) &
                         ((size_t{1} << index_bits(*at.half, at.height)) - 1);
    const uint64_t address = at.table + (index & ~(count - 1)) * width;
    constexpr uint64_t kMask = TableStore::kPiece - 1;
    const std::byte* page = tables.get(address & ~kMask, read);
    return page == nullptr ? nullptr : page + (address & kMask);
  }
};

Translator::Translator(Paging paging, ReadPhysical read)
    : paging_(std::move(paging)), read_(std::move(read)), caches_(std::make_unique<Caches>()) {}
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
Translator::~Translator() = default;

std::expected<Translation, Fault> Translator::translate(VirtAddr address, uint64_t wanted) const {
  std::expected<Translation, Fault> found;  // the one that every path returns: built in place, it is never copied
  if (paging_.mode == Mode::identity) {
    found = identity(paging_, address);
    return found;
  }
  Position position;
  position.half = half_of(paging_, address, position.address);
  if (position.half == nullptr) {
    found = std::unexpected(std::move(start(paging_, address).error()));
    return found;
  }
  position.table = position.half->root.value;
  position.height = position.half->levels - 1u;
  const std::byte* piece = caches_->descend(paging_, position);
  const bool known = piece != nullptr;
  while (piece != nullptr || (piece = caches_->piece(paging_, position, read_)) != nullptr) {
    const size_t count = Caches::entries(paging_, *position.half, position.height);
    const size_t index =
        static_cast<size_t>(position.address >> shift_of(*position.half, position.height)) & (count - 1);
    const auto entry = load_entry(paging_, piece + index * paging_.entry_bytes);
    const Decoded decoded = decode(paging_, *position.half, position.height, entry, position.rights);
    if (decoded.meaning == Step::Meaning::page) {
      if (!known) caches_->keep(paging_, position, piece);
      set_translation(*found, paging_, position, decoded, {piece, index, count}, wanted);
      return found;
    }
    if (decoded.meaning != Step::Meaning::table) break;
    position.table = decoded.target;
    position.rights = decoded.rights;
    --position.height;
    piece = nullptr;
  }
  // Memory that ends within the piece, no room for it, or a fault, which the step has the words for.
  Block block;
  while (step(paging_, read_, position, block)) continue;
  if (block.decoded.meaning == Step::Meaning::page)
    set_translation(*found, paging_, position, block.decoded, block.entries(), wanted);
  else
    found = std::unexpected(fault_of(paging_, position, block));
  return found;
}

Walk Translator::walk(VirtAddr address) const {
  Walk walk;
  if (paging_.mode == Mode::identity) {
    walk.result = identity(paging_, address);
    walk.note = "paging is off: virtual addresses are physical";
    return walk;
  }
  if (!paging_.assumed.empty()) walk.note = "assumed: " + paging_.assumed;
  auto position = start(paging_, address);
  if (!position) {
    walk.result = std::unexpected(std::move(position.error()));
    return walk;
  }
  Block block;
  for (bool more = true; more;) {
    const unsigned height = position->height;
    more = step(paging_, read_, *position, block);
    const bool page = block.decoded.meaning == Step::Meaning::page;
    walk.steps.push_back({.level = level_name(paging_.mode, height),
                          .entry_address = PhysAddr(block.entry_address),
                          .entry = block.entry,
                          .meaning = block.decoded.meaning,
                          .target = PhysAddr(block.decoded.target),
                          .page_size = page ? uint64_t{1} << shift_of(*position->half, height) : 0,
                          .permissions = permissions_of(block.decoded.rights)});
  }
  if (block.decoded.meaning == Step::Meaning::page)
    set_translation(walk.result.emplace(), paging_, *position, block.decoded, block.entries(), UINT64_MAX);
  else
    walk.result = std::unexpected(fault_of(paging_, *position, block));
  return walk;
}

VirtReadResult Translator::read(VirtAddr address, std::span<std::byte> into) const {
  VirtReadResult result;
  while (result.bytes < into.size()) {
    const VirtAddr next = address + result.bytes;
    if (next < address) {
      result.why = "the address space ends";
      result.unmapped = true;
      return result;
    }
    const auto run = translate(next, into.size() - result.bytes);
    if (!run) {
      result.why = run.error().text;
      result.unmapped = true;
      return result;
    }
    const auto want = into.subspan(result.bytes, std::min<uint64_t>(run->contiguous, into.size() - result.bytes));
    const auto got = read_(run->address, want);
    result.bytes += got.bytes;
    result.zero_filled += got.zero_filled;
    if (got.bytes == want.size()) continue;
    result.missing = got.missing == reader::Missing::none ? reader::Missing::io_error : got.missing;
    const uint64_t lost = run->address.value + got.bytes;
    result.why = paging_.mode == Mode::identity
                     ? format("physical 0x%" PRIx64 " cannot be read: %s", lost, describe(result.missing))
                     : format("0x%" PRIx64 " maps to physical 0x%" PRIx64 ", which cannot be read: %s",
                              next.value + got.bytes, lost, describe(result.missing));
    return result;
  }
  return result;
}

VirtAddr Translator::without_tag(VirtAddr address) const {
  if (paging_.mode != Mode::aarch64) return address;
  const bool upper = (address.value >> 55 & 1) != 0;
  const Half& half = upper ? paging_.upper : paging_.lower;
  const unsigned bits = half.address_bits != 0 ? half.address_bits : 52;
  const uint64_t mask = ~uint64_t{0} << bits;
  return VirtAddr(upper ? address.value | mask : address.value & ~mask);
}

}  // namespace gcore::translate
