// What a report of an RCU stall says of CPUs and tasks. Private to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/guest/linux/why_parts.h"

namespace gcore::reader::linux_guest {

/// A task that was preempted, or slept, within an RCU read-side critical section ("P123" in the report), or that a
/// grace period of RCU tasks waits for.
struct RcuReader {
  int32_t pid = 0;
  std::string name{};          // as the report or the guest has it; "": neither does any more
  const Task* task = nullptr;  // nullptr: it has ended
  bool is_in_it = false;       // still
  const char* how = "";        // ", taken off the CPU within an RCU read-side critical section,"
};

/// A task that a report shows:
/// "task:rcu-sleeper     state:D stack:0     pid:258   ppid:2      flags:0x00004000"
struct ShownTask {
  int32_t pid = 0;
  std::string name{};
};
std::optional<ShownTask> shown_task(std::string_view line);

/// Both take the lines of a report, of a grace period of either kind.
std::vector<RcuReader> stalling_readers(const Scene& scene, std::span<const std::string> report);
std::vector<uint32_t> stalled_cpus(std::span<const std::string> report);

/// The kthread without which no grace period ends, where the report says that it does not come to a CPU.
struct StarvedKthread {
  std::string name{};             // "rcu_preempt"
  std::optional<uint32_t> cpu{};  // where it waits
  const Task* task = nullptr;     // nullptr: the guest's list has none of that name
};
std::optional<StarvedKthread> starved_kthread(const Scene& scene, std::span<const std::string> report);

/// Who stalls, for a sentence: "CPU 1", "" where the report names nobody, "worker (PID 123), taken off the CPU within
/// an RCU read-side critical section,".
std::string stalled_text(const std::vector<uint32_t>& cpus, const std::vector<RcuReader>& readers);

}  // namespace gcore::reader::linux_guest
