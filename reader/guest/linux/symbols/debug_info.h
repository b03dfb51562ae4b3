// Types, functions and variables as DWARF 4 (.debug_info and what belongs to it), made of BTF. Private to the reader.
//
// All of it is one unit, but for a few statics: what a module adds refers to the kernel's types. An own writer of fixed
// abbreviations, because there are twenty kinds of entries, all of them known before: every abbreviation is a line of a
// table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/guest/linux/names.h"
#include "reader/guest/linux/types.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {

/// What it is made of. All of it outlives the call, and may lie.
struct DebugInfoSources {
  format::ByteOrder order = format::ByteOrder::little;
  const Types* types = nullptr;                                       // the kernel's; none: a unit without entries
  std::vector<std::pair<std::string_view, const Types*>> modules{};   // by name, split from the kernel's
  std::function<std::vector<Symbol>(std::string_view name)> symbols;  // all of that name, the kernel's first
  std::vector<std::pair<uint64_t, uint64_t>> code{};  // where functions are, [first, second), apart from each other
};

struct DebugInfo {
  std::vector<std::byte> info{}, abbreviations{}, strings{}, ranges{};
  size_t types = 0, functions = 0, variables = 0;
  bool endless = false;   // types that contain themselves were cut
  bool too_much = false;  // what would have passed kMaxDebugInfo is left out
};

/// A kernel's has some 5 MiB. BTF that lies can make a million functions of 65,535 parameters each.
inline constexpr size_t kMaxDebugInfo = 64 << 20;

/// `displacement` as in SymbolFileOptions, in bytes. Bounded on any sources.
DebugInfo make_debug_info(const DebugInfoSources& sources, uint64_t displacement);

}  // namespace gcore::reader::linux_guest
