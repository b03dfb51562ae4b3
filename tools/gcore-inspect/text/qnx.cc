// --tasks, --dmesg and --backtrace --task of a QNX guest.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/text/qnx.h"
#include "tools/gcore-inspect/text/tasks.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

using reader::QnxTask;

std::string hex_or_dash(std::optional<uint64_t> value) { return value ? fmt::format("{:#018x}", *value) : "-"; }

std::string numbers(const std::vector<size_t>& list) { return fmt::format("{}", fmt::join(list, ",")); }

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

void print_list(const Job& job, const reader::QnxTasks& tasks) {
  const auto line = [](auto pid, std::string_view tid, std::string_view vcpus, std::string_view name,
                       std::string_view pc, std::string_view at) {
    return trimmed(fmt::format("  {:>10} {:>5}  {:>4}  {:<24}  {:<18}  {}", pid, tid, vcpus, name, pc, at));
  };
  std::puts(bold(job, line("PID", "TID", "vCPU", "name", "pc", job.symbols != nullptr ? "at" : "")).c_str());
  for (const QnxTask& task : tasks.list) {
    const std::string vcpus = numbers(vcpus_of(job, task)), name = printable(task.process.name);
    const auto print = [&](const std::string& tid, const std::string& pc, const std::string& at) {
      std::puts(line(task.process.pid, tid, vcpus, name, pc, at).c_str());
    };
    if (task.threads.empty()) print("-", "-", "");
    for (const QnxTask::Thread& thread : task.threads) {
      const auto pc = program_counter(thread);
      print(std::to_string(thread.id), hex_or_dash(pc), symbol_name(job, pc));
    }
  }
}

void print_all_of(const Job& job, const QnxTask& task) {
  std::puts(bold(job, task_name(task.process)).c_str());
  print_fact("structure", fmt::format("{:#x}", task.process.address.value));
  if (task.root) {
    const auto roots = format::machine_info(job.dump.machine()).root_registers;
    const std::string which = roots.size() > 1 ? std::string(roots.front()) + "=" : "";
    print_fact("page tables", fmt::format("root at guest-physical {0:#x}; --map --root {1}{0:#x} lists its memory",
                                          task.root->value, which));
  } else {
    print_fact("page tables", "they cannot be found");
  }
  const auto vcpus = vcpus_of(job, task);
  print_fact("vCPU", vcpus.empty() ? "" : numbers(vcpus) + ", by the root table");
  if (task.threads.empty()) print_fact("threads", "none");
  for (const QnxTask::Thread& thread : task.threads) {
    std::puts(bold(job, fmt::format("  thread {}", thread.id)).c_str());
    print_trace(backtrace_of(job, task, thread));
    if (!thread.registers) continue;
    std::puts("  registers");
    print_register_lines(*thread.registers);
  }
}

const reader::QnxTasks* tasks_for(const Job& job, std::string_view attempt, int& status) {
  const auto& tasks = job.qnx_guest.tasks();
  if (tasks) return &*tasks;
  status = job.program.fail(attempt, printable(tasks.error().text));
  return nullptr;
}

void note_problems(const Job& job, const reader::QnxTasks& tasks) {
  for (const std::string& problem : tasks.problems) job.program.note(printable(problem));
}

}  // namespace

int print_qnx_tasks(const Job& job, std::optional<uint64_t> pid) {
  int status = kExitDone;
  const auto* tasks = tasks_for(job, "show the tasks", status);
  if (tasks == nullptr) return status;
  if (pid) {
    const auto task = std::ranges::find(tasks->list, *pid, [](const QnxTask& each) { return each.process.pid; });
    if (task == tasks->list.end())
      return job.program.fail(fmt::format("show PID {}", *pid), "the guest has no such process");
    print_all_of(job, *task);
  } else {
    print_list(job, *tasks);
  }
  note_problems(job, *tasks);
  return kExitDone;
}

int print_qnx_stacks(const Job& job, const std::string& which) {
  int status = kExitDone;
  if (which == "blocked")
    return job.program.fail("show the stacks of tasks",
                            "the guest is a QNX system, whose kernel does not tell which threads are blocked; say all, "
                            "or a PID");
  const auto* tasks = tasks_for(job, "show the stacks of tasks", status);
  if (tasks == nullptr) return status;
  const auto pid = parse_number(which);
  bool found = false, first = true;
  for (const QnxTask& task : tasks->list) {
    if (pid && task.process.pid != *pid) continue;
    found = true;
    for (const QnxTask::Thread& thread : task.threads) {
      if (!first) std::puts("");
      first = false;
      std::puts(bold(job, fmt::format("{}, thread {}", task_name(task.process), thread.id)).c_str());
      print_trace(backtrace_of(job, task, thread));
    }
  }
  if (!found && pid) return job.program.fail("show the stack of PID " + which, "the guest has no such process");
  note_problems(job, *tasks);
  return kExitDone;
}

int print_qnx_messages(const Job& job) {
  const auto messages = job.qnx_guest.messages();
  if (!messages) return job.program.fail("show the messages", printable(messages.error().text));
  std::fwrite(messages->data(), 1, messages->size(), stdout);  // text without control characters but for tabs
  return kExitDone;
}

}  // namespace gcore::tools::inspect
