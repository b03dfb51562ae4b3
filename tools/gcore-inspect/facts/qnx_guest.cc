#include "tools/gcore-inspect/facts/qnx_guest.h"

#include <fmt/format.h>

#include <algorithm>

#include "writer/format/machine.h"

namespace gcore::tools::inspect {

using reader::QnxTask;

namespace {

constexpr uint64_t kTableMask = 0xfff;  // a root table is aligned to its size, and registers have flags there

std::optional<uint64_t> root_of(const reader::Cpu& cpu) {
  if (cpu.page_table) return cpu.page_table->value;
  for (const char* name : {"cr3", "ttbr0_el1"})
    if (const auto value = cpu.registers.get(name)) return *value;
  return std::nullopt;
}

bool looks_through(const reader::Cpu& cpu, const QnxTask& task) {
  constexpr uint64_t kAddress = (uint64_t{1} << 48) - 1;  // above it aarch64 has the number of the address space
  const auto root = root_of(cpu);
  return root && task.root && (*root & kAddress & ~kTableMask) == (task.root->value & ~kTableMask);
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const size_t start = text.rfind('\n');
  return std::string(start == std::string_view::npos ? text : text.substr(start + 1));
}

}  // namespace

const reader::Expected<reader::QnxTasks>& QnxGuest::tasks() const {
  std::call_once(once_, [&] {
    const auto kernel = reader::QnxKernel::find(guest_);
    tasks_ = kernel ? kernel->tasks() : std::unexpected(kernel.error());
  });
  return tasks_;
}

std::optional<int> refuse_of_qnx(const Job& job, std::string_view attempt) {
  if (!job.qnx_guest.is_there()) return std::nullopt;
  return job.program.fail(attempt,
                          "the guest is a QNX system, whose kernel does not tell that; --tasks, --dmesg and "
                          "--backtrace show what it does");
}

std::string task_name(const reader::QnxProcess& process) {
  return fmt::format("{} (PID {})", process.name.empty() ? "a process without a name" : printable(process.name),
                     process.pid);
}

std::vector<size_t> vcpus_of(const Job& job, const QnxTask& task) {
  std::vector<size_t> vcpus;
  for (const reader::Cpu& cpu : job.dump.cpus())
    if (looks_through(cpu, task)) vcpus.push_back(cpu.index);
  return vcpus;
}

const QnxTask* qnx_task_of_cpu(const Job& job, const reader::Cpu& cpu) {
  if (!job.qnx_guest.is_there() || !job.qnx_guest.tasks()) return nullptr;
  const auto& list = job.qnx_guest.tasks()->list;
  const auto found = std::ranges::find_if(list, [&](const QnxTask& task) { return looks_through(cpu, task); });
  return found == list.end() ? nullptr : &*found;
}

Backtrace backtrace_of(const Job& job, const QnxTask& task, const QnxTask::Thread& thread) {
  if (!thread.registers) return {.frames = {}, .why = "its registers cannot be read"};
  if (!task.root) return {.frames = {}, .why = "the page tables of its process cannot be found"};
  const auto space = job.guest.space_with_root(job.dump.faulting_cpu(), task.root->value);
  if (!space) return {.frames = {}, .why = printable(space.error().text)};
  return backtrace(job, *thread.registers, *space);
}

std::optional<uint64_t> program_counter(const QnxTask::Thread& thread) {
  if (!thread.registers) return std::nullopt;
  return thread.registers->get(format::machine_info(thread.registers->machine()).program_counter);
}

std::vector<std::pair<std::string, std::string>> qnx_facts(const Job& job) {
  std::vector<std::pair<std::string, std::string>> facts;
  if (!job.qnx_guest.is_there()) return facts;
  if (const auto& tasks = job.qnx_guest.tasks()) {
    size_t threads = 0;
    for (const QnxTask& task : tasks->list) threads += task.threads.size();
    facts.emplace_back("processes", fmt::format("{}, {}", tasks->list.size(), counted(threads, "thread", "threads")));
  }
  if (const auto messages = job.qnx_guest.messages()) facts.emplace_back("message", printable(last_line(*messages)));
  return facts;
}

}  // namespace gcore::tools::inspect
