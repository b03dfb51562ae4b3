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
        Fault{Fault::Kind::not_canonical, formatted("0x%" PRIx64 " is beyond %u-bit physical addresses (paging is off)",
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

  static constexpr unsigned kLongModeRegion = 21;
  static constexpr uint64_t kKey = uint64_t{1} << 63;

  TableStore tables;
  Cache<2048> regions;  // region | kKey -> a Piece in two words
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

  uint64_t region_of(const Paging& paging, const Position& at) const {
    return at.address >> region_shift[at.half == &paging.upper];
  }

  bool find(uint64_t region, Piece& piece) const {
    Cache<2048>::Value value;
    if (!regions.get(region | kKey, value)) return false;
    piece = {.entries = reinterpret_cast<const std::byte*>(value.a),
             .count = size_t{1} << (value.b >> 24 & 0xff),
             .shift = static_cast<unsigned>(value.b >> 16 & 0xff),
             .height = static_cast<unsigned>(value.b >> 8 & 0xff),
             .rights = static_cast<Rights>(value.b & 0xff)};
    return true;
  }

  void keep(uint64_t region, const Piece& piece) {
    const auto bits = static_cast<uint64_t>(std::countr_zero(piece.count));
    regions.put(region | kKey, {reinterpret_cast<uintptr_t>(piece.entries),
                                bits << 24 | uint64_t{piece.shift} << 16 | uint64_t{piece.height} << 8 | piece.rights});
  }

  /// The piece of the position's table that holds the entry; false when it cannot be had.
  bool read(const Paging& paging, const Position& at, const ReadPhysical& read, Piece& piece) {
    piece = {nullptr, entries(paging, *at.half, at.height), shift_of(*at.half, at.height), at.height, at.rights};
    const size_t width = paging.entry_bytes;
    const size_t index =
        static_cast<size_t>(at.address >> piece.shift) & ((size_t{1} << index_bits(*at.half, at.height)) - 1);
    const uint64_t address = at.table + (index & ~(piece.count - 1)) * width;
    constexpr uint64_t kMask = TableStore::kPiece - 1;
    const std::byte* const page = tables.get(address & ~kMask, read);
    if (page == nullptr) return false;
    piece.entries = page + (address & kMask);
    return true;
  }
};

Translator::Translator(Paging paging, ReadPhysical read, ExpectPhysical expect)
    : paging_(std::move(paging)),
      read_(std::move(read)),
      expect_(std::move(expect)),
      caches_(std::make_unique<Caches>(paging_)) {}
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
Translator::~Translator() = default;

/// Nearly always the guest is in long mode, and the table known: that way is short, and calls nothing.
std::expected<Translation, Fault> Translator::translate(VirtAddr address, uint64_t wanted) const {
  Caches::Piece piece;
  if (paging_.mode == Mode::x86_64 && caches_->find(address.value >> Caches::kLongModeRegion, piece)) [[likely]] {
    // A region that is known is of addresses that are canonical, in a half that has tables.
    const unsigned shift = 12 + 9 * piece.height;
    const auto entry = load_entry<8>(piece.entries + (address.value >> shift & 511) * 8);
    const Decoded decoded = decode_x86_64(paging_, piece.height, entry, piece.rights);
    const uint64_t size = uint64_t{1} << shift, offset = address.value & (size - 1);
    if (decoded.meaning == Step::Meaning::page && wanted <= size - offset) [[likely]]
      return Translation{PhysAddr(decoded.target + offset), size - offset, size, permissions_of(decoded.rights)};
  }
  return find(address, wanted);
}

std::expected<Translation, Fault> Translator::find(VirtAddr address, uint64_t wanted) const {
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
  const auto to_root = [&] {
    position.table = position.half->root.value;
    position.height = position.half->levels - 1u;
    position.rights = kMayAll;
  };
  to_root();
  Caches::Piece piece{};
  const bool known = caches_->find(caches_->region_of(paging_, position), piece);
  if (known) {
    position.height = piece.height;
    position.rights = piece.rights;
  }
  while (known || caches_->read(paging_, position, read_, piece)) {
    const size_t index = piece.index_of(position.address);
    const auto entry = load_entry(paging_, piece.entries + index * paging_.entry_bytes);
    const Decoded decoded = decode(paging_, *position.half, position.height, entry, position.rights);
    if (decoded.meaning == Step::Meaning::page) {
      if (!known) caches_->keep(caches_->region_of(paging_, position), piece);
      set_translation(*found, paging_, position, decoded, {piece.entries, index, piece.count}, wanted);
      return found;
    }
    if (known) to_root();
    if (known || decoded.meaning != Step::Meaning::table) break;
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

/// Translates a run ahead: pages that lie anywhere are fetched while the one before them is copied.
VirtReadResult Translator::read(VirtAddr address, std::span<std::byte> into) const {
  VirtReadResult result;
  if (into.empty()) return result;
  for (auto run = translate(address, into.size());;) {
    if (!run) {
      result.why = run.error().text;
      result.unmapped = true;
      return result;
    }
    const VirtAddr at = address + result.bytes;
    const auto want = into.subspan(result.bytes, std::min<uint64_t>(run->contiguous, into.size() - result.bytes));
    const VirtAddr behind = at + want.size();
    const size_t left = into.size() - result.bytes - want.size();
    std::expected<Translation, Fault> next;
    if (left > 0 && behind >= at) {
      next = translate(behind, left);
      if (next && expect_) expect_(next->address);
    }
    const auto got = read_(run->address, want);
    result.bytes += got.bytes;
    result.zero_filled += got.zero_filled;
    if (got.bytes < want.size()) {
      result.missing = got.missing == reader::Missing::none ? reader::Missing::io_error : got.missing;
      const uint64_t lost = run->address.value + got.bytes;
      const std::string why = describe(result.missing, got.file_end);
      result.why = paging_.mode == Mode::identity
                       ? formatted("physical 0x%" PRIx64 " cannot be read: %s", lost, why.c_str())
                       : formatted("0x%" PRIx64 " maps to physical 0x%" PRIx64 ", which cannot be read: %s",
                                   at.value + got.bytes, lost, why.c_str());
      return result;
    }
    if (left == 0) return result;
    if (behind < at) {
      result.why = "the address space ends";
      result.unmapped = true;
      return result;
    }
    run = std::move(next);
  }
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
