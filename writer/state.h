// What is captured of a guest while it is paused, before its memory is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writer/guest.h"

namespace gcore::writer {

struct CpuState {
  size_t index;  // the machine's number for it
  format::RegisterFile registers;
  std::string process_name;
  std::optional<uint32_t> thread_id{};
};

struct GuestState {
  format::Machine machine;
  std::vector<CpuState> cpus;         // those that could be read, in index order
  std::vector<size_t> cpus_left_out;  // those that could not
  std::string vmcoreinfo;

  /// Whether NT_PRSTATUS notes have the numbers of threads, not of vCPUs: where all are known, and the order of the
  /// notes numbers the vCPUs.
  bool has_thread_ids() const {
    for (size_t i = 0; i < cpus.size(); ++i)
      if (!cpus[i].thread_id || cpus[i].index != i) return false;
    return !cpus.empty() && cpus_left_out.empty();
  }

  std::vector<MemoryRange> memory;  // checked, by address
};

/// Without exceptions a lack of memory ends the program, so it is looked for where it can still be refused. `size` is
/// generous: what the dump takes on top of it is little.
Status check_heap(uint64_t size);

/// Only while `guest` is paused.
Status capture(Guest& guest, format::Machine machine, GuestState& state);

}  // namespace gcore::writer
