// Which system runs in the guest, who wrote the dump, and what the vCPUs were doing.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/space/address_space.h"

namespace gcore::tools::inspect {

/// Lines of the summary about the guest system: (name, value).
std::vector<std::pair<std::string, std::string>> guest_facts(const reader::Guest& guest);

/// The VMM and what wrote the dump for it: what the dump says, else what its notes look like.
std::string writer_fact(const reader::Dump& dump);

/// The vCPU's address space, without a look at all of memory for its root.
reader::Expected<reader::AddressSpace> quick_space(const reader::Guest& guest, size_t cpu);

/// What the vCPU was waiting for, by the instruction before its pc: an interrupt (HLT, MWAIT, WFI) is what an idle
/// vCPU waits for; an event (WFE) often what one that is busy waits for, a lock.
enum class Waits : uint8_t { no, for_interrupt, for_event };
/// `no` in user mode. Nothing when that instruction cannot be read or the mode is not known.
std::optional<Waits> waits(const reader::Guest& guest, const reader::Cpu& cpu);

/// mode_name(), and what the vCPU was waiting for: "kernel, CPL 0, halted", "kernel, EL1, waiting for an event (WFE)".
std::string state_name(const reader::Guest& guest, const reader::Cpu& cpu);

}  // namespace gcore::tools::inspect
