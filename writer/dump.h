// Dumping a guest: the one header that a VMM written in C++ includes. For C there is gcore_dump.h; README.md beside
// this file shows how to embed the writer.
//
// Two ways: dump() does it on the calling thread; a Dumper has a thread of its own and takes requests from anywhere,
// signal handlers included. Either way the guest is paused only while its state and memory are copied, and is resumed
// on every path, exactly once; a file appears under its final name only when it is complete and on disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "writer/guest.h"
#include "writer/status.h"

namespace gcore::writer {

/// qnx: as the QNX hypervisor writes it (sys/kdump.h). vmcore: as QEMU's dump-guest-memory writes it, for crash, drgn,
/// gdb.
enum class Dialect : uint8_t { qnx, vmcore };

/// gzip: NAME.gcore.gz. zstd: NAME.gcore.zst in the seekable format. A pipe gets the compressed bytes.
enum class Compression : uint8_t { none, gzip, zstd };

/// How guest memory gets into the pipe of a `|COMMAND`. Lent pages are not copied on the way (splice, vmsplice): the
/// guest then stays paused until the command has read them all. A command that copies what it reads cannot tell the
/// difference. One that passes pages on with splice() or tee() may have them in another pipe or in a socket when the
/// guest goes on, and what arrives there is torn.
enum class PipeMemory : uint8_t {
  /// Lent, and splice() and tee() fail for the command (seccomp: EINVAL, upon which programs copy). Copied where the
  /// VMM may not do that to the command without no_new_privs, for which it takes CAP_SYS_ADMIN, or where it cannot.
  automatic,
  copy,  // no system call but write()
  lend,  // lent to a command that is known to copy, by a VMM that may not, or will not, filter its system calls
};

/// Whether this build of the writer has that compression.
bool is_supported(Compression compression);

/// The registers that are set and that a vCPU's notes in this dialect have no place for, by slot.
std::vector<size_t> registers_without_place(Dialect dialect, const format::RegisterFile& registers);

/// Why the dump is taken. It goes into the file.
struct Reason {
  enum class Kind : uint8_t { api, signal, watchdog, panic } kind = Kind::api;
  std::string detail;  // free text, e.g. "SIGUSR2" or "wdt-ib700"
  /// The signal number to record (KdumpNote::sig_num); 0 for the default: SIGABRT (6) for a watchdog or a panic, and
  /// none for the others, since no fault led to the dump.
  uint8_t signal = 0;
  uint16_t cpu = 0;  // number of the vCPU that a debugger shows first
};

/// What a dump that is written again says of how it was taken.
struct EarlierDump {
  std::optional<std::chrono::nanoseconds> requested;  // when it was asked for: since 1970, UTC
  std::optional<std::chrono::nanoseconds> paused;     // for how long its guest was paused
  bool has_reason = false;                            // the Reason is its own
  std::optional<Consistency> consistency;             // of which moment its memory is
  std::vector<std::string> defects;                   // what was wrong with it, one sentence each
  /// More of them, asked for at the end: what shows only as its memory is read. From a thread of the dump's.
  std::function<std::vector<std::string>()> found_meanwhile = nullptr;
};

struct Options {
  /// The argument of the VMM's `dump` option: a directory, or `|COMMAND` for a shell command that gets the dump on
  /// stdin. A directory that is not there is made, with mode 0700, when the one above it is. The command has in its
  /// environment GCORE_NAME (the guest's name, as it stands in file names), GCORE_REASON (api, signal, watchdog,
  /// panic), GCORE_TIME (2017-08-21T12:06:19Z) and GCORE_FILE (the name that a file would get, without -1 to -9).
  std::string target;
  Dialect dialect = Dialect::qnx;
  Compression compression = Compression::none;
  std::string program;  // name and version of the VMM, recorded in the file

