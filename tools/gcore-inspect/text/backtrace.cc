// --backtrace: who called whom on each vCPU, or in the tasks of a Linux guest.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/text/qnx.h"

namespace gcore::tools::inspect {
namespace {

using reader::linux_guest::Task;

constexpr size_t kNamesOnALine = 4;

void print_cpu(const Job& job, const reader::Cpu& cpu) {
  const Backtrace trace = backtrace(job, cpu);  // first: it may find the address space that the state is read through
  std::string heading = fmt::format("vCPU {}: {}", cpu.index, state_name(job.guest, cpu));
  if (!cpu.process_name.empty()) heading += fmt::format("; process {}", printable(cpu.process_name));
  if (const auto task = task_of_cpu(job, cpu.index)) heading += "; " + task_name(*task);
  if (const auto* task = qnx_task_of_cpu(job, cpu)) heading += "; " + task_name(task->process) + " by its page tables";
  if (at_fault(job.dump, cpu)) heading += fmt::format("; at fault (signal {})", job.dump.signal());
  std::puts(bold(job, heading).c_str());
  print_trace(trace);
}

/// "D  deadlock_a (PID 57), sh (PID 60)", on several lines where there are many.
void print_names(const Job& job, const std::vector<const Task*>& tasks) {
  std::string line = tasks.size() > 1 ? fmt::format("{} tasks: ", tasks.size()) : "";
  for (size_t i = 0; i < tasks.size(); ++i) {
    line += fmt::format("{} {}", tasks[i]->state, task_name(*tasks[i]));
    if (tasks[i]->running_on) line += fmt::format(" on vCPU {}", *tasks[i]->running_on);
    if (i + 1 == tasks.size()) break;
    line += ",";
    if (i % kNamesOnALine != kNamesOnALine - 1) {
      line += " ";
      continue;
    }
    std::puts(bold(job, line).c_str());
    line = "  ";
  }
  std::puts(bold(job, line).c_str());
}

int print_of_tasks(const Job& job, const std::string& which) {
  int status = kExitDone;
  const auto* kernel = kernel_for(job, "show the stacks of tasks", status);
  if (kernel == nullptr) return status;
  const auto& tasks = kernel->tasks();
  if (!tasks) return job.program.fail("show the stacks of tasks", printable(tasks.error().text));
  const auto pid = parse_number(which);
  std::vector<const Task*> wanted;
  if (pid == 0)  // which is no task's in the list: the CPUs' idle ones
    for (const Task& task : tasks->idle) wanted.push_back(&task);
  for (const Task& task : tasks->list)
    if (which == "all" || (which == "blocked" && task.state == 'D') ||
        (pid && (static_cast<uint64_t>(task.tgid) == *pid || static_cast<uint64_t>(task.pid) == *pid)))
      wanted.push_back(&task);
  if (wanted.empty() && which == "blocked") {
    std::puts("no task is blocked (state D)");
    return kExitDone;
  }
  if (wanted.empty() && which == "all")
    return job.program.fail("show the stacks of tasks", "the guest has no task but the kernel's first one yet");
  if (wanted.empty()) return job.program.fail("show the stack of PID " + which, "the guest has no such task");
  bool first = true;
  for (const StackGroup& group : stack_groups(job, wanted)) {
    if (!first) std::puts("");
    first = false;
    print_names(job, group.tasks);
    print_trace(group.trace);
  }
  for (const std::string& problem : tasks->problems) job.program.note(printable(problem));
  return kExitDone;
}

}  // namespace

void print_trace(const Backtrace& trace) {
  for (const std::string& line : lines_of(trace)) std::puts(("  " + line).c_str());
  if (trace.user_pc) std::puts(fmt::format("  from user mode, {:#018x}", *trace.user_pc).c_str());
  if (!trace.why.empty()) std::puts(fmt::format("  no further: {}", trace.why).c_str());
}

int print_backtrace(const Job& job, const std::optional<std::string>& tasks) {
  if (tasks) return job.qnx_guest.is_there() ? print_qnx_stacks(job, *tasks) : print_of_tasks(job, *tasks);
  if (job.dump.cpus().empty()) return job.program.fail("show backtraces", printable(job.dump.path()) + " has no vCPU");
  bool first = true;
  for (const reader::Cpu& cpu : job.dump.cpus()) {
    if (job.cpu && cpu.index != *job.cpu) continue;
    if (!first) std::puts("");
    first = false;
    print_cpu(job, cpu);
  }
  return kExitDone;
}

}  // namespace gcore::tools::inspect
