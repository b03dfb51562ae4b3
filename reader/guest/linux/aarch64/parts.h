// The parts of the record of aarch64 that have files of their own. Private to the reader.
#pragma once

#include <cstddef>
#include <optional>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/kernel_tables.h"

namespace gcore::reader::linux_guest {

/// By few entries, all of them tables, that map executable kernel text; of 4K, 16K and 64K granules and the sizes of
/// address that kernels are built for.
std::optional<FoundTables> find_aarch64_tables(const Dump& dump, GuestSearch search);

Stack unwind_aarch64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames);

/// The registers that the kernel stored when it was entered (struct pt_regs): x0 to x30, sp, pc, pstate, which is the
/// part that user space sees. Nothing where the memory is missing.
std::optional<format::RegisterFile> aarch64_pt_regs(const KernelMemory& memory, VirtAddr address);

}  // namespace gcore::reader::linux_guest
