// The head of the list of modules, where names do not say it. Private to the reader.
#pragma once

#include <cstddef>
#include <optional>

#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"
#include "reader/guest/linux/types.h"

namespace gcore::reader::linux_guest {

/// More modules than any guest has: a list goes no further.
inline constexpr size_t kMaxModules = 1 << 14;

/// Looks through the kernel's data for the head of a list whose first element is a struct module that knows itself.
std::optional<VirtAddr> find_module_list(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                         const Types& types);

}  // namespace gcore::reader::linux_guest
