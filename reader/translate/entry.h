// What a table entry says, whatever the machine. Internal to this folder.
#pragma once

#include <array>
#include <cstdint>

#include "reader/translate/paging.h"
#include "reader/translate/types.h"

namespace gcore::translate {

/// What is allowed so far, as a set of bits: each level takes away from it.
using Rights = uint8_t;
inline constexpr Rights kMayWrite = 1, kMayUser = 2, kMayExecuteUser = 4, kMayExecuteKernel = 8, kMayAll = 15;

/// By Rights.
inline constexpr auto kPermissions = [] {
  std::array<Permissions, kMayAll + 1> all;
  for (Rights rights = 0; rights <= kMayAll; ++rights)
    all[rights] = {.read = true,
                   .write = (rights & kMayWrite) != 0,
                   .execute = (rights & (kMayExecuteUser | kMayExecuteKernel)) != 0,
                   .user = (rights & kMayUser) != 0};
  return all;
}();
constexpr Permissions permissions_of(Rights rights) { return kPermissions[rights & kMayAll]; }

/// What an entry says. `why` is a static clause for malformed and not_present ones.
struct Decoded {
  Step::Meaning meaning = Step::Meaning::not_present;
  Rights rights = 0;    // of the entry, combined with those passed in
  uint64_t target = 0;  // of the next table, or of the page (which has 2^shift_of(half, height) bytes)
  const char* why = "";
};

Decoded decode_aarch64(const Paging& paging, const Half& half, unsigned height, uint64_t entry, Rights rights);

}  // namespace gcore::translate
