// Guest memory as it was at one moment, while the guest goes on: for live dumps.
//
// All of it is write-protected while the guest runs; what the guest writes meanwhile is let go again and remembered,
// and protected once more, in rounds that get shorter. Then the guest is paused, the few pages that were written since
// the last round are protected, and it goes on: that was the moment. From then on a page that somebody wants to write
// is copied aside first, unless it is in the dump already, and then let go. Who wants to write waits that long.
//
// Each page has one of four states, which change once only. The thread that copies reads a page and then says that it
// is taken; the thread that serves the waiting ones (the handler) copies it aside and then says that it is saved.
// Whoever comes second sees that: a page that was not saved by the time it is taken had not been let go before it was
// read.
//
// The handler reads guest memory by system calls only, and takes no lock but the one here, which nobody holds for
// longer than it takes to move a few numbers; so it waits for no thread that may wait for it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <pthread.h>

#include "writer/control.h"
#include "writer/guest.h"
#include "writer/mapping.h"
#include "writer/unique_fd.h"
#include "writer/write_protection.h"

namespace gcore::writer {

class Snapshot {
 public:
  /// Protects `memory` (checked, by address) while the guest runs, as often as that makes what is left less. Where it
  /// cannot be, nothing is protected, and `status` says why. `store` is what open_store() made, or none. The last one
  /// who lets go of what this returns ends it.
  static std::shared_ptr<Snapshot> protect(const std::vector<MemoryRange>& memory, const Options& options,
                                           UniqueFd store, Control& control, Status& status);
  /// A file for pages, in Options::page_store. Waits for the file system.
  static Status open_store(const std::string& directory, UniqueFd& store);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  /// With the guest paused: protects what was written since. An error leaves it useless; end() it.
  Status freeze();
  /// Whether it is of these ranges.
  bool is_of(const std::vector<MemoryRange>& memory) const;

  /// The next `size` bytes of a range, from `position`, have been read into `bytes` just now: puts in what they were at
  /// the moment, where that is another thing. nullptr: these pages are known to have been zeros and are not wanted. In
  /// order, each page once; they are let go.
  void take(uint64_t address, uint64_t position, uint64_t size, std::byte* bytes);

  /// Lets go of everything; whoever waits goes on. What take() gives afterwards is not of that moment any more. From
  /// any thread. Should the handler be stuck in a page store that does not answer, it is left behind.
  void end();
  bool has_ended() const { return phase_ == Phase::ended; }
  int userfaultfd() const { return protection_.fd(); }
  /// Why what was taken is not of one moment: a page could not be copied aside. Success as a rule.
  Status status() const;

 private:
  enum class Phase : uint8_t { protecting, frozen, ended };
  enum class State : uint8_t { untouched, saved, stored, taken };  // saved: in a slot; stored: in the page store
  struct Range {
    uint64_t address, size, host;
    int fd;
    uint64_t fd_offset;
    uint64_t first_page;    // its pages are numbered through all ranges
    uint64_t block;         // bytes: of its pages in hardware
    uint64_t released = 0;  // from its beginning
  };
  enum class Outcome : uint8_t { done, no_room, unreadable };

  Snapshot() = default;
  Status set_up(const std::vector<MemoryRange>& memory, const Options& options);
  Status protect_all(Control& control);
  Status protect_written();
  static void start_handler(const std::shared_ptr<Snapshot>& snapshot, Status& status);
  void serve();
  void stop_handler();
  void serve_one(uint64_t address);
  bool has_room_for_neighbours() const;
  void serve_waiting();
  Outcome save(const Range& range, uint64_t position, uint64_t size);
  Outcome save_page(const Range& range, uint64_t position, const std::byte* bytes);
  bool read_memory(const Range& range, uint64_t position, uint64_t size);
  bool store(uint64_t page, const std::byte* bytes);
  void take_page(uint64_t page, std::byte* bytes);
  void release_taken(Range& range, uint64_t end);
  void fail(Status status);

  State state(uint64_t page) const;
  bool set_state(uint64_t page, State to);  // from untouched; false when it is not
  const Range* find_host(uint64_t address) const;
  Range* find(uint64_t address);

  WriteProtection protection_;
  std::vector<Range> ranges_;  // by guest-physical address
  std::vector<const Range*> by_host_;
  uint64_t pages_ = 0;
  std::unique_ptr<std::atomic<uint64_t>[]> states_;  // two bits a page
  std::atomic<Phase> phase_{Phase::protecting};

  // Written by the handler while phase_ is `protecting`.
  mutable std::mutex mutex_;
  std::vector<uint64_t> written_;  // host addresses of blocks that were let go
  Status status_;
  bool has_failed_ = false;

  // Pages that were copied aside.
  Mapping slots_, slot_of_;           // pages; a uint32_t for each page of guest memory, touched only where it is used
  std::vector<uint32_t> free_slots_;  // under mutex_
  UniqueFd store_;                    // pages at the offset of their number, or none
  std::unique_ptr<std::byte[]> buffer_;  // the handler's
  uint64_t largest_block_ = 0;

  std::vector<uint64_t> waiting_;  // the handler's: for a slot
  std::atomic<bool> is_waiting_{false};
  UniqueFd wake_;  // an eventfd: for the handler
  pthread_t handler_{};
  bool has_handler_ = false;
  std::atomic<bool> stop_{false};
  bool has_stopped_ = false, is_left_behind_ = false;  // the handler; under mutex_
  std::condition_variable stopped_;
  std::mutex end_mutex_;
};

}  // namespace gcore::writer
