#include "reader/guest_system.h"

#include "reader/cpu_paging.h"
#include "reader/find_guest.h"
#include "reader/vmcoreinfo.h"

namespace gcore::reader {

const char* to_string(GuestSystem::Kind kind) {
  switch (kind) {
    case GuestSystem::Kind::unknown:
      return "unknown";
    case GuestSystem::Kind::linux_kernel:
      return "linux";
    case GuestSystem::Kind::qnx:
      return "qnx";
  }
  return "";
}

bool worth_more_search(const GuestSystem& guest) { return guest.kind == GuestSystem::Kind::unknown; }

GuestSystem find_guest(const Dump& dump, GuestSearch) {
  GuestSystem guest;
  const Vmcoreinfo info(dump.vmcoreinfo());
  if (info.empty()) return guest;
  guest.kind = GuestSystem::Kind::linux_kernel;
  guest.release = info.value("OSRELEASE").value_or("");
  guest.vmcoreinfo = dump.vmcoreinfo();
  guest.vmcoreinfo_source = GuestSystem::Source::note;
  guest.kaslr_offset = info.hex("KERNELOFFSET");
  guest.kernel_paging = paging_from_vmcoreinfo(dump, dump.vmcoreinfo());
  guest.kernel_paging_source = "VMCOREINFO (the kernel's)";
  return guest;
}

}  // namespace gcore::reader
