// Where the tables of kallsyms are in a kernel's memory. Private to the reader.
//
// Up to Linux 6.3 they stand in this order, each aligned to 8 bytes:
//
//   offsets u32[n], relative_base u64, num_syms u32, names, markers u32[(n + 255) / 256], (seqs_of_names u8[3 n]),
//   token_table, token_index u16[256]
//
// from 6.4 on num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names; from 7.0 on
// these are aligned to 4, and there is no relative_base: an offset is relative to its own place. Kernels without
// CONFIG_KALLSYMS_BASE_RELATIVE (until 6.11) have addresses u64[n] in place of offsets and relative_base. Distributions
// backport: nothing here asks for a version. Source: scripts/kallsyms.c, kernel/kallsyms_internal.h of Linux.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"

namespace gcore::reader::linux_guest {

/// How an entry of the table of addresses says an address.
enum class AddressEncoding : uint8_t {
  base_or_absolute,  // s32 o: o itself where it is >= 0 (per-CPU symbols of x86_64), else base - 1 - o
  base,              // base + u32
  self_relative,     // place of the entry + s32
  plain,             // u64
};

struct KallsymsTables {
  uint32_t count = 0;
  VirtAddr names, token_table, token_index;
  VirtAddr addresses;                       // offsets, or plain addresses
  std::optional<VirtAddr> relative_base{};  // where it stands
  /// Those that the place of the tables allows.
  std::vector<AddressEncoding> encodings{};
  std::string source{};  // as Names::source()
};

/// By VMCOREINFO, else by what they are in the kernel's image. Errors: not_present, malformed.
Expected<KallsymsTables> find_kallsyms(const KernelMemory& memory, const GuestSystem& guest);

/// Whether it is a mark that linker scripts set where a section begins or ends: what a stack shows stands after it, and
/// has a name of its own. A function (__start_tty, __stop_cpus) is none.
bool is_section_mark(const Symbol& symbol);

/// More symbols than any kernel has; a table that promises more is none.
inline constexpr uint32_t kMaxSymbols = 1 << 21;

}  // namespace gcore::reader::linux_guest
