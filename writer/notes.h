// The contents of the PT_NOTE segment, for each dialect.
#pragma once

#include <bitset>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "writer/dump.h"
#include "writer/state.h"

namespace gcore::writer {

/// KdumpNote, names, CPU records: see writer/format/qnx_note.h.
///
/// The names are those of the extra registers that at least one vCPU has. A vCPU that lacks one of them, or a register
/// of the CPU register set, has 0 there, since the format has no other way; section .gcore.info then lists it as
/// unavailable.
std::vector<std::byte> qnx_notes(const GuestState& state, const Reason& reason);

using RegisterSet = std::bitset<format::kMaxRegisters>;  // by slot

/// The registers that a vCPU's notes have room for. Those that the VMM did not set are 0 there.
RegisterSet qnx_registers(const GuestState& state);
RegisterSet vmcore_registers(const CpuState& cpu);

/// NT_PRSTATUS (and NT_PRFPREG), QEMU, VMCOREINFO: see writer/format/vmcore_notes.h. x86_64 and aarch64 only.
Status vmcore_notes(const GuestState& state, std::vector<std::byte>& notes);

/// The slots of the extra registers that at least one vCPU has, in the order of format::registers().
std::vector<size_t> extra_registers(const GuestState& state);

/// The guest-physical address of the root page table that the vCPU uses; nothing when its registers do not tell.
std::optional<uint64_t> page_table_root(const format::RegisterFile& registers);

}  // namespace gcore::writer
