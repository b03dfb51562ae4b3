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

/// The lowest tables on the way to an address, in pieces of up to 4 KiB, by the addresses that each piece translates.
struct Translator::Caches {
  static constexpr unsigned kHeights = 2;  // of the last two levels

  TableStore tables;
  Cache<1024> pieces;  // key below -> piece, its table, rights

  /// Entries of the position's table that stand in one piece.
  static size_t entries(const Paging& paging, const Position& at) {
    return std::min(size_t{1} << index_bits(*at.half, at.height), TableStore::kPiece / paging.entry_bytes);
  }

  static uint64_t key(const Paging& paging, const Position& at, unsigned height) {
    Position there = at;
    there.height = height;
    const unsigned shift = shift_of(*at.half, height) + static_cast<unsigned>(std::countr_zero(entries(paging, there)));
    return (at.address >> shift) << 1 | height | uint64_t{1} << 63;
  }

  /// Moves the position down to the lowest table of which the piece is known; nullptr when there is none.
  const std::byte* descend(const Paging& paging, Position& at) const {
    for (unsigned height = 0; height < std::min(kHeights, at.height); ++height) {
      Cache<1024>::Value value;
      if (!pieces.get(key(paging, at, height), value)) continue;
      at.table = value.b;
      at.rights = static_cast<Rights>(value.c);
      at.height = height;
      return reinterpret_cast<const std::byte*>(value.a);
    }
    return nullptr;
  }

  /// The piece of the position's table that holds the entry; nullptr when it cannot be had.
  const std::byte* piece(const Paging& paging, const Position& at, const ReadPhysical& read) {
    const size_t count = entries(paging, at), width = paging.entry_bytes;
    const size_t index = static_cast<size_t>(at.address >> shift_of(*at.half, at.height)) &
                         ((size_t{1} << index_bits(*at.half, at.height)) - 1);
    const uint64_t address = at.table + (index & ~(count - 1)) * width;
    constexpr uint64_t kMask = TableStore::kPiece - 1;
    const std::byte* page = tables.get(address & ~kMask, read);
    if (page == nullptr) return nullptr;
    const std::byte* piece = page + (address & kMask);
    if (at.height < kHeights)
      pieces.put(key(paging, at, at.height), {reinterpret_cast<uintptr_t>(piece), at.table, at.rights});
    return piece;
  }
};

Translator::Translator(Paging paging, ReadPhysical read)
    : paging_(std::move(paging)), read_(std::move(read)), caches_(std::make_unique<Caches>()) {}
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
Translator::~Translator() = default;

std::expected<Translation, Fault> Translator::translate(VirtAddr address, uint64_t wanted) const {
  if (paging_.mode == Mode::identity) return identity(paging_, address);
  auto position = start(paging_, address);
  if (!position) return std::unexpected(std::move(position.error()));
  const std::byte* piece = caches_->descend(paging_, *position);
  while (piece != nullptr || (piece = caches_->piece(paging_, *position, read_)) != nullptr) {
    const size_t count = Caches::entries(paging_, *position);
    const size_t index =
        static_cast<size_t>(position->address >> shift_of(*position->half, position->height)) & (count - 1);
    const auto entry = load_entry(paging_, piece + index * paging_.entry_bytes);
    const Decoded decoded = decode(paging_, *position->half, position->height, entry, position->rights);
    if (decoded.meaning == Step::Meaning::page)
      return translation_of(paging_, *position, decoded, {piece, index, count}, wanted);
    if (decoded.meaning != Step::Meaning::table) break;
    position->table = decoded.target;
    position->rights = decoded.rights;
    --position->height;
    piece = nullptr;
  }
  // Memory that ends within the piece, no room for it, or a fault, which the step has the words for.
  Block block;
  while (step(paging_, read_, *position, block)) continue;
  if (block.decoded.meaning != Step::Meaning::page) return std::unexpected(fault_of(paging_, *position, block));
  return translation_of(paging_, *position, block.decoded, block.entries(), wanted);
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
    walk.result = translation_of(paging_, *position, block.decoded, block.entries(), UINT64_MAX);
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
