// Reports of RCU stalls: kernel/rcu/tree_stall.h, tree_exp.h, tasks.h.
#include "reader/guest/linux/why_rcu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace gcore::reader::linux_guest {
namespace {

std::optional<std::string_view> braces(std::string_view line) {
  const auto rest = after(line, "detected expedited stalls on CPUs/tasks: {");
  return rest ? std::optional(rest->substr(0, rest->find('}'))) : std::nullopt;
}

/// What the kernel keeps of such readers, until they leave it.
struct Flavor {
  const char* member;  // of task_struct: not 0 as long as it is in it
  size_t size;
  const char* how;
};
constexpr Flavor kPreempted{"rcu_blocked_node", 8, ", taken off the CPU within an RCU read-side critical section,"};
constexpr Flavor kTasks{"rcu_tasks_holdout", 1, ", which has not given up its CPU by itself,"};
constexpr Flavor kTasksTrace{"trc_reader_nesting", 4, ", within a critical section of RCU tasks trace,"};

bool is_in_it(const Scene& scene, const Task& task, const Flavor& flavor) {
  const auto offset = scene.kernel.offset("task_struct", flavor.member);
  std::array<std::byte, 8> value{};
  const std::span bytes = std::span(value).first(flavor.size);
  return offset && scene.kernel.memory().read(task.address + *offset, bytes) == bytes.size() &&
         std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte(0); });
}

/// The name that a report has for a task, if it shows it.
std::string name_in(std::span<const std::string> report, int32_t pid) {
  for (const std::string& line : report)
    if (auto task = shown_task(line); task && task->pid == pid) return std::move(task->name);
  return "";
}

RcuReader reader_of(const Scene& scene, int32_t pid, std::string name, const Flavor& flavor) {
  RcuReader reader{.pid = pid, .name = std::move(name), .task = scene.task_of_pid(pid), .how = flavor.how};
  if (reader.task && reader.name.empty()) reader.name = reader.task->name;
  if (reader.task && reader.name != reader.task->name) reader.task = nullptr;  // the number is another's by now
  reader.is_in_it = reader.task && is_in_it(scene, *reader.task, flavor);
  return reader;
}

/// "INFO: rcu_tasks detected stalls on tasks:", and then of each a line of its state and the task itself.
std::vector<RcuReader> readers_of_tasks(const Scene& scene, std::span<const std::string> report) {
  const Flavor& flavor = contains(report[0], "rcu_tasks_trace") ? kTasksTrace : kTasks;
  std::vector<RcuReader> readers;
  for (const std::string& line : report)
    if (auto task = shown_task(line)) readers.push_back(reader_of(scene, task->pid, std::move(task->name), flavor));
  return readers;
}

}  // namespace

std::optional<ShownTask> shown_task(std::string_view line) {
  if (!line.starts_with("task:")) return std::nullopt;
  const auto number = after(line, " pid:");
  const auto pid =
      number ? leading_number<int32_t>(number->substr(std::min(number->find_first_not_of(' '), number->size())))
             : std::nullopt;
  if (!pid) return std::nullopt;
  const std::string_view name = line.substr(5, line.find(" state:") - 5);
  return ShownTask{*pid, std::string(name.substr(0, name.find_last_not_of(' ') + 1))};
}

/// "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P123/1:b..l P124", and of an expedited grace period
/// "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D P123 } 2100 jiffies".
std::vector<RcuReader> stalling_readers(const Scene& scene, std::span<const std::string> report) {
  if (!report.empty() && contains(report[0], " detected stalls on tasks:")) return readers_of_tasks(scene, report);
  std::vector<RcuReader> readers;
  for (const std::string& line : report) {
    auto rest = after(line, "Tasks blocked on level-");
    rest = rest ? after(*rest, "):") : braces(line);
    if (!rest) continue;
    for (size_t at = rest->find(" P"); at != std::string_view::npos; at = rest->find(" P", at + 1)) {
      const auto pid = leading_number<int32_t>(rest->substr(at + 2));
      if (!pid || std::ranges::find(readers, *pid, &RcuReader::pid) != readers.end()) continue;
      readers.push_back(reader_of(scene, *pid, name_in(report, *pid), kPreempted));
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
  if (!readers.empty() && cpus.empty()) text += readers[0].how;
  return text;
}

/// "rcu: rcu_preempt kthread starved for 5252 jiffies! g628793 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0"
std::optional<StarvedKthread> starved_kthread(const Scene& scene, std::span<const std::string> report) {
  constexpr std::string_view kMark = " kthread starved for ";
  for (const std::string& line : report) {
    const size_t mark = line.find(kMark);
    if (mark == std::string::npos) continue;
    const std::string_view before = std::string_view(line).substr(0, mark);
    StarvedKthread kthread{.name = std::string(before.substr(before.rfind(' ') + 1))};
    if (const auto cpu = after(line, "->cpu=")) kthread.cpu = leading_number<uint32_t>(*cpu);
    const auto task = std::ranges::find_if(
        scene.tasks, [&](const Task& other) { return other.is_kernel_thread && other.name == kthread.name; });
    if (task != scene.tasks.end()) kthread.task = &*task;
    return kthread;
  }
  return std::nullopt;
}

/// Lines "rcu: \t1-....: (5250 ticks this GP) ...": the CPU, a minus sign, four flags. A CPU that has not even seen
/// that the grace period began is "(1 GPs behind)".
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
    if (minus == std::string_view::npos || minus == 0 || minus > 5) continue;
    if (!contains(text, " this GP)") && !contains(text, " GPs behind)")) continue;
    add(text);
  }
  return cpus;
}

}  // namespace gcore::reader::linux_guest
