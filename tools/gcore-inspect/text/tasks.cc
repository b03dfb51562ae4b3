// --tasks: the tasks of a Linux guest, a line each; of one process everything.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/text/qnx.h"
#include "tools/gcore-inspect/text/tasks.h"

namespace gcore::tools::inspect {
namespace {

using reader::linux_guest::Kernel;
using reader::linux_guest::MemoryArea;
using reader::linux_guest::Task;
using reader::linux_guest::TaskList;

constexpr size_t kRegistersOnALine = 3;

std::string cpu_text(const Task& task) {
  return task.cpu ? fmt::format("{}{}", *task.cpu, task.running_on || task.runs_unseen ? "*" : "") : "?";
}

void print_line(const Job& job, const Task& task) {
  std::puts(fmt::format("  {:>7} {:>7}  {}  {:>4}  {:<18}  {}", task.tgid, task.pid, task.state, cpu_text(task),
                        bracketed_name(task), place_of(job, task))
                .c_str());
}

void print_list(const Job& job, const TaskList& tasks) {
  std::puts(bold(job, fmt::format("  {:>7} {:>7}  {}  {:>4}  {:<18}  {}", "PID", "TID", "S", "CPU", "name", "where"))
                .c_str());
  for (const Task& task : tasks.idle)
    if (task.running_on || task.runs_unseen) print_line(job, task);
  for (const Task& task : tasks.list) print_line(job, task);
}

std::string seconds(std::optional<uint64_t> ns) {
  return ns ? fmt::format("{:.3f} s", static_cast<double>(*ns) / 1e9) : "";
}

std::string state_text(char state) {
  switch (state) {
    case 'R':
      return "R (running)";
    case 'S':
      return "S (sleeping)";
    case 'D':
      return "D (blocked: it cannot be interrupted)";
    case 'T':
      return "T (stopped)";
    case 't':
      return "t (stopped by a debugger)";
    case 'X':
      return "X (dead)";
    case 'Z':
      return "Z (zombie)";
    case 'P':
      return "P (parked)";
    case 'I':
      return "I (idle kernel thread)";
    default:
      return "not known";
  }
}

void print_times(const Kernel& kernel, const Task& task) {
  const auto ago = [&](std::optional<uint64_t> moment) {
    const auto now = kernel.uptime_ns();
    return moment && now && *now >= *moment ? fmt::format(", {} ago", uptime_text(*now - *moment)) : "";
  };
  if (task.start_ns)
    print_fact("started", fmt::format("{} after boot{}", uptime_text(*task.start_ns), ago(task.start_ns)));
  if (task.last_run_ns && *task.last_run_ns != 0)
    print_fact("last on CPU", fmt::format("at {}{}", uptime_text(*task.last_run_ns), ago(task.last_run_ns)));
  std::string used;
  if (task.user_time_ns && task.system_time_ns)
    used = fmt::format("{} in user mode, {} in the kernel", seconds(task.user_time_ns), seconds(task.system_time_ns));
  if (task.switches) used += fmt::format("{}{} switches", used.empty() ? "" : ", ", *task.switches);
  print_fact("CPU time", used);
}

void print_user_registers(const Kernel& kernel, const Task& task) {
  const auto registers = kernel.user_registers(task);
  if (!registers) return;
  std::puts("  registers in user mode");
  print_register_lines(*registers);
}

void print_areas(const Kernel& kernel, const Task& task) {
  const auto areas = kernel.areas_of(task);
  if (!areas) return print_fact("memory", printable(areas.error().text));
  if (areas->empty()) return;
  std::puts("  address space");
  for (const MemoryArea& area : *areas)
    std::puts(fmt::format("    {:012x}-{:012x} {} {:08x}  {}", area.start.value, area.end.value, area.permissions,
                          area.file_offset, printable(area.file))
                  .c_str());
}

void print_stack(const Job& job, const Kernel& kernel, const Task& task) {
  std::puts("  stack");
  for (const std::string& line : lines_of(backtrace_of(job, kernel.stack_of(task)))) std::puts(("    " + line).c_str());
  const Backtrace trace = backtrace_of(job, kernel.stack_of(task));
  if (trace.user_pc) std::puts(fmt::format("    from user mode, {:#018x}", *trace.user_pc).c_str());
  if (!trace.why.empty()) std::puts(fmt::format("    no further: {}", trace.why).c_str());
}

void print_all_of(const Job& job, const Kernel& kernel, const Task& task) {
  std::puts(bold(job, task_name(task)).c_str());
  print_fact("state", state_text(task.state) + (task.running_on ? fmt::format(", on vCPU {}", *task.running_on) : ""));
  print_fact("parent", task.is_process() ? std::to_string(task.parent) : "");
  print_fact("command", printable(task.command_line));
  if (task.cpu) print_fact("CPU", std::to_string(*task.cpu));
  print_fact("kind", task.is_kernel_thread ? "kernel thread" : "");
  print_fact("task_struct", fmt::format("{:#x}", task.address.value));
  if (task.root) print_fact("page tables", fmt::format("root at guest-physical {:#x}", task.root->value));
  print_times(kernel, task);
  print_stack(job, kernel, task);
  print_user_registers(kernel, task);
  if (task.is_process()) print_areas(kernel, task);
}

}  // namespace

void print_fact(std::string_view name, const std::string& value) {
  if (!value.empty()) std::puts(fmt::format("  {:<12} {}", name, value).c_str());
}

void print_register_lines(const format::RegisterFile& registers) {
  std::string line;
  size_t count = 0;
  for (const auto& info : format::registers(registers.machine())) {
    const auto value = is_of_program(info) ? registers.get(info.name) : std::nullopt;
    if (!value) continue;
    line += fmt::format("    {:<7} {:#018x}", info.name, *value);
    if (++count % kRegistersOnALine != 0) continue;
    std::puts(line.c_str());
    line.clear();
  }
  if (!line.empty()) std::puts(line.c_str());
}

int print_tasks(const Job& job, std::optional<uint64_t> pid) {
  if (job.qnx_guest.is_there()) return print_qnx_tasks(job, pid);
  int status = kExitDone;
  const Kernel* kernel = kernel_for(job, "show the tasks", status);
  if (kernel == nullptr) return status;
  const auto& tasks = kernel->tasks();
  if (!tasks) return job.program.fail("show the tasks", printable(tasks.error().text));
  if (!pid) {
    print_list(job, *tasks);
  } else {
    bool found = false;
    const auto show = [&](const Task& task) {
      if (static_cast<uint64_t>(task.tgid) != *pid && static_cast<uint64_t>(task.pid) != *pid) return;
      if (found) std::puts("");
      print_all_of(job, *kernel, task);
      found = true;
    };
    std::ranges::for_each(tasks->idle, show);
    std::ranges::for_each(tasks->list, show);
    if (!found) return job.program.fail(fmt::format("show PID {}", *pid), "the guest has no such task");
  }
  for (const std::string& problem : tasks->problems) job.program.note(printable(problem));
  return kExitDone;
}

}  // namespace gcore::tools::inspect
