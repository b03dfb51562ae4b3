// Which system runs in the guest, who wrote the dump, and what the vCPUs were doing.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reader/address_space.h"
#include "reader/dump.h"

namespace gcore::tools::inspect {

class Symbols;

/// Lines of the summary about the guest system: (name, value).
std::vector<std::pair<std::string, std::string>> guest_facts(const reader::Dump& dump);

/// The VMM and what wrote the dump for it: what the dump says, else what its notes look like.
std::string writer_fact(const reader::Dump& dump);

/// The vCPU's address space, without a look at all of memory for its root.
reader::Expected<reader::AddressSpace> quick_space(const reader::Dump& dump, size_t cpu);

/// Whether the vCPU was waiting for an interrupt: the instruction in front of its pc is one that does so (HLT, MWAIT;
/// WFI, WFE). False in user mode. Nothing when that instruction cannot be read or the mode is not known.
std::optional<bool> is_halted(const reader::Dump& dump, const reader::Cpu& cpu);

/// mode_name(), and whether the vCPU was halted: "kernel, CPL 0, halted".
std::string state_name(const reader::Dump& dump, const reader::Cpu& cpu);

/// By how much the kernel is displaced from the addresses of its file among `symbols` (KASLR). Nothing when that is not
/// known: `why` then says so in a clause.
std::optional<uint64_t> kernel_displacement(const reader::Dump& dump, const Symbols& symbols, std::string& why);

}  // namespace gcore::tools::inspect
