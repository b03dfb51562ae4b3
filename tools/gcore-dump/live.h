// A snapshot of a guest that goes on running: QEMU's background-snapshot (a capability of its migration, QEMU 6.0 and
// later), whose stream is taken apart while it arrives.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "reader/dump/qemu_stream.h"
#include "tools/gcore-dump/flat_view.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/base/unique_fd.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// Where memory goes: all of `regions`, by address and without gaps.
struct SnapshotPlace {
  const std::vector<RamRegion>& regions;
  int file = -1;       // of the dump itself; -1: memory goes into a temporary file
  uint64_t start = 0;  // of memory in that file
  std::string directory;
};

struct Snapshot {
  base::UniqueFd scratch;                   // the temporary file, if there is one
  std::vector<writer::MemoryRange> ranges;  // of the file; zeros are holes
  reader::SavedGuest guest;
  std::chrono::nanoseconds paused{0};  // by QEMU's STOP and RESUME
};

/// Takes one. The guest must run. Never an ordinary migration, which would stop it: QEMU is asked whether it has taken
/// the capability. Capabilities and parameters of the migration are then as before, whatever happens, but for a
/// connection that breaks. Gives up when `give_up` is readable, which also interrupts `qmp` from then on.
/// QmpError::Kind::refused: QEMU cannot, and why.
QmpResult<Snapshot> take_snapshot(Qmp& qmp, const SnapshotPlace& place, int give_up);

}  // namespace gcore::tools::qemu
