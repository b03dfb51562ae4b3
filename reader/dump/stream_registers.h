// Registers from the state of vCPUs in QEMU's migration stream, by the names that QEMU's description has for them.
#pragma once

#include <vector>

#include "reader/dump/dump.h"
#include "reader/dump/qemu_stream.h"

namespace gcore::reader {

/// One for each vCPU in the stream, by number, which is QEMU's cpu-index. x86_64: `cpu` (version 12) and `apic`;
/// aarch64: `cpu` (version 22), whose system registers have KVM's numbers. What the stream does not have is absent.
/// Fails where there is no vCPU, or one without the fields that are known.
Expected<std::vector<Cpu>> stream_registers(const SavedGuest& guest, format::Machine machine);

}  // namespace gcore::reader
