// What a QNX guest's kernel tells, as all forms of output show it.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/guest/guest.h"
#include "reader/guest/qnx/qnx_kernel.h"
#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

/// The guest must outlive it. Processes are looked for when they are first asked for.
class QnxGuest {
 public:
  explicit QnxGuest(const reader::Guest& guest) : guest_(guest) {}

  bool is_there() const { return guest_.system().kind == reader::GuestSystem::Kind::qnx; }
  /// Error: why they cannot be had, which is so of most dumps that a VMM took.
  const reader::Expected<reader::QnxTasks>& tasks() const;
  reader::Expected<std::string> messages() const { return reader::qnx_messages(guest_.dump()); }

 private:
  const reader::Guest& guest_;
  mutable std::once_flag once_;
  mutable reader::Expected<reader::QnxTasks> tasks_;
};

/// Of a QNX guest, the exit status of a mode that only a Linux guest has an answer to: "cannot ATTEMPT: WHY" has been
/// said. Nothing of other guests.
std::optional<int> refuse_of_qnx(const Job& job, std::string_view attempt);

/// "proc/boot/devb (PID 4099)".
std::string task_name(const reader::QnxProcess& process);

/// vCPUs that look through the process's page tables: mostly those that run it, or ran it last.
std::vector<size_t> vcpus_of(const Job& job, const reader::QnxTask& task);
/// The process whose page tables a vCPU looks through; nullptr when it is not known.
const reader::QnxTask* qnx_task_of_cpu(const Job& job, const reader::Cpu& cpu);

/// The stack of a thread that does not run, by frame pointers or by the unwind tables of --symbols.
Backtrace backtrace_of(const Job& job, const reader::QnxTask& task, const reader::QnxTask::Thread& thread);

/// Where a thread was; nothing when its registers could not be read.
std::optional<uint64_t> program_counter(const reader::QnxTask::Thread& thread);

/// Lines of the summary: (name, value).
std::vector<std::pair<std::string, std::string>> qnx_facts(const Job& job);

}  // namespace gcore::tools::inspect
