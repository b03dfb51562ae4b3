#include "gdbstub/dump_qnx.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "reader/guest/qnx/qnx_kernel.h"
#include "writer/format/machine.h"

namespace gcore::gdbstub {
namespace {

using reader::QnxTask;

using Text = std::expected<std::string, std::string>;

constexpr char kHeading[] = "       PID   TID NAME                     PC                 SP\n";

std::string line(const QnxTask& task, std::string_view id, std::string_view pc, std::string_view sp) {
  return fmt::format("{:>10} {:>5} {:<24} {:<18} {}\n", task.process.pid, id, task.process.name, pc, sp);
}

std::string lines_of(const QnxTask& task) {
  if (task.threads.empty()) return line(task, "-", "-", "-");
  std::string text;
  for (const QnxTask::Thread& thread : task.threads) {
    const auto value = [&](std::string_view name) {
      const auto found = thread.registers ? thread.registers->get(name) : std::nullopt;
      return found ? fmt::format("{:#018x}", *found) : "-";
    };
    const auto* machine = thread.registers ? &format::machine_info(thread.registers->machine()) : nullptr;
    text += line(task, std::to_string(thread.id), machine != nullptr ? value(machine->program_counter) : "-",
                 machine != nullptr ? value(machine->stack_pointer) : "-");
  }
  return text;
}

std::string task_text(const QnxTask& task) {
  std::string text = kHeading + lines_of(task);
  text += fmt::format("process structure: {:#x}\n", task.process.address.value);
  if (task.root) text += fmt::format("page tables: {:#x}\n", task.root->value);
  if (!task.threads.empty())
    text += fmt::format("`pid {}-{}` puts a thread in place of the vCPU: registers, memory, and the debugger's stack\n",
                        task.process.pid, task.threads.front().id);
  return text;
}

}  // namespace

Text qnx_text(const reader::Guest& guest, Target::GuestText what, std::optional<uint64_t> pid) {
  if (what == Target::GuestText::messages) {
    auto messages = reader::qnx_messages(guest.dump());
    if (!messages) return std::unexpected(messages.error().text);
    return *std::move(messages);
  }
  if (what == Target::GuestText::why)
    return std::unexpected("the guest is a QNX system, whose kernel does not tell what its threads wait for");
  if (what == Target::GuestText::stack)
    return std::unexpected(
        "of a QNX guest's thread the debugger makes the stack: pid PID-TID puts it in place of the vCPU");
  const auto kernel = reader::QnxKernel::find(guest);
  if (!kernel) return std::unexpected(kernel.error().text);
  const auto tasks = kernel->tasks();
  if (!tasks) return std::unexpected(tasks.error().text);
  if (what == Target::GuestText::tasks) {
    std::string text = kHeading;
    for (const QnxTask& task : tasks->list) text += lines_of(task);
    for (const std::string& problem : tasks->problems) text += problem + "\n";
    return text;
  }
  const auto task =
      std::ranges::find_if(tasks->list, [&](const QnxTask& each) { return pid && each.process.pid == *pid; });
  if (task == tasks->list.end()) return std::unexpected(fmt::format("the guest has no process {}", pid.value_or(0)));
  return task_text(*task);
}

}  // namespace gcore::gdbstub
