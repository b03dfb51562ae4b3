// Deadlocks, and tasks that have waited for long.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "reader/guest/linux/blocked_time.h"
#include "reader/guest/linux/disks.h"
#include "reader/guest/linux/why_parts.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kLong = 10'000'000'000;  // ns: locks are held for microseconds, disks answer in seconds
constexpr size_t kStacksShown = 6;
constexpr size_t kTasksNamed = 8;

class WaitReport {
 public:
  WaitReport(const Scene& scene, const Waits& waits, std::span<const HungTask> hung, std::vector<Finding>& findings)
      : scene_(scene), waits_(waits), hung_(hung), findings_(findings) {}

  void report() {
    std::set<size_t> told;
    for (const auto& cycle : waits_.cycles) {
      report_cycle(cycle);
      told.insert(cycle.begin(), cycle.end());
    }
    // The others by what their chains end at; those that wait behind a circle are told with it.
    std::map<size_t, std::vector<size_t>> chains;  // its last waiter: all that are behind it, that one first
    for (size_t i = 0; i < waits_.list.size(); ++i) {
      if (told.contains(i)) continue;
      const auto end = end_of_chain(i);
      if (end) chains[*end].push_back(i);
    }
    // Several may wait for one thing: they are one finding.
    std::map<std::string, std::vector<size_t>> groups;
    for (const auto& [end, members] : chains) {
      auto& group = groups[group_of(end)];
      group.insert(group.end(), members.begin(), members.end());
    }
    // Groups are in the order of addresses, which another boot has in another one. The first finding makes the
    // signature, so they are told in an order that is the same everywhere; tasks that wait for disks come last.
    std::vector<Finding> blocked;
    for (auto& [object, members] : groups) {
      std::ranges::sort(members);
      if (std::ranges::any_of(members, [&](size_t i) { return is_long(i); }))
        blocked.push_back(blocked_finding(members));
    }
    std::ranges::stable_sort(blocked, {}, [](const Finding& finding) {
      return std::pair(finding.key == kIoKey, std::string_view(finding.key));
    });
    std::ranges::move(blocked, std::back_inserter(findings_));
  }

 private:
  static constexpr std::string_view kIoKey = "blocked|input or output";

  const Task& task_of(size_t i) const { return scene_.tasks[waits_.list[i].task]; }

  std::string group_of(size_t i) const {
    const Waiting& waiting = waits_.list[i];
    if (waiting.is_io) return "input or output";
    return waiting.object == VirtAddr(0) ? fmt::format("task {}", i) : fmt::format("{:#x}", waiting.object.value);
  }

  /// The last waiter of a chain; nothing where it leads into a circle.
  std::optional<size_t> end_of_chain(size_t i) const {
    for (size_t steps = 0; steps <= waits_.list.size(); ++steps) {
      const auto next = waits_.next(i);
      if (!next) return i;
      i = *next;
    }
    return std::nullopt;
  }

  const HungTask* hung(size_t i) const {
    const Task& task = task_of(i);
    const auto found = std::ranges::find(hung_, task.pid, &HungTask::pid);
    return found == hung_.end() || found->name != task.name ? nullptr : &*found;
  }

  /// A task is told of when it cannot be interrupted and has waited for long, or the kernel itself said so.
  bool is_long(size_t i) const {
    if (task_of(i).state != 'D') return false;
    return hung(i) || waits_.list[i].blocked_ns.value_or(0) >= kLong;
  }

