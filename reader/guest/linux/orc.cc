#include "reader/guest/linux/orc.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using Base = OrcRule::Base;
using Type = OrcRule::Type;

// Debian's have some 400,000; a kernel with all drivers built in some 2,000,000.
constexpr uint64_t kMaxEntries = 16 << 20;
// Entries that are not ascending: a table is not used where one in so many is out of order.
constexpr size_t kDisorder = 64;

// What scripts/orc_hash.sh makes of orc_types.h.
constexpr std::array<uint8_t, kOrcHeaderBytes> kHeaderV2 = {0xdb, 0x84, 0xae, 0xd4, 0x10, 0x3b, 0x31, 0xdd, 0x51, 0xe0,
                                                            0x17, 0xf8, 0xf7, 0x97, 0x83, 0xca, 0x98, 0x5c, 0x2c, 0x51};
constexpr std::array<uint8_t, kOrcHeaderBytes> kHeaderV3 = {0xfe, 0x5d, 0x32, 0xbf, 0x58, 0x1b, 0xd6, 0x3b, 0x2c, 0xa9,
                                                            0xa5, 0xc6, 0x5b, 0xa5, 0xa6, 0x25, 0xea, 0xb3, 0xfe, 0x24};
constexpr std::array<uint8_t, kOrcHeaderBytes> kHeaderV4 = {0x13, 0x7c, 0x36, 0xad, 0x76, 0x27, 0xc4, 0xdd, 0x55, 0x93,
                                                            0x21, 0x76, 0xbb, 0x0e, 0xcd, 0xbd, 0x50, 0x41, 0xfc, 0x82};

constexpr std::array kBases = {Base::undefined, Base::prev_sp, Base::dx,  Base::di,          Base::bp,
                               Base::sp,        Base::r10,     Base::r13, Base::bp_indirect, Base::sp_indirect};
constexpr std::array kBasesV4 = {Base::undefined, Base::ax,          Base::dx,         Base::sp,
                                 Base::bp,        Base::di,          Base::r10,        Base::r13,
                                 Base::prev_sp,   Base::sp_indirect, Base::bp_indirect};
constexpr std::array kTypes = {Type::undefined, Type::end_of_stack, Type::call, Type::regs, Type::regs_partial};
constexpr std::array kOldTypes = {Type::call, Type::regs, Type::regs_partial};

template <class T, size_t N>
constexpr T pick(const std::array<T, N>& from, unsigned index) {
  return index < N ? from[index] : T::unknown;
}

uint16_t bits_of(std::span<const std::byte> entry) {
  return format::load<uint16_t>(entry.data() + 4, format::ByteOrder::little);
}

}  // namespace

OrcRule decode_orc(std::span<const std::byte, kOrcEntryBytes> entry, OrcFormat format) {
  const uint16_t bits = bits_of(entry);
  OrcRule rule;
  rule.sp_offset = static_cast<int16_t>(format::load<uint16_t>(entry.data(), format::ByteOrder::little));
  rule.bp_offset = static_cast<int16_t>(format::load<uint16_t>(entry.data() + 2, format::ByteOrder::little));
  const unsigned sp = bits & 0xf, bp = bits >> 4 & 0xf;
  rule.sp = format == OrcFormat::v4 ? pick(kBasesV4, sp) : pick(kBases, sp);
  rule.bp = format == OrcFormat::v4 ? pick(kBasesV4, bp) : pick(kBases, bp);
  if (format == OrcFormat::v3 || format == OrcFormat::v4) {
    rule.type = pick(kTypes, bits >> 8 & 7);
    rule.signal = (bits & 0x800) != 0;
    return rule;
  }
  rule.type = pick(kOldTypes, bits >> 8 & 3);
  const bool end = (bits & (format == OrcFormat::v1 ? 0x400 : 0x800)) != 0;
  rule.signal =
      format == OrcFormat::v1 ? rule.type == Type::regs || rule.type == Type::regs_partial : (bits & 0x400) != 0;
  if (rule.sp == Base::undefined) rule.type = end ? Type::end_of_stack : Type::undefined;
  return rule;
}

