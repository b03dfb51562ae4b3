// A QEMU guest's RAM: the files that back it where they are shared; for the rest (VGA memory, firmware; all of RAM when
// QEMU keeps it private) the memory of QEMU's process, and where that cannot be read captures of QEMU's own
// dump-guest-memory.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/gcore-dump/capture.h"
#include "tools/gcore-dump/flat_view.h"
#include "tools/gcore-dump/process_memory.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/base/unique_fd.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// What a RAM block maps, if this process can read the guest's memory from it: a file or QEMU's own memory.
struct Backing {
  std::string block;
  base::UniqueFd file;  // invalid: why_not says why
  uint64_t start = 0;   // offset of the block's first byte in the file
  std::string name;     // the file, for messages
  std::string why_not;
  std::string remedy;            // what the user can do about it; "": have QEMU share it
  bool device = false;           // no memory backend of the guest's RAM but a device's own: small, and private to QEMU
  std::optional<uint64_t> host;  // of the block's first byte in QEMU's process; unknown without /proc
  std::optional<ProcessMemory> process;  // without a file: it can be read there

  bool is_direct() const { return file || process; }
};

/// Finds the file that the block of `sample` maps. It is asked for through QMP (query-memdev and the backend's
/// properties) and held against what QEMU has really mapped where /proc tells (the file may have been replaced or
/// deleted, be a memfd, or live in another mount namespace); where /proc is closed to this process, QEMU's word counts.
/// `task` is what qemu_task() found.
Backing find_backing(Qmp& qmp, const RamRegion& sample, int task);

/// A process or thread of QEMU, whose /proc/ID leads to its files; 0 when it cannot be told which that is (QEMU is in
/// another PID namespace).
int qemu_task(Qmp& qmp);

/// Bytes somewhere: in a file, or, with `process`, in QEMU's memory.
struct Readable {
  int fd = -1;
  const ProcessMemory* process = nullptr;
  uint64_t start = 0, size = 0;  // start: offset in the file, or QEMU's address
};

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

  /// How what no file backs gets into the dump.
  enum class Private : uint8_t {
    in_place,  // read() has it, while the guest is paused
    aside,     // copied into a file first: the guest need not wait until it is written
  };

  /// The memory that can be read while the guest runs.
  std::vector<Readable> readable();

  /// The ranges for the writer. Copies what is to be copied, so the guest must be paused; `to` says where large copies
  /// go, and until when. May be called once.
  std::expected<std::vector<writer::MemoryRange>, std::string> ranges(Qmp& qmp, Private how, const CaptureLimits& to);
  /// After that: those of them that were copied.
  const std::vector<writer::MemoryRange>& copied_ranges() const { return copied_; }
  /// And: QEMU's notes came with the captures, if there were any.
  const reader::Dump* notes_dump() const { return captures_.empty() ? nullptr : captures_.front().dump.get(); }

  /// Reads whole pages of a range without a descriptor: how many leading bytes could be read. The guest is paused. From
  /// other threads.
  size_t read(uint64_t address, void* to, size_t size) const;

 private:
  const Backing* backing_of(const RamRegion& region) const;
  std::expected<void, std::string> capture_run(Qmp& qmp, uint64_t address, uint64_t size, const CaptureLimits& to);
  std::expected<void, std::string> copy_aside(const std::vector<RamRegion>& regions, const CaptureLimits& to);
  writer::MemoryRange range_in_file(const RamRegion& region, const Backing& backing) const;
  std::expected<void, std::string> copy_region(const RamRegion& region, int fd, uint64_t offset,
                                               const CaptureLimits& to);
  void open_process(Backing& backing, int task);
  void check_file(Backing& backing) const;
  std::set<std::string> find_virtio_mem(Qmp& qmp);

  std::string layout_;  // as QEMU shows it
  std::vector<RamRegion> regions_;
  std::vector<Backing> backings_;
  std::vector<Capture> captures_;
  base::UniqueFd aside_;
  std::vector<writer::MemoryRange> copied_;
  std::vector<std::string> notes_;
};

}  // namespace gcore::tools::qemu
