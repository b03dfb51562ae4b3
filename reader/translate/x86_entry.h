// What an x86 entry says: see x86.cc for the modes. Here because translate() does little else, and a call would cost as
// much as the rest. Internal to this folder.
#pragma once

#include <cstdint>

#include "reader/translate/entry.h"
#include "reader/translate/paging.h"

namespace gcore::translate {
namespace x86 {

using Meaning = Step::Meaning;

inline constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kPageSize = 1u << 7, kNoExecute = uint64_t{1} << 63;
inline constexpr uint64_t kAddress = ((uint64_t{1} << 52) - 1) & ~uint64_t{0xfff};
inline constexpr const char* kNotPresent = "not present";

inline Decoded malformed(const char* why) {
  return {.meaning = Meaning::malformed, .rights = 0, .target = 0, .why = why};
}

/// Bits of entries are as random as addresses: what is computed from them is not branched on.
inline Rights rights_of(uint64_t entry, Rights rights) {
  static_assert(kWritable == kMayWrite << 1 && kUser == kMayUser << 1);
  return rights & static_cast<Rights>((entry >> 1 & (kMayWrite | kMayUser)) | kMayExecuteUser | kMayExecuteKernel);
}

inline Decoded decode_32(const Paging& paging, unsigned height, uint64_t entry, Rights rights) {
  rights = rights_of(entry, rights);
  if (height == 0) return {Meaning::page, rights, entry & 0xfffff000, ""};
  if ((entry & kPageSize) == 0 || !paging.large_pages) return {Meaning::table, rights, entry & 0xfffff000, ""};
  if ((entry >> 21 & 1) != 0) return malformed("bit 21 of a 4M page is reserved");
  return {Meaning::page, rights, (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32, ""};
}

template <Mode mode>
Decoded decode_wide(const Paging& paging, unsigned height, uint64_t entry, Rights rights) {
  constexpr bool pae = mode == Mode::x86_pae;
  const uint64_t address = entry & kAddress & ~paging.encryption_mask;
  if (pae && height == 2) {
    constexpr uint64_t kReserved = 0x1e6 | ~((uint64_t{1} << 52) - 1);
    if ((entry & kReserved & ~paging.encryption_mask) != 0) return malformed("reserved bits of a PDPTE are set");
    return {Meaning::table, rights, address, ""};
  }
  if (pae && (entry >> 52 & 0x7ff) != 0) return malformed("bits 62:52 are reserved with PAE paging");
  if ((entry & kNoExecute) != 0 && !paging.no_execute) return malformed("bit 63 is reserved while EFER.NXE is 0");
  constexpr Rights kExecute = kMayExecuteUser | kMayExecuteKernel;
  rights = rights_of(entry, rights) & static_cast<Rights>(~(kExecute * (entry >> 63)));
  if ((height != 0) & ((entry & kPageSize) == 0)) return {Meaning::table, rights, address, ""};
  if (height > 2) return malformed("bit 7 (page size) is reserved at this level");
  const uint64_t below = (uint64_t{1} << (12 + 9 * height)) - 1;
  constexpr uint64_t kBelowAndPat = 0x1fff;
  if ((address & below & ~kBelowAndPat) != 0)
    return malformed(height == 1 ? "bits 20:13 of a 2M page are reserved" : "bits 29:13 of a 1G page are reserved");
  return {Meaning::page, rights, address & ~below, ""};
}

}  // namespace x86

inline Decoded decode_x86_64(const Paging& paging, unsigned height, uint64_t entry, Rights rights) {
  if ((entry & x86::kPresent) == 0) return {x86::Meaning::not_present, rights, 0, x86::kNotPresent};
  return x86::decode_wide<Mode::x86_64>(paging, height, entry, rights);
}

inline Decoded decode_x86(const Paging& paging, const Half&, unsigned height, uint64_t entry, Rights rights) {
  if (paging.mode == Mode::x86_64) return decode_x86_64(paging, height, entry, rights);
  if ((entry & x86::kPresent) == 0) return {x86::Meaning::not_present, rights, 0, x86::kNotPresent};
  return paging.mode == Mode::x86_32 ? x86::decode_32(paging, height, entry, rights)
                                     : x86::decode_wide<Mode::x86_pae>(paging, height, entry, rights);
}

}  // namespace gcore::translate
