// The symbols of a module. Private to the reader.
#pragma once

#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/modules.h"
#include "reader/guest/linux/types.h"

namespace gcore::reader::linux_guest {

/// Fills in `symbols` of what mod->kallsyms says, and which of them are exported; nothing where that cannot be had.
void read_module_symbols(const KernelMemory& memory, const Types& types, Module& module);

}  // namespace gcore::reader::linux_guest
