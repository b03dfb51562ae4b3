#include "reader/translate/translator.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <utility>

#include "reader/translate/cache.h"
#include "reader/translate/step.h"

namespace gcore::translate {
namespace {

constexpr unsigned kKeyShift = 12;  // cached translations are of 4 KiB pieces, whatever the page size

std::expected<Translation, Fault> identity(const Paging& paging, VirtAddr address) {
  const uint64_t end = uint64_t{1} << paging.identity_bits;
  if (address.value >= end)
    return std::unexpected(
        Fault{Fault::Kind::not_canonical, format("0x%" PRIx64 " is beyond %u-bit physical addresses (paging is off)",
                                                 address.value, paging.identity_bits)});
  return Translation{PhysAddr(address.value), end - address.value, 0, {}};
}

}  // namespace

struct Translator::Caches {
  Cache<512> pages;  // address >> 12 -> physical address, contiguous bytes, page size and permissions
  Cache<64> tables;  // address >> shift above, and height -> table, rights
  static constexpr unsigned kTableHeights = 2;

  static uint64_t table_key(const Position& at, unsigned height) {
    return (at.address >> shift_of(*at.half, height + 1)) << 1 | height | uint64_t{1} << 63;
  }

  /// Moves the position to the lowest table that is cached.
  void descend(Position& at) const {
    for (unsigned height = 0; height < std::min(kTableHeights, at.height); ++height) {
      Cache<64>::Value value;
      if (!tables.get(table_key(at, height), value)) continue;
      at.table = value.a;
      at.rights = static_cast<Rights>(value.b);
      at.height = height;
      return;
    }
  }

  void keep_table(const Position& at) {
    if (at.height < kTableHeights) tables.put(table_key(at, at.height), {at.table, at.rights, 0});
  }

  bool find(VirtAddr address, Translation& found) const {
    Cache<512>::Value value;
    if (!pages.get((address.value >> kKeyShift) + 1, value)) return false;
    const uint64_t offset = address.value & ((uint64_t{1} << kKeyShift) - 1);
    found.address = PhysAddr(value.a + offset);
    found.contiguous = value.b - offset;
    found.page_size = uint64_t{1} << (value.c & 0xff);
    found.permissions = {(value.c >> 8 & 1) != 0, (value.c >> 9 & 1) != 0, (value.c >> 10 & 1) != 0,
                         (value.c >> 11 & 1) != 0};
    return true;
  }

  void keep(VirtAddr address, const Translation& translation) {
    const uint64_t offset = address.value & ((uint64_t{1} << kKeyShift) - 1);
    const Permissions& p = translation.permissions;
    const uint64_t packed = static_cast<unsigned>(std::countr_zero(translation.page_size)) | uint64_t{p.read} << 8 |
                            uint64_t{p.write} << 9 | uint64_t{p.execute} << 10 | uint64_t{p.user} << 11;
    pages.put((address.value >> kKeyShift) + 1,
              {translation.address.value - offset, translation.contiguous + offset, packed});
  }
};

Translator::Translator(Paging paging, ReadPhysical read)
    : paging_(std::move(paging)), read_(std::move(read)), caches_(std::make_unique<Caches>()) {}
Translator::Translator(Translator&&) noexcept = default;
Translator& Translator::operator=(Translator&&) noexcept = default;
Translator::~Translator() = default;

std::expected<Translation, Fault> Translator::translate(VirtAddr address) const {
  if (paging_.mode == Mode::identity) return identity(paging_, address);
  Translation found;
  if (caches_->find(address, found)) return found;

  auto position = start(paging_, address);
  if (!position) return std::unexpected(std::move(position.error()));
  caches_->descend(*position);
  Block block;
  while (step(paging_, read_, *position, block)) caches_->keep_table(*position);
  if (block.decoded.meaning != Step::Meaning::page) return std::unexpected(fault_of(paging_, *position, block));
  found = translation_of(paging_, *position, block);
  caches_->keep(address, found);
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
    walk.result = translation_of(paging_, *position, block);
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
    const auto run = translate(next);
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
