// What a Linux guest's own tables tell, as all forms of output show it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/why.h"
#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// The kernel in the guest, found when it is first asked for. The guest must outlive it.
class LinuxGuest {
 public:
  explicit LinuxGuest(const reader::Guest& guest) : guest_(guest) {}

  /// Error: why there is none that can be read.
  const reader::Expected<std::unique_ptr<reader::linux_guest::Kernel>>& kernel() const;
  /// The same; nullptr in place of the error.
  const reader::linux_guest::Kernel* kernel_or_null() const;

 private:
  const reader::Guest& guest_;
  mutable std::once_flag once_;
  mutable reader::Expected<std::unique_ptr<reader::linux_guest::Kernel>> kernel_;
};

/// The kernel of a mode that needs one. Where there is none, `status` is the exit status with which the mode ends:
/// "cannot ATTEMPT: WHY" has been said.
const reader::linux_guest::Kernel* kernel_for(const Job& job, std::string_view attempt, int& status);

/// Where a vCPU was: by --symbols, else by a Linux guest's own names; "" when nobody knows.
std::string where(const Job& job, const reader::Cpu& cpu);
/// The same, and what it ran: "do_idle+0x12/0x34, swapper/0 (idle)".
std::string where_and_what(const Job& job, const reader::Cpu& cpu);

/// The task that a vCPU runs.
std::optional<reader::linux_guest::Task> task_of_cpu(const Job& job, size_t vcpu);
/// "swapper/0 (idle)", "sh (PID 57)", "worker (PID 57, thread 60)".
std::string task_name(const reader::linux_guest::Task& task);
/// As ps names it: kernel threads in brackets.
std::string bracketed_name(const reader::linux_guest::Task& task);

/// Names of the place and, with --symbols, its lines, in a form of a Backtrace.
Backtrace backtrace_of(const Job& job, const reader::linux_guest::Stack& stack);
/// A frame in one line: "schedule+0x3c/0xa0 [module]"; with --symbols "schedule at core.c:123".
std::string frame_text(const Frame& frame);

/// The frames of a backtrace, and where it ends, on standard output. text/backtrace.cc
void print_trace(const Backtrace& trace);

/// Where a task waits: the first place on its stack that is not of the scheduler ("do_wait+0x160/0x350"); of one that
/// runs, where that is; "user mode"; "running" where the dump has no registers. Empty when nothing is known.
std::string place_of(const Job& job, const reader::linux_guest::Task& task);

/// Tasks whose stacks are equal, in the order of the first one of each.
struct StackGroup {
  Backtrace trace;
  std::vector<const reader::linux_guest::Task*> tasks;
};
std::vector<StackGroup> stack_groups(const Job& job, std::span<const reader::linux_guest::Task* const> tasks);

/// What went wrong; with --symbols, its stacks have source lines: "schedule+0x3c/0xa0 at core.c:123".
reader::linux_guest::Diagnosis diagnosis_of(const Job& job, const reader::linux_guest::Kernel& kernel);

/// "12.345678 s", "3 d 04:05:06": time since boot.
std::string uptime_text(uint64_t ns);

/// Lines of the summary about what the guest was doing: (name, value).
std::vector<std::pair<std::string, std::string>> linux_facts(const Job& job);

}  // namespace gcore::tools::inspect
