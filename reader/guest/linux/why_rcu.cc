// Reports of RCU stalls: kernel/rcu/tree_stall.h, tree_exp.h.
#include "reader/guest/linux/why_rcu.h"

#include <fmt/format.h>

#include <algorithm>

namespace gcore::reader::linux_guest {
namespace {

std::optional<std::string_view> braces(std::string_view line) {
  const auto rest = after(line, "detected expedited stalls on CPUs/tasks: {");
  return rest ? std::optional(rest->substr(0, rest->find('}'))) : std::nullopt;
}

/// The kernel keeps on a list who was preempted there, until he leaves it.
bool is_blocked_reader(const Scene& scene, const Task& task) {
  const auto node = scene.kernel.offset("task_struct", "rcu_blocked_node");
  const auto value = node ? scene.kernel.memory().u64(task.address + *node) : std::nullopt;
  return value.value_or(0) != 0;
}

/// The name that a report has for a task, if it shows it:
/// "task:rcu-sleeper     state:D stack:0     pid:258   ppid:2      flags:0x00004000"
std::string name_in(std::span<const std::string> report, int32_t pid) {
  for (const std::string& line : report) {
    if (!line.starts_with("task:")) continue;
    const auto number = after(line, " pid:");
    if (!number ||
        leading_number<int32_t>(number->substr(std::min(number->find_first_not_of(' '), number->size()))) != pid)
      continue;
    const std::string_view name = std::string_view(line).substr(5, line.find(" state:") - 5);
    return std::string(name.substr(0, name.find_last_not_of(' ') + 1));
  }
  return "";
}

}  // namespace

/// "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P123/1:b..l P124", and of an expedited grace period
/// "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D P123 } 2100 jiffies".
std::vector<RcuReader> preempted_readers(const Scene& scene, std::span<const std::string> report) {
  std::vector<RcuReader> readers;
  for (const std::string& line : report) {
    auto rest = after(line, "Tasks blocked on level-");
    rest = rest ? after(*rest, "):") : braces(line);
    if (!rest) continue;
    for (size_t at = rest->find(" P"); at != std::string_view::npos; at = rest->find(" P", at + 1)) {
      const auto pid = leading_number<int32_t>(rest->substr(at + 2));
      if (!pid || std::ranges::find(readers, *pid, &RcuReader::pid) != readers.end()) continue;
      RcuReader reader{.pid = *pid, .name = name_in(report, *pid), .task = scene.task_of_pid(*pid)};
      if (reader.task && reader.name.empty()) reader.name = reader.task->name;
      if (reader.task && reader.name != reader.task->name) reader.task = nullptr;  // the number is another's by now
      reader.is_in_it = reader.task && is_blocked_reader(scene, *reader.task);
      readers.push_back(std::move(reader));
    }
  }
  return readers;
}

std::string stalled_text(const std::vector<uint32_t>& cpus, const std::vector<RcuReader>& readers) {
  constexpr size_t kNamed = 4;
  std::string text = cpus.empty() ? "" : fmt::format("CPU {}", fmt::join(cpus, ", "));
  for (size_t i = 0; i < readers.size() && i < kNamed; ++i)
    text += (text.empty() ? "" : ", ") + (readers[i].name.empty()
                                              ? fmt::format("PID {}, which is no more", readers[i].pid)
                                              : fmt::format("{} (PID {})", readers[i].name, readers[i].pid));
  if (readers.size() > kNamed) text += fmt::format(" and {} more", readers.size() - kNamed);
  if (!readers.empty() && cpus.empty()) text += ", taken off the CPU within an RCU read-side critical section,";
  return text.empty() ? "a reader" : text;
}

/// Lines "rcu: \t1-....: (5250 ticks this GP) ...": the CPU, a minus sign, four flags.
std::vector<uint32_t> stalled_cpus(std::span<const std::string> report) {
  std::vector<uint32_t> cpus;
  const auto add = [&](std::string_view text) {
    if (const auto cpu = leading_number<uint32_t>(text); cpu && std::ranges::find(cpus, *cpu) == cpus.end())
      cpus.push_back(*cpu);
  };
  for (const std::string& line : report) {
    std::string_view text = line;
    if (const auto list = braces(text)) {
      for (size_t at = list->find(' '); at != std::string_view::npos; at = list->find(' ', at + 1))
        if (const std::string_view word = list->substr(at + 1); word.find('-') < word.find(' ')) add(word);
      continue;
    }
    if (const auto rest = after(text, "rcu: ")) text = *rest;
    const size_t start = text.find_first_not_of(" \t");
    if (start == 0 || start == std::string_view::npos) continue;
    text.remove_prefix(start);
    const size_t minus = text.find('-');
    if (minus == std::string_view::npos || minus == 0 || minus > 5 || !contains(text, " this GP)")) continue;
    add(text);
  }
  return cpus;
}

}  // namespace gcore::reader::linux_guest
