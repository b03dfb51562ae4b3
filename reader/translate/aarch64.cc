// aarch64 stage 1 of EL1&0, from the Arm ARM (DDI 0487) chapter D8.
//
//   granule   bits a level   levels    blocks (beside pages)                   52-bit output addresses
//   4K        9              up to 4   2M at L2, 1G at L1; 512G at L0 with DS  TCR.DS: 49:12 in place, 51:50 in bits
//   9:8 16K       11             up to 4   32M at L2; 64G at L1 with DS            TCR.DS: 49:14 in place, 51:50 in
//   bits 9:8 64K       13             up to 3   512M at L2; 4T at L1 with LPA           TCR.IPS = 6: 47:16 in place,
//   51:48 in 15:12
//
// Address bit 55 selects TTBR0 or TTBR1, each with its own granule and size (64 - TxSZ bits); the walk starts at the
// level that this size needs, which with DS may be L-1. A descriptor: bit 0 valid; bits 1:0 = 3 a table (at L3: a
// page), 1 a block; bit 6 user, 7 read-only, 51 dirty-bit modifier, 53 PXN, 54 UXN; of a table 59 PXNTable, 60
// UXNTable, 61 no user, 62 read-only. Bit 52 (contiguous) is a hint to the TLB, and the access flag (bit 10) does not
// keep a debugger out: both are ignored. TTBR: 63:48 ASID, bit 0 CnP; with 52-bit addresses, bits 51:48 of the base
// stand in 5:2.
#include <cinttypes>

#include "reader/translate/step.h"

