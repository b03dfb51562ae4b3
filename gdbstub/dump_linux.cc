#include "gdbstub/dump_linux.h"

#include <fmt/format.h>

#include <algorithm>

#include "reader/guest/linux/messages.h"
#include "reader/guest/linux/task_place.h"
#include "reader/guest/linux/why.h"
#include "writer/base/text.h"

namespace gcore::gdbstub {
namespace {

using reader::linux_guest::Kernel;
using reader::linux_guest::Stack;
using reader::linux_guest::Task;

using Text = std::expected<std::string, std::string>;

/// Texts come from the guest.
std::string printable(std::string_view text) { return base::printable(text, base::Printable::utf8_and_tabs); }

std::string shown_name(const Task& task) {
  return printable(task.is_kernel_thread ? "[" + task.name + "]" : task.name);
}

std::string stack_text(const Stack& stack) {
  std::string text;
  size_t number = 0;
  for (const auto& frame : stack.frames)
    text += fmt::format("#{:<3} {:#018x} {}{}\n", number++, frame.pc.value, frame.is_guess ? "? " : "",
                        frame.place ? printable(frame.place->text()) : "??");
  if (stack.user) text += "     user mode\n";
  if (!stack.complete && !stack.why_ended.empty())
    text += fmt::format("     it ends here: {}\n", printable(stack.why_ended));
  return text.empty() ? "no stack is known\n" : text;
}

std::string task_line(const Kernel& kernel, const Task& task) {
  return fmt::format("{:>7} {:>7} {:>7} {} {:>3} {:<17} {}\n", task.pid, task.tgid, task.parent, task.state,
                     task.cpu ? fmt::format("{}", *task.cpu) : "-", shown_name(task),
                     printable(place_of(kernel, task).text()));
}
constexpr char kHeading[] = "    PID    TGID  PARENT S CPU NAME              WHERE\n";

std::string task_text(const Kernel& kernel, const Task& task) {
  std::string text = kHeading + task_line(kernel, task);
  if (!task.command_line.empty()) text += fmt::format("command line: {}\n", printable(task.command_line));
  text += fmt::format("task_struct: {:#x}, stack: {:#x}\n", task.address.value, task.stack.value);
  if (task.root) text += fmt::format("page tables: {:#x}\n", task.root->value);
  text += stack_text(kernel.stack_of(task));
  if (task.mm == reader::VirtAddr(0)) return text;
  const auto areas = kernel.areas_of(task);
  if (!areas) return text + printable(areas.error().text) + "\n";
  for (const auto& area : *areas)
    text += fmt::format("{:x}-{:x} {} {}\n", area.start.value, area.end.value, area.permissions, printable(area.file));
  return text;
}

}  // namespace

Text DumpLinux::text(Target::GuestText what, std::optional<uint64_t> pid) const {
  std::call_once(once_, [&] { kernel_ = Kernel::find(guest_.dump(), guest_.system()); });
  if (!kernel_) return std::unexpected(kernel_.error().text);
  const Kernel& kernel = **kernel_;
  if (what == Target::GuestText::messages) {
    const auto& messages = kernel.messages();
    if (!messages) return std::unexpected(messages.error().text);
    return dmesg_text(*messages);
  }
  if (what == Target::GuestText::why) return why_text(diagnose(kernel));
  const auto& tasks = kernel.tasks();
  if (!tasks) return std::unexpected(tasks.error().text);
  if (what == Target::GuestText::tasks) {
    std::string text = kHeading;
    for (const Task& task : tasks->list) text += task_line(kernel, task);
    return text;
  }
  const auto task =
      std::ranges::find_if(tasks->list, [&](const Task& t) { return pid && static_cast<uint64_t>(t.pid) == *pid; });
  if (task == tasks->list.end())
    return std::unexpected(fmt::format("the guest has no task with PID {}", pid.value_or(0)));
  return what == Target::GuestText::task ? task_text(kernel, *task) : stack_text(kernel.stack_of(*task));
}

}  // namespace gcore::gdbstub
