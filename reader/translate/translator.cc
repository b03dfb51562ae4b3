#include "reader/translate/translator.h"

#include <algorithm>
#include <array>
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

/// Page tables as they were read, and where the last table on the way to an address is: in pieces of up to 4 KiB, by
/// the region that a piece of the lowest level translates.
struct Translator::Caches {
  /// A piece of a region's last table.
  struct Piece {
    const std::byte* entries;
    size_t count;
    unsigned shift;  // what an entry translates, in bits
    unsigned height;
    Rights rights;

    size_t index_of(uint64_t address) const { return static_cast<size_t>(address >> shift) & (count - 1); }
  };

  TableStore tables;
  Cache<2048> regions;  // key below -> a Piece in two words
  std::array<unsigned, 2> region_shift{};

  explicit Caches(const Paging& paging) {
    for (const bool upper : {false, true})
      if (const Half& half = upper ? paging.upper : paging.lower; half.levels != 0)
        region_shift[upper] = half.page_shift + static_cast<unsigned>(std::countr_zero(entries(paging, half, 0)));
  }

  /// Entries of the table at a height that stand in one piece.
  static size_t entries(const Paging& paging, const Half& half, unsigned height) {
    return std::min(size_t{1} << index_bits(half, height), TableStore::kPiece >> (paging.entry_bytes == 8 ? 3 : 2));
  }

  uint64_t key(const Paging& paging, const Half* half, uint64_t address) const {
    return address >> region_shift[half == &paging.upper] | uint64_t{1} << 63;
  }

  bool find(const Paging& paging, const Half* half, uint64_t address, Piece& piece) const {
    Cache<2048>::Value value;
    if (!regions.get(key(paging, half, address), value)) return false;
    piece = {.entries = reinterpret_cast<const std::byte*>(value.a),
             .count = size_t{1} << (value.b >> 24 & 0xff),
             .shift = static_cast<unsigned>(value.b >> 16 & 0xff),
             .height = static_cast<unsigned>(value.b >> 8 & 0xff),
             .rights = static_cast<Rights>(value.b & 0xff)};
    return true;
  }

  void keep(const Paging& paging, const Position& at, const Piece& piece) {
    const auto bits = static_cast<uint64_t>(std::countr_zero(piece.count));
    regions.put(key(paging, at.half, at.address),
                {reinterpret_cast<uintptr_t>(piece.entries),
                 bits << 24 | uint64_t{piece.shift} << 16 | uint64_t{piece.height} << 8 | piece.rights});
  }

  /// The piece of the position's table that holds the entry; without entries when it cannot be had.
  Piece read(const Paging& paging, const Position& at, const ReadPhysical& read) {
    Piece piece{nullptr, entries(paging, *at.half, at.height), shift_of(*at.half, at.height), at.height, at.rights};
    const size_t width = paging.entry_bytes;
    const size_t index =
        static_cast<size_t>(at.address >> piece.shift) & ((size_t{1} << index_bits(*at.half, at.height)) - 1);
    const uint64_t address = at.table + (index & ~(piece.count - 1)) * width;
    constexpr uint64_t kMask = TableStore::kPiece - 1;
    if (const std::byte* page = tables.get(address & ~kMask, read)) piece.entries = page + (address & kMask);
    return piece;
  }
};

Translator::Translator(Paging paging, ReadPhysical read)
    : paging_(std::move(paging)), read_(std::move(read)), caches_(std::make_unique<Caches>(paging_)) {}
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
Translator::~Translator() = default;

/// Nearly always the table is known: that way is short, and calls nothing.
std::expected<Translation, Fault> Translator::translate(VirtAddr address, uint64_t wanted) const {
  std::expected<Translation, Fault> found;  // the one that every path returns: built in place, it is never copied
  uint64_t value;
  const Half* half = paging_.mode == Mode::identity ? nullptr : half_of(paging_, address, value);
  Caches::Piece piece;
  if (half != nullptr && caches_->find(paging_, half, value, piece)) [[likely]] {
    const size_t index = piece.index_of(value);
    const auto entry = load_entry(paging_, piece.entries + index * paging_.entry_bytes);
    const Decoded decoded = decode(paging_, *half, piece.height, entry, piece.rights);
    if (decoded.meaning == Step::Meaning::page) [[likely]] {
      set_translation(*found, paging_, {half, value, 0, piece.height, piece.rights}, decoded,
                      {piece.entries, index, piece.count}, wanted);
      return found;
    }
  }
  find(address, wanted, found);
  return found;
}

/// From the root on.
void Translator::find(VirtAddr address, uint64_t wanted, std::expected<Translation, Fault>& found) const {
  if (paging_.mode == Mode::identity) {
    found = identity(paging_, address);
    return;
  }
  auto started = start(paging_, address);
  if (!started) {
    found = std::unexpected(std::move(started.error()));
    return;
  }
  Position& position = *started;
  while (true) {
    const Caches::Piece piece = caches_->read(paging_, position, read_);
    if (piece.entries == nullptr) break;
    const size_t index = piece.index_of(position.address);
    const auto entry = load_entry(paging_, piece.entries + index * paging_.entry_bytes);
    const Decoded decoded = decode(paging_, *position.half, position.height, entry, position.rights);
    if (decoded.meaning == Step::Meaning::page) {
      caches_->keep(paging_, position, piece);
      set_translation(*found, paging_, position, decoded, {piece.entries, index, piece.count}, wanted);
      return;
    }
    if (decoded.meaning != Step::Meaning::table) break;
    position.table = decoded.target;
    position.rights = decoded.rights;
    --position.height;
  }
  // Memory that ends within the piece, no room for it, or a fault, which the step has the words for.
  Block block;
  while (step(paging_, read_, position, block)) continue;
  if (block.decoded.meaning == Step::Meaning::page)
    set_translation(*found, paging_, position, block.decoded, block.entries(), wanted);
  else
    found = std::unexpected(fault_of(paging_, position, block));
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
