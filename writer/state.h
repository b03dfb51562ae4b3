// What is captured of a guest while it is paused, before its memory is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "writer/guest.h"

namespace gcore::writer {

struct CpuState {
  size_t index;  // the machine's number for it
  format::RegisterFile registers;
  std::string process_name;
};

struct GuestState {
  format::Machine machine;
  std::vector<CpuState> cpus;         // those that could be read, in index order
  std::vector<size_t> cpus_left_out;  // those that could not
  std::string vmcoreinfo;
  std::vector<MemoryRange> memory;  // checked, by address
};

/// Without exceptions a lack of memory ends the program, so it is looked for where it can still be refused. `size` is
/// generous: what the dump takes on top of it is little.
Status check_heap(uint64_t size);

/// Only while `guest` is paused.
Status capture(Guest& guest, format::Machine machine, GuestState& state);

}  // namespace gcore::writer
