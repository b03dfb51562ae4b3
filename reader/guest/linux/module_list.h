// The heads of lists, where names do not say them. Private to the reader.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"
#include "reader/guest/linux/types.h"

namespace gcore::reader::linux_guest {

/// More modules than any guest has: a list goes no further.
inline constexpr size_t kMaxModules = 1 << 14;

/// Whether a list whose head is not known by name is the one that is looked for; `first` is its first element's node.
using AcceptList = std::function<bool(VirtAddr first)>;

/// Looks through the kernel's data for the head of a list, whose elements are outside of it, that is accepted.
std::optional<VirtAddr> find_list(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                  const AcceptList& accept);

/// The list of modules: its first element is a struct module that knows itself.
std::optional<VirtAddr> find_module_list(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                         const Types& types);

}  // namespace gcore::reader::linux_guest
