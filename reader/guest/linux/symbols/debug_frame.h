// Call frame information (DWARF 4, section 6.4) made of what a kernel has for unwinding. Private to the reader.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct DebugFrame {
  std::vector<std::byte> bytes{};  // .debug_frame
  size_t rows = 0;
};

/// `displacement` as in SymbolFileOptions, in bytes.
DebugFrame make_debug_frame(const Kernel& kernel, uint64_t displacement);

}  // namespace gcore::reader::linux_guest