  uint64_t bytes_per_second = 0;                // at most so many bytes go out; 0: as fast as it goes
  std::chrono::milliseconds pause_deadline{0};  // when the guest has been paused for so long the dump fails; 0: never
  /// A dump that fails or is cancelled half-way leaves NAME.partial, a valid ELF file of what was written. Only for
  /// uncompressed files; without it nothing is left.
  bool keep_partial = false;
  /// Live: the guest goes on while its memory is copied, and is paused only for its registers and for the last pages to
  /// be protected, some milliseconds whatever its size. The dump is of the moment of that pause
  /// (Consistency::snapshot).
  ///
  /// Memory is write-protected by userfaultfd before; a page that is about to change is copied aside first, for which
  /// its writer waits some tens of microseconds. That takes Linux 5.19 (5.7 for private anonymous memory), and for the
  /// VMM /dev/userfaultfd, CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1. Where it cannot be had the guest is paused,
  /// and Result::notice says why. Memory must have host addresses (MemoryRange::host) and pages of at most 2 MiB; be
  /// anonymous, a memfd, tmpfs or hugetlbfs; and its host mapping must be the one by which the vCPUs write it.
  ///
  /// What does not write by way of that mapping is not caught, and tears the dump: VFIO's DMA, another mapping of the
  /// same file, other processes (vhost-user), write() to the file. So is memory that is given back before dump_ended()
  /// (a balloon, MADV_DONTNEED, MADV_REMOVE, hole punching). A VMM that has such leaves live dumps alone, or stops
  /// these devices between pause() and dump_ended(). Page tables: 2 MiB for each GiB of the guest.
  bool live = false;
  /// Live: bytes of memory, at most, for pages that were copied aside and are not in the dump yet; 0 is a sixteenth of
  /// the guest's, from 64 MiB to 1 GiB. When it is used up, who wants to write waits for the dump to get on; with
  /// page_store, a directory for an unnamed file, further pages go there.
  uint64_t live_memory = 0;
  std::string page_store;
  /// Of a dump that pauses the guest: bytes of memory, at most, for copies of guest memory, so that the guest goes on
  /// before all of it is written. Memory is written from the lowest address up and meanwhile copied from the highest
  /// address down; where both meet, or the memory is used up and that place is reached, the guest goes on. So the dump
  /// takes no longer. Zeros take no memory; what is written is given back. Never more than seven eighths of what is
  /// available (MemAvailable, control groups); UINT64_MAX: a quarter of that. Memory is copied into pipes then, not
  /// lent, and Guest::read_memory() and known_memory() are called by two threads at once. 0: none.
  uint64_t aside_memory = 0;
  bool sync = true;                                // fsync file and directory before the dump counts as written
  PipeMemory pipe_memory = PipeMemory::automatic;  // for an uncompressed dump into a command

  /// Not for VMMs: a pipe that is there already, in place of a command; `target` is then "|" and what errors call it.
  /// Called for each dump before the pause, with the name that a file would get. Gives the end to write to, which the
  /// dump closes, or -1 with errno. Must not wait. Who reads the other end copies what it reads, since memory is lent
  /// to the pipe; and takes it for whole only when the Result says so, since the pipe's end also comes when a dump
  /// fails.
  std::function<int(const std::string& file)> open_pipe;

