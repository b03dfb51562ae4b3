// The tasks of a Linux guest: processes and their threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/unwind.h"

namespace gcore::reader::linux_guest {

struct Task {
  VirtAddr address{};          // of its task_struct
  int32_t pid = 0;             // of the thread: what ps calls LWP
  int32_t tgid = 0;            // of the process: what ps calls PID
  int32_t parent = 0;          // real_parent's tgid
  std::string name{};          // comm: at most 15 bytes, as the guest has it
  std::string command_line{};  // arguments joined by blanks; empty for kernel threads and where its memory is not there
  char state = '?';            // as ps shows it: R S D T t X Z P I
  uint64_t state_bits = 0;
  std::optional<uint32_t> cpu{};       // the CPU it runs on or ran on last
  std::optional<size_t> running_on{};  // index of the vCPU (Dump::cpus()) whose current task it is
  bool runs_unseen = false;            // it runs on a CPU, and the dump has no registers of any: `registers` are old
  bool is_kernel_thread = false;
  bool boots = false;  // PID 0 before it has made another task: it does not idle, it brings the kernel up
  VirtAddr stack{};    // lowest address of its kernel stack; 0: not known
  uint64_t stack_size = 0;
  std::optional<PhysAddr> root{};  // of its page tables; none for kernel threads
  VirtAddr mm{};                   // 0: none
  /// Registers that it sleeps with (callee-saved ones, sp, pc); of a running one those of its vCPU.
  format::RegisterFile registers;
  std::optional<uint64_t> start_ns{};     // when it was created, since boot
  std::optional<uint64_t> last_run_ns{};  // sched_info.last_arrival: when it last came to a CPU, on the kernel's clock
  std::optional<uint64_t> switches{};     // nvcsw + nivcsw
  std::optional<uint64_t> user_time_ns{}, system_time_ns{};

  bool is_process() const { return pid == tgid; }
};

/// One stretch of a process's address space.
struct MemoryArea {
  VirtAddr start, end;
  std::string permissions{};  // "r-xp" as in /proc/PID/maps
  uint64_t file_offset = 0;
  std::string file{};  // path, or [stack], [heap], [vdso]; empty: anonymous
};

}  // namespace gcore::reader::linux_guest
