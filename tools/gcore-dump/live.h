// A snapshot of a guest that goes on running: QEMU's background-snapshot (a capability of its migration, QEMU 6.0 and
// later), whose stream is taken apart while it arrives.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "reader/dump/qemu_stream.h"
#include "tools/gcore-dump/capture.h"
#include "tools/gcore-dump/flat_view.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/base/unique_fd.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

struct Snapshot {
  base::UniqueFd file;           // memory, zeros as holes
  std::vector<uint64_t> starts;  // of guest.blocks in it
  reader::SavedGuest guest;
  std::chrono::nanoseconds paused{0};  // by QEMU's STOP and RESUME

  /// The RAM of `regions` as ranges of `file`. The error is a clause: there is one that the stream does not have.
  std::expected<std::vector<writer::MemoryRange>, std::string> ranges(const std::vector<RamRegion>& regions) const;
};

/// Takes one. The guest must run. Never an ordinary migration, which would stop it: QEMU is asked whether it has taken
/// the capability. Capabilities and parameters of the migration are then as before, whatever happens, but for a
/// connection that breaks. QmpError::Kind::refused: QEMU cannot, and why.
QmpResult<Snapshot> take_snapshot(Qmp& qmp, const CaptureLimits& to);

}  // namespace gcore::tools::qemu
