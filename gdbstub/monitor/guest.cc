// Commands about what the guest's kernel tells: of Linux its own tables, of QNX what it has for its debuggers.
#include <fmt/format.h>

#include "gdbstub/monitor/monitor.h"

namespace gcore::gdbstub {
namespace {

MonitorResult answer(Client& client, Target::GuestText what, std::optional<uint64_t> pid = {}) {
  auto text = client.target.kernel_text(what, pid);
  if (!text) return std::unexpected(text.error());
  if (text->size() > kMaxMonitorText) {
    // Of messages and lists the end says what happened last.
    const size_t cut = text->find('\n', text->size() - kMaxMonitorText);
    *text = "(the beginning is left out)\n" +
            text->substr(cut == std::string::npos ? text->size() - kMaxMonitorText : cut + 1);
  }
  return std::move(*text);
}

MonitorResult of_task(Client& client, std::span<const std::string> words, Target::GuestText what) {
  if (words.size() != 1) return std::unexpected("say the PID of a task, as ps shows it");
  const auto pid = monitor_number(client, words[0]);
  if (!pid) return std::unexpected(pid.error());
  return answer(client, what, *pid);
}

MonitorResult dmesg(Client& client, std::span<const std::string>) {
  return answer(client, Target::GuestText::messages);
}
MonitorResult ps(Client& client, std::span<const std::string>) { return answer(client, Target::GuestText::tasks); }
MonitorResult task(Client& client, std::span<const std::string> words) {
  return of_task(client, words, Target::GuestText::task);
}
MonitorResult bt(Client& client, std::span<const std::string> words) {
  return of_task(client, words, Target::GuestText::stack);
}

constexpr MonitorCommand kCommands[] = {
    {"dmesg", "", "the messages of the guest's kernel; of Linux as its own dmesg prints them", dmesg},
    {"ps", "", "the guest's tasks, and where each waits", ps},
    {"bt", "PID", "the stack of a Linux guest's task", bt},
    {"task", "PID", "everything about one of the guest's tasks", task},
};

}  // namespace

MonitorResult monitor_messages(Client& client) { return answer(client, Target::GuestText::messages); }

MonitorResult monitor_diagnosis(Client& client) { return answer(client, Target::GuestText::why); }

std::span<const MonitorCommand> monitor_guest_commands() { return kCommands; }

}  // namespace gcore::gdbstub