  /// Not for VMMs: the exact file name in the target directory, instead of PREFIX-DATE-TIME and its -1 to -9.
  std::string file_name;
  bool replace = false;  // with file_name: an existing file is replaced, atomically
  /// Not for VMMs: what is written is a dump taken earlier, and this is what that one says of itself. What it does not
  /// say, the new one does not either.
  std::optional<EarlierDump> earlier;
};

/// How many 4 KiB pages of guest memory went which way. Their sum is the guest's memory.
struct PageCounts {
  uint64_t written = 0;
  uint64_t zero = 0;     // read, all zeros: a hole in the file. Lent to a pipe nothing is read: they are `written`
  uint64_t absent = 0;   // never touched by the guest (a hole in its backing file): not even read; zeros
  uint64_t missing = 0;  // could not be read: zeros in the file, listed in section .gcore.info
};

struct Result {
  Status status;       // success: the dump is complete. Otherwise one sentence says why it is not
  std::string path;    // the file; or "|COMMAND"; "" when nothing was created. With keep_partial, NAME.partial
  uint64_t bytes = 0;  // length of the dump: the file's, or what went into the pipe
  std::chrono::nanoseconds paused{0};
  int command_status = 0;  // of |COMMAND: its exit status; 128 + N when signal N ended it; -1 when unknown
  int command_signal = 0;  // of |COMMAND: the signal that ended it, which tells 128 + N from that exit status; or 0
  PageCounts pages;
  bool cancelled = false;  // status then says so too
  bool live = false;       // the guest went on while its memory was copied
  uint64_t requests = 0;   // how many requests this dump answers; more than 1 when they came during another dump
  /// What else its user should know, be the dump good or not; one sentence, or "": the directory that was made for it,
  /// why memory could not be read.
  std::string notice;
};

struct Progress {
  /// protecting: of a live dump, before the pause. While a live dump is `writing` the guest runs.
  enum class Phase : uint8_t { idle, opening, pausing, writing, finishing, protecting } phase = Phase::idle;
  uint64_t memory_done = 0, memory_total = 0;  // bytes of guest memory; holes count when they are passed
  uint64_t dumps = 0;                          // finished since create(), in whichever way
};

/// Room in bytes, a multiple of 4096, that all before the memory takes at most: for Guest::dump_file(). `vmcoreinfo` is
/// the longest that Guest::vmcoreinfo() may be.
uint64_t head_room(size_t cpus, size_t ranges, size_t vmcoreinfo);

/// Whether a dump can go to options.target, in so far as that is known beforehand; makes a missing directory and then
/// says so in `notice`. Dumper::create() and each dump begin with this. For a program that wants to know before it has
/// a guest. Waits for the file system.
Status prepare_target(const Options& options, std::string& notice);

/// Takes one dump on the calling thread and returns when it is written, or has failed. SIGPIPE and SIGXFSZ are blocked
/// on this thread meanwhile, and the file system is waited for in a thread of its own. Not cancellable.
Result dump(Guest& guest, const Options& options, const Reason& reason = {});

/// A thread that takes dumps on request, one at a time. Requests that come while a dump runs are answered together, by
/// one dump after it.
class Dumper {
 public:
  using OnDone = std::function<void(const Result&)>;

  /// `guest` must outlive the Dumper. `on_done` (may be empty) is called on the Dumper's thread after each dump, the
  /// guest running again; it may call request() and must not destroy the Dumper. nullptr on error: `status` then says
  /// why. A target that cannot be used is an error here, not at the first dump (prepare_target()).
  static std::unique_ptr<Dumper> create(Guest& guest, Options options, OnDone on_done, Status& status);

  /// What create() did besides, for the VMM's log: the directory that it made. "" as a rule.
  const std::string& notice() const;

  /// Cancels what runs, drops what waits, and joins the thread.
  ~Dumper();
  Dumper(const Dumper&) = delete;
  Dumper& operator=(const Dumper&) = delete;

  /// Asks for a dump; the time of this call goes into its name. Async-signal-safe: it may be all that a handler of
  /// SIGUSR2 does (the reason is recorded as signal SIGUSR2). errno is kept.
  void request() noexcept;
  /// The same, from any thread, not from a signal handler. The reason of the first of several is kept.
  void request(Reason reason);

  /// Waits until every request made before this call has been answered; returns the last dump's result (an empty one
  /// when there never was a dump). Not from on_done.
  Result wait();

  /// Gives up the dump that runs and drops the requests that wait, each with a Result that is `cancelled`; the guest
  /// goes on within 100 ms, whatever the command on the other end of a pipe does, and though a disk or network file
  /// system hangs inside write() or fsync(): the thread that is stuck there is left behind, and what it wrote goes when
  /// it comes back. Only Guest::read_memory() is waited for. From any thread.
  void cancel() noexcept;

  Progress progress() const;

 private:
  Dumper();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gcore::writer
