// A QEMU guest's RAM as file descriptors: the files that back it where they are shared, and captures of QEMU's own
// dump-guest-memory for the rest (VGA memory, firmware; all of RAM when QEMU keeps it private).
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "tools/gcore-dump/capture.h"
#include "tools/gcore-dump/flat_view.h"
#include "tools/gcore-dump/qmp.h"
#include "tools/gcore-dump/unique_fd.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// The file behind a RAM block, if this process can read the guest's memory from it.
struct Backing {
  std::string block;
  UniqueFd file;       // invalid: why_not says why
  uint64_t start = 0;  // offset of the block's first byte in the file
  std::string name;    // the file, for messages
  std::string why_not;
  bool device = false;  // no memory backend of the guest's RAM but a device's own: small, and private to QEMU
};

/// Finds the file behind `block`. It is asked for through QMP (query-memdev and the backend's properties) and held
/// against what QEMU has really mapped where /proc tells (the file may have been replaced or deleted, be a memfd, or
/// live in another mount namespace); where /proc is closed to this process, QEMU's word counts. `sample` is a region of
/// the block.
Backing find_backing(Qmp& qmp, const RamRegion& sample, int qemu_thread);

/// Some thread of QEMU, from which /proc/ID leads to its files; 0 when QMP names none.
int qemu_thread(Qmp& qmp);

/// All of the guest's RAM. Holds the files open.
class Memory {
 public:
  /// Learns the layout and opens the files. The guest may run. The error is a clause.
  static std::expected<Memory, std::string> find(Qmp& qmp);

  /// Whether the layout is still what find() found: false when a device was plugged, or the guest mapped or unmapped
  /// one.
  std::expected<bool, std::string> is_current(Qmp& qmp) const;

  const std::vector<RamRegion>& regions() const { return regions_; }
  /// What the user should know: memory that has to be copied through QEMU, memory that is left out. One sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

  /// The ranges that shared files back. Their descriptors are this object's.
  std::vector<writer::MemoryRange> shared_ranges() const;

  /// The ranges for the writer. Captures what no file backs, so the guest must be paused; `to` says where large
  /// captures go, and until when. Every range has a descriptor, which this object keeps open. May be called once.
  std::expected<std::vector<writer::MemoryRange>, std::string> ranges(Qmp& qmp, const CaptureLimits& to);
  /// After that: QEMU's notes came with the captures, if there were any.
  const reader::Dump* notes_dump() const { return captures_.empty() ? nullptr : captures_.front().dump.get(); }

 private:
  const Backing* backing_of(const RamRegion& region) const;
  std::expected<void, std::string> capture_run(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to,
                                               std::vector<writer::MemoryRange>& ranges);

  std::string layout_;  // as QEMU shows it
  std::vector<RamRegion> regions_;
  std::vector<Backing> backings_;
  std::vector<Capture> captures_;
  std::vector<std::string> notes_;
};

}  // namespace gcore::tools::qemu
