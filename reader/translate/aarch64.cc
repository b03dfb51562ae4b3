// aarch64 stage 1, from the Arm ARM (DDI 0487) chapter D8.
//
//   granule  a level   levels   blocks (beside pages)                 52-bit output addresses
//   4K       9 bits    up to 4  2M at L2, 1G at L1; 512G at L0 (DS)   DS: 49:12 in place, 51:50 in bits 9:8
//   16K      11 bits   up to 4  32M at L2; 64G at L1 (DS)             DS: 49:14 in place, 51:50 in bits 9:8
//   64K      13 bits   up to 3  512M at L2; 4T at L1 (LPA)            IPS = 6: 47:16 in place, 51:48 in bits 15:12
//
// Three regimes, each with its own registers. EL1&0 and EL2&0 (HCR_EL2.E2H = 1: a Linux host) have two halves: address
// bit 55 selects TTBR0 or TTBR1, each with its own granule and size (64 - TxSZ bits). EL2 without E2H (a hypervisor of
// its own) has TTBR0_EL2 alone, another layout of TCR_EL2, and entries without a user mode. A walk starts at the
// level that the size needs, which with DS may be L-1.
//
// A descriptor: bit 0 valid; bits 1:0 = 3 a table (at L3: a page), 1 a block; bit 6 user, 7 read-only, 51 dirty-bit
// modifier, 53 PXN, 54 UXN; of a table 59 PXNTable, 60 UXNTable, 61 no user, 62 read-only. EL2 without E2H: bit 6 is
// always 1, and 54 (of a table 60) is XN. Bit 52 (contiguous) is a hint to the TLB, and the access flag (bit 10) does
// not keep a debugger out: both are ignored. TTBR: 63:48 ASID, bit 0 CnP; with 52-bit addresses, bits 51:48 of the
// base stand in 5:2.
#include <cinttypes>
#include <optional>
#include <utility>

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

/// Where there is one privilege, it has the kernel's rights.
Rights leaf_rights(const Paging& paging, uint64_t entry, Rights rights) {
  if (bit(entry, 7) && !(paging.hardware_dirty && bit(entry, 51))) rights &= ~kMayWrite;
  if (paging.one_privilege) return bit(entry, 54) ? rights & kMayWrite : rights & (kMayWrite | kMayExecuteKernel);
  if (!bit(entry, 6)) rights &= ~kMayUser;
  if (bit(entry, 53)) rights &= ~kMayExecuteKernel;
  if (bit(entry, 54)) rights &= ~kMayExecuteUser;
  return rights;
}

Rights table_rights(const Paging& paging, const Half& half, uint64_t entry, Rights rights) {
  if (half.flat_permissions) return rights;
  if (bit(entry, 62)) rights &= ~kMayWrite;
  if (paging.one_privilege) return bit(entry, 60) ? rights & ~kMayExecuteKernel : rights;
  if (bit(entry, 61)) rights &= ~kMayUser;
  if (bit(entry, 60)) rights &= ~kMayExecuteUser;
  if (bit(entry, 59)) rights &= ~kMayExecuteKernel;
  return rights;
}

/// Where a TCR keeps what concerns one half: the lowest bit of each field.
struct TcrFields {
  char digit;  // of TTBRn, TnSZ, TGn, EPDn
  unsigned size, granule, ignore_tag, flat, physical_size, wide;
  std::optional<unsigned> disable;
};
constexpr TcrFields kTcrLower{'0', 0, 14, 37, 41, 32, 59, 7}, kTcrUpper{'1', 16, 30, 38, 42, 32, 59, 23},
    kTcrOnly{'0', 0, 14, 20, 24, 16, 32, std::nullopt};

/// The registers of the regime that counts.
struct Regime {
  uint8_t level;
  bool two_halves;
  std::optional<uint64_t> sctlr, tcr, ttbr0, ttbr1, id_aa64mmfr0;
};

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

