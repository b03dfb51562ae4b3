// Linux' page-table isolation: the root of a vCPU that was stopped in user mode lacks the kernel, whose full tables lie
// a fixed distance away. Private to the reader.
//
//   x86_64    pairs of pages: the kernel's root at an even page, the process's user root at the odd one after it
//             (arch/x86/include/asm/pgtable.h, kernel_to_user_pgdp)
//   aarch64   TTBR1 has tramp_pg_dir, a table with the exception trampoline alone; swapper_pg_dir is one or two pages
//             after it (arch/arm64/kernel/vmlinux.lds.S), in older kernels some pages before it
#pragma once

#include <optional>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/translate/paging.h"

namespace gcore::reader {

/// The root of the kernel's tables that belongs to the user's in `paging`: only where the tables there agree with it
/// (they map what the user's tables map of the shared part, and much more). Nothing when `paging` has the kernel's own.
std::optional<PhysAddr> kernel_root_beside(const Dump& dump, const translate::Paging& paging);

}  // namespace gcore::reader
