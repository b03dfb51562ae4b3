#pragma once

#include <string>
#include <vector>

#include "tests/support/qemu_guest.h"

namespace gcore::tests {

/// What each vCPU of a stopped guest was doing, in gcore-inspect's words ("user, CPL 3", "kernel, EL1"; x86_64 also
/// ", halted"), by QEMU's own "info registers".
std::vector<std::string> vcpu_states_by_qemu(QemuGuest& guest, size_t cpus);

/// The same as gcore-inspect's summary of a dump has it, and how each vCPU translates addresses.
struct InspectedVcpus {
  std::vector<std::string> states, paging;
};
InspectedVcpus vcpu_states_by_inspect(const std::string& dump);

}  // namespace gcore::tests