Half half_of(const Paging& paging, const Regime& regime, uint64_t tcr, const TcrFields& fields) {
  const auto ttbr = fields.digit == '0' ? regime.ttbr0 : regime.ttbr1;
  Half half;
  half.page_shift = page_shift(fields, tcr);
  if (half.page_shift == 0)
    return unusable(formatted("TCR_EL%d.TG%c has the reserved value", regime.level, fields.digit));
  half.level_bits = half.page_shift - 3;
  half.ignore_tag = bit(tcr, fields.ignore_tag);
  half.flat_permissions = bit(tcr, fields.flat);
  // Whether addresses have 52 bits is said by TCR (as far as the CPU has the feature), never by the size of the half.
  const bool has_52_bits = !regime.id_aa64mmfr0 || (*regime.id_aa64mmfr0 & 0xf) >= 6;
  half.wide_ds = half.page_shift != 16 && bit(tcr, fields.wide);
  half.wide_64k =
      half.page_shift == 16 && field(tcr, fields.physical_size + 2, fields.physical_size) == 6 && has_52_bits;

  const unsigned size = tcr >> fields.size & 0x3f;
  const unsigned address_bits = 64 - size;
  const unsigned most = half.page_shift == 16 || half.wide_ds ? 52 : 48;
  const unsigned least = half.page_shift == 16 ? 17 : 16;
  if (address_bits > most || address_bits < least)
    return unusable(formatted("TCR_EL%d.T%cSZ is %u, which means %u-bit addresses; this granule has %u to %u",
                              regime.level, fields.digit, size, address_bits, least, most));
  half.address_bits = static_cast<uint8_t>(address_bits);
  half.levels = static_cast<uint8_t>((address_bits - half.page_shift + half.level_bits - 1u) / half.level_bits);
  half.root_bits = static_cast<uint8_t>(address_bits - half.page_shift - (half.levels - 1u) * half.level_bits);

  if (fields.disable && bit(tcr, *fields.disable))
    half.why_unusable = formatted("TCR_EL%d.EPD%c disables it", regime.level, fields.digit);
  else if (!ttbr)
    half.why_unusable = formatted("the dump has no ttbr%c_el%d", fields.digit, regime.level);
  if (!half.why_unusable.empty()) return half;
  set_root(paging, half, table_of_ttbr(half, *ttbr));
  return half;
}

// Of HCR_EL2.
constexpr unsigned kSecondStage = 0, kDefaultCacheable = 12, kTge = 27, kE2h = 34;

/// TCR_EL2 as it is without E2H has two bits that are always 1; with E2H they are EPD1 and the upper one of TG1.
bool has_e2h_form(uint64_t tcr_el2) { return !bit(tcr_el2, 23) || !bit(tcr_el2, 31); }

std::unexpected<reader::Error> not_present(std::string text) {
  return std::unexpected(reader::Error{reader::Error::Kind::not_present, std::move(text)});
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
    return {Meaning::table, table_rights(paging, half, entry, rights), output_address(half, entry, half.page_shift),
            ""};
  if (height == 0 && !table_or_page) return {Meaning::malformed, 0, 0, "type 1 is reserved at the last level"};
  if (height != 0 && !block_is_legal(half, height))
    return {Meaning::malformed, 0, 0, "no block is legal at this level"};
  return {Meaning::page, leaf_rights(paging, entry, rights), output_address(half, entry, shift_of(half, height)), ""};
}

