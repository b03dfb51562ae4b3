#include "reader/guest/linux/blocked_time.h"

#include <algorithm>

namespace gcore::reader::linux_guest {

BlockedTime::BlockedTime(const Kernel& kernel)
    : kernel_(kernel), exec_start_(kernel.offset("task_struct", "se.exec_start")) {
  const auto clock = kernel.offset("rq", "clock"), clock_task = kernel.offset("rq", "clock_task");
  if (clock && clock_task) {
    for (const uint32_t cpu : kernel.online_cpus()) {
      const auto rq = kernel.per_cpu("runqueues", cpu);
      if (!rq) continue;
      const auto now = kernel.memory().u64(*rq + *clock), of_tasks = kernel.memory().u64(*rq + *clock_task);
      if (!now || !of_tasks || *of_tasks > *now) continue;
      if (cpu >= cpus_.size()) cpus_.resize(cpu + 1);
      cpus_[cpu] = Clocks{*now, *now - *of_tasks};
      now_ = std::max(now_, *now);
    }
  }
  if (const auto& messages = kernel.messages(); messages && !messages->records.empty())
    now_ = std::max(now_, messages->records.back().time_ns);
  if (const auto& tasks = kernel.tasks())
    for (const Task& task : tasks->list) now_ = std::max(now_, task.last_run_ns.value_or(0));
}

std::optional<uint64_t> BlockedTime::of(const Task& task) const {
  if (task.running_on) return std::nullopt;
  const uint64_t cpu = task.cpu.value_or(0);
  if (exec_start_ && task.cpu && cpu < cpus_.size() && cpus_[cpu]) {
    const auto left = kernel_.memory().u64(task.address + *exec_start_);
    if (left && *left != 0 && *left + cpus_[cpu]->lag <= now_) return now_ - *left - cpus_[cpu]->lag;
  }
  if (task.last_run_ns && *task.last_run_ns != 0 && *task.last_run_ns <= now_) return now_ - *task.last_run_ns;
  return std::nullopt;
}

std::optional<uint64_t> BlockedTime::silence_of_cpu(uint32_t cpu) const {
  if (cpu >= cpus_.size() || !cpus_[cpu]) return std::nullopt;
  return now_ - cpus_[cpu]->clock;
}

}  // namespace gcore::reader::linux_guest