  std::string object_text(const Waiting& waiting) const {
    std::string text = to_string(waiting.what);
    if (!waiting.name.empty()) text += " " + waiting.name;
    if (waiting.object != VirtAddr(0)) text += fmt::format(" ({:#x})", waiting.object.value);
    return text;
  }
  std::string waits_for(const Waiting& waiting) const {
    std::string text = waiting.is_io                            ? "waits for input or output"
                       : waiting.what == Waiting::What::unknown ? "waits"
                                                                : "waits for " + object_text(waiting);
    if (waiting.where) text += " in " + waiting.where->text();
    if (waiting.blocked_ns) text += fmt::format(", for {:.1f} s", static_cast<double>(*waiting.blocked_ns) / 1e9);
    return text;
  }
  std::string owner_text(const Waiting& waiting) const {
    if (!waiting.owner) return waiting.no_owner;
    const Task& owner = scene_.tasks[*waiting.owner];
    if (!waiting.owner_is_last_reader) return task_text(owner) + " has it";
    return waiting.readers == 1
               ? fmt::format("one reader has it; {} took it last (that it is the one is a guess)", task_text(owner))
               : fmt::format("{} readers have it; {} took it last (that it still has it is a guess)", waiting.readers,
                             task_text(owner));
  }

  static void add_once(Finding& finding, const Task& task, std::string role) {
    if (std::ranges::find(finding.tasks, task.address, &Involved::address) == finding.tasks.end())
      add_task(finding, task, std::move(role));
  }
  void add_messages(Finding& finding, size_t i) const {
    if (const HungTask* said = hung(i)) {
      finding.evidence.push_back({.kind = Evidence::Kind::message, .text = said->text, .time_ns = said->time_ns});
      finding.time_ns = std::min(finding.time_ns.value_or(said->time_ns), said->time_ns);
    }
  }
  void add_stack(Finding& finding, size_t i) const {
    finding.evidence.push_back(stack_evidence("stack of " + task_text(task_of(i)), waits_.list[i].stack));
  }
  std::string key(size_t i) const {
    const Waiting& waiting = waits_.list[i];
    return fmt::format("{}:{}:{}", to_string(waiting.what), waiting.plain_name, key_of(waiting.stack, 1));
  }

  void report_cycle(const std::vector<size_t>& cycle) {
    Finding finding{.kind = Finding::Kind::deadlock};
    std::vector<std::string> names;
    for (const size_t i : cycle) {
      names.push_back(task_text(task_of(i)));
      finding.is_guess |= waits_.list[i].owner_is_last_reader;
    }
    finding.text = names.size() == 1   ? names[0] + " waits for what it has itself"
                   : names.size() == 2 ? names[0] + " and " + names[1] + " wait for each other"
                                       : fmt::format("{} wait in a circle", fmt::join(names, ", "));
    if (finding.is_guess) finding.text += " (a guess: an rwsem that is read does not say by whom)";
    for (const size_t i : cycle) {
      const Waiting& waiting = waits_.list[i];
      finding.evidence.push_back(
          {.text = fmt::format("{} {}; {}", task_text(task_of(i)), waits_for(waiting), owner_text(waiting))});
      add_once(finding, task_of(i), "waits and holds");
    }
    std::vector<size_t> behind;
    for (size_t i = 0; i < waits_.list.size(); ++i)
      if (std::ranges::find(cycle, i) == cycle.end() && leads_to(i, cycle)) behind.push_back(i);
    add_behind(finding, behind);
    for (const size_t i : cycle) add_messages(finding, i);
    for (size_t n = 0; n < cycle.size() && n < kStacksShown; ++n) add_stack(finding, cycle[n]);
    finding.key = "deadlock|" + circle_key(cycle);
    findings_.push_back(std::move(finding));
  }

  bool leads_to(size_t i, const std::vector<size_t>& cycle) const {
    std::optional<size_t> at = i;
    for (size_t steps = 0; at && steps <= waits_.list.size(); ++steps, at = waits_.next(*at))
      if (std::ranges::find(cycle, *at) != cycle.end()) return true;
    return false;
  }

