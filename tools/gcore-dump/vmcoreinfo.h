// The text that a Linux kernel leaves for debuggers (VMCOREINFO), found in guest memory.
//
// QEMU has it only when the guest's qemu_fw_cfg module told its vmcoreinfo device; the kernel keeps it as an ELF note
// at the start of a page in any case (kernel/crash_core.c: vmcoreinfo_note is allocated in whole pages), and never
// changes it after boot, so the guest may run while it is looked for.
//
// Memory may have several: of a kernel that was running before (kexec), of a loaded crash kernel, of guests of the
// guest. The one that counts says where the running kernel is: QEMU translates the address of its _stext, by the page
// tables of a vCPU, to the place that the text gives.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tools/gcore-dump/memory.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/format/registers.h"

namespace gcore::tools::qemu {

class VmcoreinfoSearch {
 public:
  /// Looks at the start of every page that the guest has touched there, until there is a text that one of these vCPUs
  /// (empty: the monitor's) confirms.
  void search(const std::vector<Readable>& memory, Qmp& qmp, format::Machine machine, std::span<const size_t> cpus);
  /// The text that the guest gave QEMU; "": none.
  void put_first(const std::string& text);
  /// Whether a vCPU confirms one of those found, if none has yet: one that is in user mode may not be able to.
  bool is_confirmed(Qmp& qmp, format::Machine machine, std::span<const size_t> cpus);

  /// The one that is confirmed, else the first; "" when there is none.
  const std::string& best() const;

 private:
  std::vector<std::string> found_;  // each once
  size_t best_ = 0;
  bool confirmed_ = false;
};

}  // namespace gcore::tools::qemu
