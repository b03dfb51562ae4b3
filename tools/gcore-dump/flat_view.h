// Where RAM lies in guest-physical space, from the text of QEMU's `info mtree -f` (system/memory.c of QEMU; 2.10 and
// later print it in this form):
//
//     FlatView #1
//      AS "memory", root: system
//      AS "cpu-memory-0", root: system
//      Root memory region: system
//       0000000000000000-000000000009ffff (prio 0, ram): mem
//       00000000000c0000-00000000000cafff (prio 0, rom): mem @00000000000c0000
//
// A name may have blanks and even look like an offset; only an offset at the end of the line counts. `rom` is RAM that
// the guest cannot write now; `nv-ram` and `nv-rom` are persistent memory (NVDIMM). QEMU's dump-guest-memory takes all
// of these, and leaves out the memory of devices that are passed through (`ramd`) and flash (`romd`); so does this
// list.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tools::qemu {

struct RamRegion {
  uint64_t address = 0;  // guest-physical
  uint64_t size = 0;
  std::string block;    // the RAM block's name; of a memory backend, its id
  uint64_t offset = 0;  // of `address` in the block
  bool operator==(const RamRegion&) const = default;
};

/// The RAM of the address space "memory", sorted; neighbours that are neighbours in their block, too, are one region.
/// The error is a clause that says what is wrong with the text.
std::expected<std::vector<RamRegion>, std::string> parse_flat_view(std::string_view text);

}  // namespace gcore::tools::qemu
