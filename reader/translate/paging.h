// How a vCPU translates: the mode, the roots and the few bits that change what an entry means. Made from control
// registers, or from less, with what had to be assumed written down.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "reader/translate/types.h"

namespace gcore::translate {

enum class Mode : uint8_t { identity, x86_32, x86_pae, x86_64, aarch64 };

/// One half of the address space: all of it that starts at one root. 32-bit modes have a lower half only.
struct Half {
  bool usable = false;
  std::string why_unusable;  // one sentence when not usable
  PhysAddr root{};
  uint8_t address_bits = 0;       // of a virtual address: 32, 48, 57, or 64 - TxSZ
  uint8_t levels = 0;             // 1 to 5
  uint8_t root_bits = 0;          // address bits that index the root table
  uint8_t page_shift = 12;        // of the smallest page
  uint8_t level_bits = 9;         // address bits that index a table other than the root
  bool ignore_tag = false;        // aarch64 TBI: address bits 63:56 are not looked at
  bool flat_permissions = false;  // aarch64 HPD: table entries restrict nothing
  bool wide_64k = false;          // aarch64, 64K granule: descriptor bits 15:12 are address bits 51:48 (LPA)
  bool wide_ds = false;           // aarch64, 4K or 16K granule: descriptor bits 9:8 are address bits 51:50 (LPA2)
};

struct Paging {
  Mode mode = Mode::identity;
  uint8_t entry_bytes = 8;
  uint8_t identity_bits = 52;  // mode identity: addresses below 2^this are memory
  bool big_endian = false;     // the tables' byte order
  Half lower, upper;           // upper: bit 63 (x86_64) or 55 (aarch64) of the address is set

  bool no_execute = true;        // x86: bit 63 of an entry means no-execute (EFER.NXE); else it is reserved
  bool large_pages = true;       // x86_32: CR4.PSE
  uint64_t encryption_mask = 0;  // x86: address bits that mean "encrypted" (SME) and are no address
  bool hardware_dirty = false;   // aarch64 TCR.HD: a read-only entry with DBM set is writable
  bool one_privilege = false;    // aarch64, EL2 without E2H: no user mode, and entries have one no-execute bit (XN, 54)
  uint8_t level = 1;             // aarch64: the exception level (1 or 2) whose TTBRs these are

  std::string assumed;  // what the registers did not say, as part of a sentence; empty when nothing was assumed
};

/// Table heights count from the last level up: 0 is PTE or L3, 1 is PDE or L2.
constexpr unsigned shift_of(const Half& half, unsigned height) { return half.page_shift + height * half.level_bits; }
constexpr unsigned index_bits(const Half& half, unsigned height) {
  return height + 1u == half.levels ? half.root_bits : half.level_bits;
}
/// "PTE", "PDE", ... or "L3", "L2", ...; height 0 to 4.
const char* level_name(Mode mode, unsigned height);

/// What is known of an x86 vCPU; an absent register is one that the dump does not have.
struct X86Registers {
  bool machine_64bit = true;  // by the ELF header
  std::optional<uint64_t> cr0, cr3, cr4, efer;
  std::optional<bool> code_segment_long;  // CS.L
  std::optional<uint64_t> page_table;     // the root, used where there is no cr3
  std::optional<bool> pae, five_level;    // hints from elsewhere, used where there is no cr4
  uint64_t encryption_mask = 0;
};

/// Paging off when CR0.PG is known to be 0. Without EFER, long mode is inferred from the ELF machine, CR4.PAE and CS.L,
/// and no-execute is taken to be on. Error not_present when there is no root.
reader::Expected<Paging> x86_paging(const X86Registers& registers);

/// What is known of an aarch64 vCPU: EL1's registers where no level is named.
struct Aarch64Registers {
  std::optional<uint64_t> sctlr, tcr, ttbr0, ttbr1, id_aa64mmfr0;
  std::optional<uint64_t> pstate{};  // absent: EL1
  std::optional<uint64_t> hcr_el2{}, sctlr_el2{}, tcr_el2{}, ttbr0_el2{}, ttbr1_el2{};
  bool big_endian = false;  // byte order of the tables where there is no SCTLR
};

/// Whose tables translate what a vCPU executes (Arm ARM D8.1.2, "translation regimes"): those of EL1&0, of EL2, or of
/// EL2&0, where HCR_EL2.E2H gives EL2 two halves and user mode (a Linux host with VHE).
enum class Aarch64Regime : uint8_t { el1, el2, el2_and_0 };

/// By PSTATE.EL and by E2H and TGE of HCR_EL2; where the dump has none, E2H by the form of TCR_EL2. Error not_present
/// for EL3, whose tables no dump has, and for EL1&0 where HCR_EL2.VM adds a second stage, which is not
/// walked.
reader::Expected<Aarch64Regime> aarch64_regime(const Aarch64Registers& registers);

/// Paging off when the regime's SCTLR.M is known to be 0. Without TCR: 4K granule, 48 bits. A half that is disabled, of
/// an impossible size or without a root is not usable, and says why. Error not_present when neither half has a root,
/// and those of aarch64_regime().
reader::Expected<Paging> aarch64_paging(const Aarch64Registers& registers);

/// Where a TTBR's table is: below the ASID (bits 63:48). With 52-bit addresses, bits 5:2 are the address's bits 51:48.
PhysAddr table_of_ttbr(const Half& half, uint64_t ttbr);

/// Replaces the root of a half (lower or upper of `paging`) by a physical address: of a table, not a register's value.
/// Sizes and levels stay. Bits that cannot be part of a table's address are dropped. No effect when paging is off.
void set_root(const Paging& paging, Half& half, PhysAddr root);

}  // namespace gcore::translate