std::optional<OrcFormat> orc_format_of_header(std::span<const std::byte> header) {
  if (header.size() != kOrcHeaderBytes) return std::nullopt;
  const auto is = [&](const auto& known) { return std::memcmp(header.data(), known.data(), known.size()) == 0; };
  if (is(kHeaderV2)) return OrcFormat::v2;
  if (is(kHeaderV3)) return OrcFormat::v3;
  if (is(kHeaderV4)) return OrcFormat::v4;
  return std::nullopt;
}

std::optional<OrcFormat> orc_format_of_entries(std::span<const std::byte> entries) {
  size_t old_calls = 0, new_calls = 0, bit_11 = 0, sp_is_5 = 0, sp_is_3 = 0, total = 0;
  for (; entries.size() >= kOrcEntryBytes; entries = entries.subspan(kOrcEntryBytes), ++total) {
    const unsigned bits = bits_of(entries);
    if ((bits & 0xf) == 0) continue;  // says nothing of the type in the old formats
    old_calls += (bits >> 8 & 3) == 0 ? 1 : 0;
    new_calls += (bits >> 8 & 7) == 2 ? 1 : 0;
    bit_11 += bits >> 11 & 1;
    sp_is_5 += (bits & 0xf) == 5 ? 1 : 0;
    sp_is_3 += (bits & 0xf) == 3 ? 1 : 0;
  }
  if (new_calls > total / 4 && new_calls > old_calls) return sp_is_3 > sp_is_5 ? OrcFormat::v4 : OrcFormat::v3;
  if (old_calls > total / 4) return bit_11 > 0 ? OrcFormat::v2 : OrcFormat::v1;
  return std::nullopt;
}

Expected<OrcTable> OrcTable::read(const KernelMemory& memory, VirtAddr ips, VirtAddr entries, uint64_t count,
                                  std::optional<OrcFormat> format) {
  const auto fail = [&](Error::Kind kind, std::string why) {
    return std::unexpected(Error{kind, fmt::format("cannot read the ORC table of {} entries at {:#x} and {:#x}: {}",
                                                   count, ips.value, entries.value, why)});
  };
  if (count == 0) return fail(Error::Kind::not_present, "it is empty");
  if (count > kMaxEntries) return fail(Error::Kind::malformed, "no kernel has so many");
  OrcTable table(ips, OrcFormat::v1);
  // Before room is taken for all of it: a number that means nothing names memory that is not there.
  if (!memory.u8(entries + (count * kOrcEntryBytes - 1)) || !memory.u8(ips + (count * 4 - 1)))
    return fail(Error::Kind::not_present, "memory there is missing");
  table.ips_.resize(count);
  table.entries_.resize(count * kOrcEntryBytes);
  if (!memory.read_exactly(ips, std::as_writable_bytes(std::span(table.ips_))) ||
      !memory.read_exactly(entries, table.entries_))
    return fail(Error::Kind::not_present, "memory there is missing");
  if constexpr (format::kHostOrder == format::ByteOrder::big)
    for (int32_t& ip : table.ips_) ip = static_cast<int32_t>(format::byte_swap(static_cast<uint32_t>(ip)));
  size_t disorder = 0;
  for (size_t i = 1; i < count; ++i) disorder += table.address(i) < table.address(i - 1) ? 1 : 0;
  if (disorder > count / kDisorder) return fail(Error::Kind::malformed, "its addresses do not ascend");
  if (!format) format = orc_format_of_entries(table.entries_);
  if (!format) return fail(Error::Kind::malformed, "its entries are of no known format");
  table.format_ = *format;
  return table;
}

VirtAddr OrcTable::address(size_t index) const {
  return base_ + (4 * index + static_cast<uint64_t>(static_cast<int64_t>(ips_[index])));
}

OrcRule OrcTable::rule(size_t index) const {
  return decode_orc(std::span(entries_).subspan(index * kOrcEntryBytes).first<kOrcEntryBytes>(), format_);
}

std::optional<OrcRule> OrcTable::find(VirtAddr pc) const {
  size_t low = 0, high = ips_.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (address(middle) <= pc)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return std::nullopt;
  // Of several at one address (a terminator and what really begins there) the last one holds, as in the kernel; but a
  // terminator says nothing, so the real one is preferred.
  size_t best = low - 1;
  while (best > 0 && address(best - 1) == address(low - 1) && rule(best).type == Type::undefined) --best;
  return rule(best);
}

}  // namespace gcore::reader::linux_guest
