// Where the memory of a guest that QEMU saved is in guest-physical memory: as its machine type has it, or as the user
// says; and whether the guest's own page tables agree. Private to the reader.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/dump/foreign/stream_memory.h"
#include "reader/dump/qemu_stream.h"

namespace gcore::reader {

struct MachineType;

struct SavedLayout {
  format::Machine machine;
  std::vector<PlacedBlock> places = {};  // ascending, not overlapping
  std::string notice = {};               // where memory is, for Dump::notices()
  std::vector<std::string> warnings = {};
  const MachineType* type = nullptr;  // by which it was made; nullptr: by a map
  std::vector<size_t> memory = {};    // the main memory's blocks, in the order of their addresses
};

/// Kind::unsupported for a machine type that is not known.
Expected<SavedLayout> layout_by_machine(const SavedGuest& guest);
/// Kind::usage when the map does not fit the blocks.
Expected<SavedLayout> layout_by_map(const SavedGuest& guest, const MemoryMap& map);

/// Holds the layout against the page tables of the vCPUs, some thousand of them, in `memory`, which is placed so. What
/// they say goes into the notice, or is a warning that says what to do. Where they contradict a PC's layout, and one
/// other division of its memory agrees with them, that one is taken, for `memory` too.
void confirm(SavedLayout& layout, std::span<const StreamBlock> blocks, std::span<const Cpu> cpus,
             StreamMemorySource& memory);

}  // namespace gcore::reader
