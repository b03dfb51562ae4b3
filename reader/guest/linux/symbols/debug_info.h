// Types, functions and variables as DWARF 4 (.debug_info and what belongs to it), made of BTF. Private to the reader.
//
// All of it is one unit: what a module adds refers to the kernel's types. An own writer of fixed abbreviations, because
// there are twenty kinds of entries, all of them known before: every abbreviation is a line of a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct DebugInfo {
  std::vector<std::byte> info{}, abbreviations{}, strings{}, ranges{};
  size_t types = 0, functions = 0, variables = 0;
};

/// `code` is where functions are, [first, second): what the unit says that it covers. `displacement` as in
/// SymbolFileOptions, in bytes.
DebugInfo make_debug_info(const Kernel& kernel, const std::vector<std::pair<uint64_t, uint64_t>>& code,
                          uint64_t displacement);

}  // namespace gcore::reader::linux_guest
