// x86 paging, from the Intel SDM volume 3 chapter 4 and the AMD APM volume 2 chapter 5.
//
//   mode      levels (index bits)           address   entry  pages           chosen by
//   32-bit    PDE 10, PTE 10                32        4      4K, 4M (PSE)    CR0.PG, CR4.PAE = 0
//   PAE       PDPTE 2, PDE 9, PTE 9         32        8      4K, 2M          CR4.PAE, EFER.LMA = 0
//   4-level   PML4E, PDPTE, PDE, PTE 9      48        8      4K, 2M, 1G      EFER.LMA
//   5-level   PML5E as well                 57        8      4K, 2M, 1G      EFER.LMA, CR4.LA57
//
// An entry: bit 0 present, 1 writable, 2 user, 7 page size (in a PTE: PAT), 12 PAT of a large page, 51:12 address, 63
// no-execute. Bits 62:52 are free in long mode and reserved in PAE. The width of physical addresses is not known from a
// dump, so that 52 bits are taken and none of them is reserved. PDPTEs of PAE have no permissions. A 4M page has
// address bits 39:32 in bits 20:13 (PSE-36). CR3 has the root in bits 51:12 (PAE: 31:5); below are PCID or cache bits,
// above LAM (61, 62).
#include <cinttypes>

#include "reader/translate/step.h"
#include "reader/translate/x86_entry.h"

namespace gcore::translate {
namespace {

constexpr uint64_t kAddress = x86::kAddress;

Half half_of(const Paging& paging, uint8_t address_bits, uint8_t levels, uint8_t root_bits, uint64_t root) {
  Half half;
  half.address_bits = address_bits;
  half.levels = levels;
  half.root_bits = root_bits;
  half.level_bits = paging.mode == Mode::x86_32 ? 10 : 9;
  set_root(paging, half, PhysAddr(paging.mode == Mode::x86_64 ? root : root & 0xffffffff));
  return half;
}

constexpr uint64_t kCr0Paging = uint64_t{1} << 31, kCr4PageSize = 1 << 4, kCr4Pae = 1 << 5, kCr4La57 = 1 << 12;
constexpr uint64_t kEferLongEnable = 1 << 8, kEferLongActive = 1 << 10, kEferNoExecute = 1 << 11;

/// Compatibility mode has CS.L = 0 too, so that it speaks for long mode only when it is 1.
bool long_mode(const X86Registers& registers) {
  if (registers.efer) return (*registers.efer & (kEferLongEnable | kEferLongActive)) != 0;
  return registers.machine_64bit || registers.code_segment_long.value_or(false);
}

}  // namespace

reader::Expected<Paging> x86_paging(const X86Registers& registers) {
  Paging paging;
  if (registers.cr0 && (*registers.cr0 & kCr0Paging) == 0) return paging;
  const auto root = registers.cr3 ? registers.cr3 : registers.page_table;
  if (!root)
    return std::unexpected(
        reader::Error{reader::Error::Kind::not_present, "the dump has neither cr3 nor a root table"});

  const auto cr4 = registers.cr4;
  const bool pae = cr4 ? (*cr4 & kCr4Pae) != 0 : registers.pae.value_or(registers.machine_64bit);
  paging.encryption_mask = registers.encryption_mask & kAddress;
  paging.no_execute = !registers.efer || (*registers.efer & kEferNoExecute) != 0;
  paging.large_pages = !cr4 || (*cr4 & kCr4PageSize) != 0;
  if (pae && long_mode(registers)) {
    const bool five = cr4 ? (*cr4 & kCr4La57) != 0 : registers.five_level.value_or(false);
    if (!cr4 && !registers.five_level) paging.assumed = "4-level long mode (the dump has no cr4)";
    paging.mode = Mode::x86_64;
    paging.lower = half_of(paging, five ? 57 : 48, five ? 5 : 4, 9, *root);
    paging.upper = paging.lower;
    return paging;
  }
  if (!cr4 && !registers.pae) paging.assumed = "no PAE (the dump has no cr4)";
  paging.mode = pae ? Mode::x86_pae : Mode::x86_32;
  paging.entry_bytes = pae ? 8 : 4;
  paging.lower = pae ? half_of(paging, 32, 3, 2, *root) : half_of(paging, 32, 2, 10, *root);
  return paging;
}

}  // namespace gcore::translate
