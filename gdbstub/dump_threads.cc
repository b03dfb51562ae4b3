#include "gdbstub/dump_threads.h"

#include <fmt/format.h>

#include <utility>

#include "reader/dump/dump.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/qnx/qnx_kernel.h"

namespace gcore::gdbstub {
namespace {

using reader::linux_guest::Kernel;
using reader::linux_guest::Task;

constexpr size_t kMaxThreads = 1 << 17;  // a debugger takes a megabyte for each thousand

/// "bash", or of a thread of the kernel "[kthreadd]", as ps has them.
std::string shown_name(const Task& task) { return task.is_kernel_thread ? "[" + task.name + "]" : task.name; }

std::string number_text(const Task& task) {
  return task.is_process() ? fmt::format("PID {}", task.pid) : fmt::format("PID {} of {}", task.pid, task.tgid);
}

std::expected<DumpThreads, std::string> linux_threads(const reader::Guest& guest) {
  const auto kernel = Kernel::find(guest.dump(), guest.system());
  if (!kernel) return std::unexpected(kernel.error().text);
  const auto& tasks = (*kernel)->tasks();
  if (!tasks) return std::unexpected(tasks.error().text);
  DumpThreads threads;
  for (const auto* list : {&tasks->list, &tasks->idle})
    for (const Task& task : *list) {
      if (task.running_on) {
        threads.on_cpu.emplace(*task.running_on, shown_name(task) + ", " + number_text(task));
        continue;
      }
      if (task.pid == 0 || threads.list.size() >= kMaxThreads) continue;  // an idle CPU's, while something else runs
      threads.list.push_back({.number = static_cast<uint64_t>(task.pid),
                              .name = shown_name(task),
                              .details = fmt::format("{}, {}", number_text(task), task.state)});
      threads.states.push_back({.registers = task.registers, .root = task.root});
    }
  return threads;
}

std::expected<DumpThreads, std::string> qnx_threads(const reader::Guest& guest) {
  const auto kernel = reader::QnxKernel::find(guest);
  if (!kernel) return std::unexpected(kernel.error().text);
  const auto tasks = kernel->tasks();
  if (!tasks) return std::unexpected(tasks.error().text);
  DumpThreads threads;
  for (const reader::QnxTask& task : tasks->list)
    for (const reader::QnxTask::Thread& thread : task.threads) {
      if (!task.root || !thread.registers) continue;
      threads.list.push_back({.number = threads.list.size() + 1,
                              .name = task.process.name,
                              .details = fmt::format("process {}, thread {}", task.process.pid, thread.id)});
      threads.states.push_back({.registers = *thread.registers, .root = task.root});
    }
  return threads;
}

}  // namespace

std::expected<DumpThreads, std::string> find_threads(const reader::Guest& guest) {
  return guest.system().kind == reader::GuestSystem::Kind::qnx ? qnx_threads(guest) : linux_threads(guest);
}

std::expected<std::vector<GuestProcess>, std::string> qnx_processes(const reader::Guest& guest, size_t cpu) {
  const auto kernel = reader::QnxKernel::find(guest, cpu);
  if (!kernel) return std::unexpected(kernel.error().text);
  const auto processes = kernel->processes();
  if (!processes) return std::unexpected(processes.error().text);
  std::vector<GuestProcess> all;
  for (const reader::QnxProcess& process : *processes) all.push_back({.number = process.pid, .name = process.name});
  return all;
}

std::expected<ProcessThread, std::string> qnx_thread(const reader::Guest& guest, size_t cpu, const char* root,
                                                     uint64_t process, uint64_t thread) {
  const auto kernel = reader::QnxKernel::find(guest, cpu);
  if (!kernel) return std::unexpected(kernel.error().text);
  const auto found = kernel->thread(process, thread);
  if (!found) return std::unexpected(found.error().text);
  ProcessThread result{.process = found->process.name, .root = {root, found->root.value}, .registers = {}};
  for (const auto& reg : format::registers(guest.dump().machine()))
    if (const auto value = found->registers.get(reg.name)) result.registers.emplace(reg.name, *value);
  return result;
}

}  // namespace gcore::gdbstub
