// What a VMM implements, so that the writer can dump its guest.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "writer/format/registers.h"
#include "writer/status.h"

namespace gcore::writer {

/// A range of guest-physical memory and where its bytes are in this process.
///
/// Address and size are multiples of 4096; ranges do not overlap; any order. Give `fd` whenever the memory is a shared
/// mapping of a file (memfd, hugetlbfs, tmpfs): only a file can tell which pages the guest never touched, and to read
/// such a page through a shared mapping allocates it. What `fd` holds must then be what the guest sees: no `fd` for a
/// private (copy-on-write) mapping. With both, `fd` is tried first and `host` serves where it cannot be read. With
/// neither, Guest::read_memory() is asked.
struct MemoryRange {
  uint64_t address = 0;  // guest-physical
  uint64_t size = 0;     // bytes
  /// Where it is mapped in this process; nullptr: nowhere. Without `fd`, a page of private anonymous memory that was
  /// never touched counts as zeros. (Not so in a process that has a userfaultfd, which may yet fill that page.)
  const void* host = nullptr;
  /// The file that it maps, open until resume(), and for a live dump until dump_ended(); its file offset may move. -1:
  /// none.
  int fd = -1;
  uint64_t fd_offset = 0;  // of `address` in that file
  /// A copy, which stays as it is when the guest goes on: `fd` and `host` are then needed until dump_ended(), not only
  /// until resume(). The guest is resumed as soon as every range that is none has been read; in a file ranges come by
  /// address, so one above a copy has it wait for that.
  bool is_copy = false;
};

/// Of which moment the memory in a dump is.
enum class Consistency : uint8_t {
  paused,    // of one moment: every vCPU was paused while it was read
  snapshot,  // of one moment: the guest went on, and what it was about to change was saved first
  torn,      // of no one moment: somebody else let the guest go on while it was read, or a page was not saved in time
};

/// The guest as the writer sees it. The VMM implements this.
///
/// All calls of one dump come from one thread (the Dumper's, or the one that calls dump()), in this order: name(),
/// machine(), dump_file(), pause(); then, only while paused, cpu_count(), cpu_number(), read_cpu(), process_name(),
/// vmcoreinfo(), memory(), read_memory(); then resume(). Only read_memory() comes from another thread of the writer's,
/// while the first one waits, and after resume() for a range that is a copy. For a live dump memory() is also called
/// before pause(), and says the same then. When pause() succeeded, resume() follows exactly once, whatever happens in
/// between; when it failed, resume() is not called. After resume() come consistency(), paused() and, last,
/// dump_ended(). Strings and spans must stay valid until resume().
class Guest {
 public:
  virtual ~Guest() = default;

  /// The VM's name (qvm's `system` option): the file name's prefix, "qvm-guest" when empty.
  virtual std::string_view name() = 0;
  virtual format::Machine machine() = 0;

  /// The file that becomes the dump, where memory stands in it as it is (no command, no compression, no rate limit);
  /// else -1. Most guests leave this alone. One whose memory is handed to it in an order of its own, page by page, may
  /// put it at its place there in pause(), so that it is written once. memory() then gives ranges of this `fd`, all of
  /// them, as copies: the one of the lowest address at an `fd_offset` of head_room() at least, each further one right
  /// after the one before. What is a hole there is zeros. Writes nothing else, and nothing after pause().
  virtual void dump_file(int /*fd*/) {}
  /// Stops every vCPU and every device that writes guest memory; returns when they have stopped.
  virtual Status pause() = 0;
  virtual void resume() = 0;
  /// What resume() found. The dump says so, whoever opens it is told.
  virtual Consistency consistency() { return Consistency::paused; }
  /// For how long the guest was paused, where that is not from pause() to resume(): it may have gone on in between,
  /// with all of its memory copied or saved.
  virtual std::optional<std::chrono::nanoseconds> paused() { return std::nullopt; }
  /// The last call of a dump whose pause() succeeded: no memory is read any more.
  virtual void dump_ended() {}

  virtual size_t cpu_count() = 0;  // at most 65535
  /// The machine's number for vCPU `index`, where these have gaps (vCPUs that are not plugged). Ascending, at most
  /// 65535.
  virtual size_t cpu_number(size_t index) { return index; }
  /// Sets every register of vCPU `index` that the VMM knows and no other: one that was not set is absent in the dump.
  /// `registers` comes empty, for machine(). False: this vCPU cannot be read; its record is left out and the rest is
  /// dumped.
  virtual bool read_cpu(size_t index, format::RegisterFile& registers) = 0;
  virtual std::vector<MemoryRange> memory() = 0;

  /// Reads memory of a range that has neither `host` nor `fd`: returns how many leading bytes of [address, address +
  /// size) were read; fewer than asked means that the page of the next byte cannot be read. Whole pages only. By two
  /// threads at once with Options::aside_memory, and known_memory() as well.
  virtual size_t read_memory(uint64_t /*address*/, void* /*to*/, size_t /*size*/) { return 0; }

  /// What is known of such memory without reading it: [address, address + size) is zeros for certain, or may be
  /// anything. `size` is a multiple of 4096, at least 4096, at most `limit`. Called before read_memory(), for each
  /// stretch in turn.
  struct Stretch {
    uint64_t size;
    bool zero;
  };
  virtual Stretch known_memory(uint64_t /*address*/, uint64_t limit) { return {limit, false}; }

  /// The process that runs on a vCPU, "" when the VMM does not know (qnx dialect).
  virtual std::string_view process_name(size_t /*cpu*/) { return {}; }
  /// The text that a Linux guest gave as VMCOREINFO, "" when none (vmcore dialect).
  virtual std::string_view vmcoreinfo() { return {}; }
  /// The number of the thread that runs on a vCPU, as its kernel counts: a Linux guest's PID of it, 0 of an idle one.
  /// Debuggers find the running threads by it (vmcore dialect: pr_pid). It counts only where all vCPUs have one
  /// and can be read, and are numbered without gaps; else the notes number vCPUs, as QEMU's do.
  virtual std::optional<uint32_t> thread_id(size_t /*cpu*/) { return std::nullopt; }
};

}  // namespace gcore::writer
