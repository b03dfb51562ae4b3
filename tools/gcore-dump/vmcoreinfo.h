// The text that a Linux kernel leaves for debuggers (VMCOREINFO), found in guest memory.
//
// QEMU has it only when the guest's qemu_fw_cfg module told its vmcoreinfo device; the kernel keeps it as an ELF note
// at the start of a page in any case (kernel/crash_core.c: vmcoreinfo_note is allocated in whole pages), and never
// changes it after boot, so the guest may run while it is looked for.
#pragma once

#include <string>
#include <vector>

#include "tools/gcore-dump/memory.h"

namespace gcore::tools::qemu {

/// Looks at the start of every page that the guest has touched, in the memory that a shared file backs. "" when there
/// is no such note.
std::string find_vmcoreinfo(const Memory& memory);

}  // namespace gcore::tools::qemu