reader::Expected<Aarch64Regime> aarch64_regime(const Aarch64Registers& registers) {
  constexpr uint64_t kEl1 = 1 << 2, kAarch32 = 1 << 4, kUser32 = 0x10, kHypervisor32 = 0x1a;
  const uint64_t pstate = registers.pstate.value_or(kEl1);
  unsigned level = pstate >> 2 & 3;
  if ((pstate & kAarch32) != 0) {  // modes in place of levels
    level = (pstate & 0x1f) == kUser32 ? 0 : 1;
    if ((pstate & 0x1f) == kHypervisor32)
      return not_present("the vCPU is in the AArch32 Hyp mode, whose tables are not walked");
  }
  if (level == 3) return not_present("the vCPU is in EL3, whose tables (TTBR0_EL3) no dump has");
  const uint64_t hcr = registers.hcr_el2.value_or(0);
  if (level == 2) {
    const bool e2h = registers.hcr_el2 ? bit(hcr, kE2h) : registers.tcr_el2 && has_e2h_form(*registers.tcr_el2);
    return e2h ? Aarch64Regime::el2_and_0 : Aarch64Regime::el2;
  }
  if (level == 0 && bit(hcr, kE2h) && bit(hcr, kTge)) return Aarch64Regime::el2_and_0;
  if (bit(hcr, kSecondStage))
    return not_present(
        "the vCPU runs a guest of this guest (HCR_EL2.VM is 1): behind its own tables are those of "
        "VTTBR_EL2, which are not walked");
  return Aarch64Regime::el1;
}

reader::Expected<Paging> aarch64_paging(const Aarch64Registers& registers) {
  constexpr unsigned kMmu = 0, kBigEndian = 25;
  const auto which = aarch64_regime(registers);
  if (!which) return std::unexpected(which.error());
  Regime regime{1, true, registers.sctlr, registers.tcr, registers.ttbr0, registers.ttbr1, registers.id_aa64mmfr0};
  if (*which != Aarch64Regime::el1)
    regime = {2,
              *which == Aarch64Regime::el2_and_0,
              registers.sctlr_el2,
              registers.tcr_el2,
              registers.ttbr0_el2,
              registers.ttbr1_el2,
              registers.id_aa64mmfr0};
  Paging paging;
  if (regime.sctlr && !bit(*regime.sctlr, kMmu)) return paging;
  const uint64_t hcr = registers.hcr_el2.value_or(0);
  if (regime.level == 1 && (bit(hcr, kTge) || bit(hcr, kDefaultCacheable))) return paging;  // as if SCTLR_EL1.M were 0
  if (!regime.ttbr0 && (!regime.ttbr1 || !regime.two_halves))
    return not_present(
        regime.two_halves
            ? formatted("the dump has neither ttbr0_el%d nor ttbr1_el%d, nor a root table", regime.level, regime.level)
            : std::string("the vCPU is in EL2, and the dump has no ttbr0_el2, nor a root table"));

  constexpr uint64_t kTcr48Bits4K = uint64_t{16} | uint64_t{16} << 16 | uint64_t{2} << 30, kTcrOnly48Bits4K = 16;
  const uint64_t tcr = regime.tcr.value_or(regime.two_halves ? kTcr48Bits4K : kTcrOnly48Bits4K);
  if (!regime.tcr)
    paging.assumed = formatted("4K granule and 48-bit addresses (the dump has no tcr_el%d)", regime.level);
  else if (regime.level == 2 && !registers.hcr_el2)
    paging.assumed = formatted("HCR_EL2.E2H = %d, by the form of tcr_el2 (the dump has no hcr_el2)", regime.two_halves);
  paging.mode = Mode::aarch64;
  paging.level = regime.level;
  paging.one_privilege = !regime.two_halves;
  paging.big_endian = regime.sctlr ? bit(*regime.sctlr, kBigEndian) : registers.big_endian;
  paging.hardware_dirty = bit(tcr, regime.two_halves ? 40 : 22);
  paging.lower = half_of(paging, regime, tcr, regime.two_halves ? kTcrLower : kTcrOnly);
  paging.upper =
      regime.two_halves ? half_of(paging, regime, tcr, kTcrUpper) : unusable("EL2 has one half (HCR_EL2.E2H is 0)");
  return paging;
}

}  // namespace gcore::translate