namespace gcore::translate {
namespace {

using Meaning = Step::Meaning;

constexpr uint64_t field(uint64_t value, unsigned high, unsigned low) {
  return value >> low & ((uint64_t{1} << (high - low + 1)) - 1);
}
constexpr bool bit(uint64_t value, unsigned position) { return (value >> position & 1) != 0; }
constexpr uint64_t below(unsigned shift) { return (uint64_t{1} << shift) - 1; }

uint64_t output_address(const Half& half, uint64_t entry, unsigned shift) {
  if (half.wide_64k) return (entry & below(48) & ~below(shift)) | field(entry, 15, 12) << 48;
  if (half.wide_ds) return (entry & below(50) & ~below(shift)) | field(entry, 9, 8) << 50;
  return entry & below(48) & ~below(shift);
}

bool block_is_legal(const Half& half, unsigned height) {
  if (height == 1) return true;
  if (height == 2) return half.page_shift == 12 || (half.page_shift == 14 ? half.wide_ds : half.wide_64k);
  return height == 3 && half.page_shift == 12 && half.wide_ds;
}

Rights leaf_rights(const Paging& paging, uint64_t entry, Rights rights) {
  if (bit(entry, 7) && !(paging.hardware_dirty && bit(entry, 51))) rights &= ~kMayWrite;
  if (!bit(entry, 6)) rights &= ~kMayUser;
  if (bit(entry, 53)) rights &= ~kMayExecuteKernel;
  if (bit(entry, 54)) rights &= ~kMayExecuteUser;
  return rights;
}

Rights table_rights(const Half& half, uint64_t entry, Rights rights) {
  if (half.flat_permissions) return rights;
  if (bit(entry, 62)) rights &= ~kMayWrite;
  if (bit(entry, 61)) rights &= ~kMayUser;
  if (bit(entry, 60)) rights &= ~kMayExecuteUser;
  if (bit(entry, 59)) rights &= ~kMayExecuteKernel;
  return rights;
}

/// Where TCR_EL1 keeps what concerns one half.
struct TcrFields {
  const char* ttbr_name;
  char digit;
  unsigned size, disable, granule, ignore_tag, flat;  // lowest bit of each field
};
constexpr TcrFields kTcrLower{"ttbr0_el1", '0', 0, 7, 14, 37, 41}, kTcrUpper{"ttbr1_el1", '1', 16, 23, 30, 38, 42};

/// 12, 14 or 16; 0 for the reserved value. TG0 and TG1 do not encode alike.
uint8_t page_shift(const TcrFields& fields, uint64_t tcr) {
  static constexpr uint8_t kTg0[] = {12, 16, 14, 0}, kTg1[] = {0, 14, 12, 16};
  return (fields.digit == '0' ? kTg0 : kTg1)[field(tcr, fields.granule + 1, fields.granule)];
}

Half unusable(std::string why) {
  Half half;
  half.why_unusable = std::move(why);
  return half;
}

Half half_of(const Paging& paging, const Aarch64Registers& registers, uint64_t tcr, const TcrFields& fields) {
  const auto ttbr = fields.digit == '0' ? registers.ttbr0 : registers.ttbr1;
  Half half;
  half.page_shift = page_shift(fields, tcr);
  if (half.page_shift == 0) return unusable(format("TCR_EL1.TG%c has the reserved value", fields.digit));
  half.level_bits = half.page_shift - 3;
  half.ignore_tag = bit(tcr, fields.ignore_tag);
  half.flat_permissions = bit(tcr, fields.flat);
  // Whether addresses have 52 bits is said by TCR (as far as the CPU has the feature), never by the size of the half.
  const bool has_52_bits = !registers.id_aa64mmfr0 || (*registers.id_aa64mmfr0 & 0xf) >= 6;
  half.wide_ds = half.page_shift != 16 && bit(tcr, 59);
  half.wide_64k = half.page_shift == 16 && field(tcr, 34, 32) == 6 && has_52_bits;

  const unsigned size = tcr >> fields.size & 0x3f;
  const unsigned address_bits = 64 - size;
  const unsigned most = half.page_shift == 16 || half.wide_ds ? 52 : 48;
  const unsigned least = half.page_shift == 16 ? 17 : 16;
  if (address_bits > most || address_bits < least)
    return unusable(format("TCR_EL1.T%cSZ is %u, which means %u-bit addresses; this granule has %u to %u", fields.digit,
                           size, address_bits, least, most));
  half.address_bits = static_cast<uint8_t>(address_bits);
  half.levels = static_cast<uint8_t>((address_bits - half.page_shift + half.level_bits - 1u) / half.level_bits);
  half.root_bits = static_cast<uint8_t>(address_bits - half.page_shift - (half.levels - 1u) * half.level_bits);

  if (bit(tcr, fields.disable))
    half.why_unusable = format("TCR_EL1.EPD%c disables it", fields.digit);
  else if (!ttbr)
    half.why_unusable = format("the dump has no %s", fields.ttbr_name);
  if (!half.why_unusable.empty()) return half;
  set_root(paging, half, table_of_ttbr(half, *ttbr));
  return half;
}

}  // namespace

PhysAddr table_of_ttbr(const Half& half, uint64_t ttbr) {
  const uint64_t address = ttbr & below(48);
  return PhysAddr(half.wide_64k || half.wide_ds ? (address & ~below(6)) | field(ttbr, 5, 2) << 48 : address);
}

Decoded decode_aarch64(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights) {
  if (!bit(entry, 0)) return {Meaning::not_present, rights, 0, "not valid"};
  const bool table_or_page = bit(entry, 1);
  if (height != 0 && table_or_page)
    return {Meaning::table, table_rights(half, entry, rights), output_address(half, entry, half.page_shift), ""};
  if (height == 0 && !table_or_page) return {Meaning::malformed, 0, 0, "type 1 is reserved at the last level"};
  if (height != 0 && !block_is_legal(half, height))
    return {Meaning::malformed, 0, 0, "no block is legal at this level"};
  return {Meaning::page, leaf_rights(paging, entry, rights), output_address(half, entry, shift_of(half, height)), ""};
}

reader::Expected<Paging> aarch64_paging(const Aarch64Registers& registers) {
  constexpr unsigned kMmu = 0, kBigEndian = 25;
  Paging paging;
  if (registers.sctlr && !bit(*registers.sctlr, kMmu)) return paging;
  if (!registers.ttbr0 && !registers.ttbr1)
    return std::unexpected(reader::Error{reader::Error::Kind::not_present,
                                         "the dump has neither ttbr0_el1 nor ttbr1_el1, nor a root table"});

  constexpr uint64_t kTcr48Bits4K = uint64_t{16} | uint64_t{16} << 16 | uint64_t{2} << 30;
  const uint64_t tcr = registers.tcr.value_or(kTcr48Bits4K);
  if (!registers.tcr) paging.assumed = "4K granule and 48-bit addresses (the dump has no tcr_el1)";
  paging.mode = Mode::aarch64;
  paging.big_endian = registers.sctlr ? bit(*registers.sctlr, kBigEndian) : registers.big_endian;
  paging.hardware_dirty = bit(tcr, 40);
  paging.lower = half_of(paging, registers, tcr, kTcrLower);
  paging.upper = half_of(paging, registers, tcr, kTcrUpper);
  return paging;
}

}  // namespace gcore::translate
