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
  std::string remedy;   // what the user can do about it; "": have QEMU share it
  bool device = false;  // no memory backend of the guest's RAM but a device's own: small, and private to QEMU
};

/// Finds the file behind the block of `sample`. It is asked for through QMP (query-memdev and the backend's properties)
/// and held against what QEMU has really mapped where /proc tells (the file may have been replaced or deleted, be a
/// memfd, or live in another mount namespace); where /proc is closed to this process, QEMU's word counts. `task` is
/// what qemu_task() found.
Backing find_backing(Qmp& qmp, const RamRegion& sample, int task);

/// A process or thread of QEMU, whose /proc/ID leads to its files; 0 when it cannot be told which that is (QEMU is in
/// another PID namespace).
int qemu_task(Qmp& qmp);

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
  /// After that: those of them that QEMU has copied.
  const std::vector<writer::MemoryRange>& captured_ranges() const { return captured_; }
  /// And: QEMU's notes came with the captures, if there were any.
  const reader::Dump* notes_dump() const { return captures_.empty() ? nullptr : captures_.front().dump.get(); }

 private:
  const Backing* backing_of(const RamRegion& region) const;
  std::expected<void, std::string> capture_run(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to);
  void note_unplugged(Qmp& qmp);

  std::string layout_;  // as QEMU shows it
  std::vector<RamRegion> regions_;
  std::vector<Backing> backings_;
  std::vector<Capture> captures_;
  std::vector<writer::MemoryRange> captured_;
  std::vector<std::string> notes_;
};

}  // namespace gcore::tools::qemu
