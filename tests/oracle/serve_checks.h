#pragma once

#include "tests/oracle/stopped_guest.h"

namespace gcore::tests {

inline constexpr size_t kAddressesPerVcpuInServe = 2000;

/// gcore-serve on the dump against QEMU's gdb stub on the machine itself: every register that both have of every vCPU,
/// and memory at ADDRESSES addresses of each vCPU, all by the packets that debuggers send. Puts aarch64 vCPUs into the
/// kernel's mode (StoppedGuest::allow_everything).
void check_serve_against_stub(StoppedGuest& guest, size_t addresses);

}  // namespace gcore::tests
