// Where a kernel has its BTF. Private to the reader.
#pragma once

#include <cstddef>
#include <vector>

#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"

namespace gcore::reader::linux_guest {

/// The bytes between __start_BTF and __stop_BTF; in a kernel without names of data what begins like BTF in the
/// read-only part of its image. Errors: not_present, malformed.
Expected<std::vector<std::byte>> find_btf(const KernelMemory& memory, const Names& names);

}  // namespace gcore::reader::linux_guest