  void add_behind(Finding& finding, const std::vector<size_t>& behind) const {
    for (size_t n = 0; n < behind.size() && n < kTasksNamed; ++n) {
      finding.evidence.push_back(
          {.text = fmt::format("{} waits behind them: {}; {}", task_text(task_of(behind[n])),
                               waits_for(waits_.list[behind[n]]), owner_text(waits_.list[behind[n]]))});
      add_once(finding, task_of(behind[n]), "waits");
      add_messages(finding, behind[n]);
    }
    if (behind.size() > kTasksNamed)
      finding.evidence.push_back({.text = fmt::format("{} more tasks wait behind them", behind.size() - kTasksNamed)});
  }

  /// A circle has no first member: the least of all ways to write it.
  std::string circle_key(const std::vector<size_t>& cycle) const {
    std::string least;
    for (size_t first = 0; first < cycle.size() && first < 64; ++first) {
      std::string text;
      for (size_t n = 0; n < cycle.size(); ++n) text += key(cycle[(first + n) % cycle.size()]) + "|";
      if (least.empty() || text < least) least = text;
    }
    return least;
  }

  /// Who waits for the thing itself; of several for a disk the one that has waited longest.
  size_t head_of(const std::vector<size_t>& members) const {
    std::optional<size_t> head;
    for (const size_t i : members) {
      if (end_of_chain(i) != i) continue;
      if (!head || (waits_.list[i].is_io && waits_.list[i].blocked_ns > waits_.list[*head].blocked_ns)) head = i;
    }
    return head.value_or(members.front());
  }

  /// What the disks have not answered says which one it is.
  void add_disks(Finding& finding) const {
    const uint64_t now = BlockedTime(scene_.kernel).now();
    for (const Disk& disk : find_disks(scene_.kernel)) {
      if (disk.in_flight == 0) continue;
      finding.text += disk.in_flight == 1 ? fmt::format("; {} has not answered one request", disk.name)
                                          : fmt::format("; {} has not answered {} requests", disk.name, disk.in_flight);
      if (disk.oldest_ns && *disk.oldest_ns < now)
        finding.text += fmt::format("{} for {:.1f} s", disk.in_flight == 1 ? "" : ", the oldest",
                                    static_cast<double>(now - *disk.oldest_ns) / 1e9);
    }
  }

  /// All of `members` wait for one thing, or behind those that do.
  Finding blocked_finding(const std::vector<size_t>& members) {
    Finding finding{.kind = Finding::Kind::blocked};
    const size_t head = head_of(members);
    const Waiting& waiting = waits_.list[head];
    if (members.size() > 1) finding.text = fmt::format("{} tasks are blocked: ", members.size());
    finding.text += fmt::format("{} {}", task_text(task_of(head)), waits_for(waiting));
    if (waiting.is_io) add_disks(finding);
    if (waiting.owner || !waiting.no_owner.empty()) finding.text += "; " + owner_text(waiting);
    for (const size_t i : members) {
      if (finding.tasks.size() < kTasksNamed && i != head)
        finding.evidence.push_back({.text = fmt::format("{} {}", task_text(task_of(i)), waits_for(waits_.list[i]))});
      add_once(finding, task_of(i), "waits");
      add_messages(finding, i);
    }
    add_stack(finding, head);
    if (waiting.owner) {
      const Task& owner = scene_.tasks[*waiting.owner];
      add_once(finding, owner, waiting.owner_is_last_reader ? "holds (a guess)" : "holds");
      finding.evidence.push_back(stack_evidence("stack of " + task_text(owner), scene_.kernel.stack_of(owner)));
    }
    finding.key = waiting.is_io ? std::string(kIoKey) : "blocked|" + key(head);
    return finding;
  }

  const Scene& scene_;
  const Waits& waits_;
  std::span<const HungTask> hung_;
  std::vector<Finding>& findings_;
};

}  // namespace

void find_waiting(const Scene& scene, const Waits& waits, std::span<const HungTask> hung,
                  std::vector<Finding>& findings) {
  WaitReport(scene, waits, hung, findings).report();
}

}  // namespace gcore::reader::linux_guest
