#pragma once

#include <cstdint>
#include <vector>

#include "reader/space/address_space.h"

namespace gcore::tests {

/// What is mapped, as gcore lists it: where to draw addresses. (Whether the list is right is what the oracles tell.)
std::vector<reader::Mapping> list_mappings(const reader::AddressSpace& space);

/// COUNT guest-virtual addresses of every kind: in mappings, kernel's and processes', each mapping as likely as any
/// other; the first and last bytes of mappings and their neighbours; mapped addresses with one bit turned over, so that
/// every index and every unused bit is wrong once; addresses with mapped lower and arbitrary upper bits, most of them
/// not canonical; and any at all.
std::vector<uint64_t> draw_addresses(const std::vector<reader::Mapping>& mappings, size_t count, uint64_t seed);

}  // namespace gcore::tests
