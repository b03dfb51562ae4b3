// The user half of a process's address space. Private to the reader.
#pragma once

#include "reader/address.h"
#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"
#include "reader/space/address_space.h"

namespace gcore::reader::linux_guest {

/// Through the root table at this physical address (mm.pgd), as the kernel's own tables are laid out.
Expected<AddressSpace> process_space(const KernelMemory& memory, PhysAddr root);

}  // namespace gcore::reader::linux_guest
