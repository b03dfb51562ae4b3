// Registers from the state of vCPUs in QEMU's migration stream, by the names that QEMU's description has for them.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "reader/dump/qemu_stream.h"
#include "tools/gcore-dump/registers.h"

namespace gcore::tools::qemu {

/// One for each vCPU in the stream, by number. x86_64: `cpu` (version 12) and `apic`; aarch64: `cpu` (version 22),
/// whose system registers have KVM's numbers. What the stream does not have is absent. The error is a clause.
std::expected<std::vector<CpuStates::Cpu>, std::string> stream_registers(const reader::SavedGuest& guest,
                                                                         format::Machine machine);

}  // namespace gcore::tools::qemu
