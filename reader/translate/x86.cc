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

namespace gcore::translate {
namespace {

using Meaning = Step::Meaning;

constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kPageSize = 1u << 7, kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kAddress = ((uint64_t{1} << 52) - 1) & ~uint64_t{0xfff};
constexpr const char* kNotPresent = "not present";

Decoded malformed(const char* why) { return {.meaning = Meaning::malformed, .rights = 0, .target = 0, .why = why}; }

Rights rights_of(uint64_t entry, Rights rights) {
  if ((entry & kWritable) == 0) rights &= ~kMayWrite;
  if ((entry & kUser) == 0) rights &= ~kMayUser;
  return rights;
}

Decoded decode_32(const Paging& paging, unsigned height, uint64_t entry, Rights rights) {
  rights = rights_of(entry, rights);
  if (height == 0) return {Meaning::page, rights, entry & 0xfffff000, ""};
  if ((entry & kPageSize) == 0 || !paging.large_pages) return {Meaning::table, rights, entry & 0xfffff000, ""};
  if ((entry >> 21 & 1) != 0) return malformed("bit 21 of a 4M page is reserved");
  return {Meaning::page, rights, (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32, ""};
}

Decoded decode_wide(const Paging& paging, unsigned height, uint64_t entry, Rights rights) {
  const bool pae = paging.mode == Mode::x86_pae;
  const uint64_t address = entry & kAddress & ~paging.encryption_mask;
  if (pae && height == 2) {
    constexpr uint64_t kReserved = 0x1e6 | ~((uint64_t{1} << 52) - 1);
    if ((entry & kReserved & ~paging.encryption_mask) != 0) return malformed("reserved bits of a PDPTE are set");
    return {Meaning::table, rights, address, ""};
  }
  if (pae && (entry >> 52 & 0x7ff) != 0) return malformed("bits 62:52 are reserved with PAE paging");
  rights = rights_of(entry, rights);
  if ((entry & kNoExecute) != 0) {
    if (!paging.no_execute) return malformed("bit 63 is reserved while EFER.NXE is 0");
    rights &= ~(kMayExecuteUser | kMayExecuteKernel);
  }
  if (height == 0) return {Meaning::page, rights, address, ""};
  if ((entry & kPageSize) == 0) return {Meaning::table, rights, address, ""};
  if (height > 2) return malformed("bit 7 (page size) is reserved at this level");
  const uint64_t size = height == 1 ? uint64_t{1} << 21 : uint64_t{1} << 30;
  constexpr uint64_t kBelowAndPat = 0x1fff;
  if ((address & (size - 1) & ~kBelowAndPat) != 0)
    return malformed(height == 1 ? "bits 20:13 of a 2M page are reserved" : "bits 29:13 of a 1G page are reserved");
  return {Meaning::page, rights, address & ~(size - 1), ""};
}

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

Decoded decode_x86(const Paging& paging, const Half&, unsigned height, uint64_t entry, Rights rights) {
  if ((entry & kPresent) == 0) return {Meaning::not_present, rights, 0, kNotPresent};
  return paging.mode == Mode::x86_32 ? decode_32(paging, height, entry, rights)
                                     : decode_wide(paging, height, entry, rights);
}

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
