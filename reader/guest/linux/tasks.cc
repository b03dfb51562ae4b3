// The tasks: from init_task along the ring of processes, and from each process along its threads.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <unordered_map>

#include "reader/guest/linux/kernel_parts.h"
#include "reader/guest/linux/machine.h"
#include "reader/guest/linux/mapped_image.h"
#include "reader/guest/linux/task_reader.h"
#include "reader/guest/linux/unwind_machine.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxTasks = 4 << 20;  // PID_MAX_LIMIT
constexpr size_t kMaxAncestors = 4096;

/// Whether it looks like a task: what its first task is the parent of, or a PID and a name.
bool is_task(const Kernel& kernel, const TaskReader& reader, VirtAddr address) {
  if (!kernel.memory().is_kernel_address(address) || address.value % 8 != 0) return false;
  const auto pid = reader.pid(address);
  const auto parent = reader.parent(address), leader = reader.leader(address);
  return pid && *pid >= 0 && *pid <= static_cast<int32_t>(kMaxTasks) && parent && leader &&
         kernel.memory().is_kernel_address(*parent) && kernel.memory().is_kernel_address(*leader);
}

bool is_first_task(const Kernel& kernel, const TaskReader& reader, VirtAddr address) {
  if (!is_task(kernel, reader, address) || reader.pid(address) != 0 || reader.parent(address) != address) return false;
  const VirtAddr node = address + reader.tasks()->offset;
  const auto next = kernel.memory().pointer(node);
  return next && kernel.memory().is_kernel_address(*next) && kernel.memory().pointer(*next + 8) == node;
}

/// By the CPU's own memory or register; no look at other tasks.
std::optional<VirtAddr> current_by_cpu(const Kernel& kernel, const TaskReader& reader, size_t vcpu) {
  if (is_outside_kernel(kernel.dump().cpus()[vcpu].registers)) return std::nullopt;
  const auto task = linux_machine(kernel.memory().machine()).current_task(kernel, vcpu);
  return task && is_task(kernel, reader, *task) ? task : std::nullopt;
}

/// Parents lead to the first task, whose parent is itself.
std::optional<VirtAddr> first_ancestor(const Kernel& kernel, const TaskReader& reader, VirtAddr task) {
  for (size_t i = 0; i < kMaxAncestors && is_task(kernel, reader, task); ++i) {
    const VirtAddr parent = *reader.parent(task);
    if (parent == task) return is_first_task(kernel, reader, task) ? std::optional(task) : std::nullopt;
    task = parent;
  }
  return std::nullopt;
}

/// The first task is in the kernel's image, with its name in it.
std::optional<VirtAddr> search_image(const Kernel& kernel, const TaskReader& reader) {
  constexpr size_t kPiece = 1 << 20, kOverlap = 16;
  constexpr std::string_view kName = "swapper";
  const auto& translator = kernel.memory().space().translator();
  const MappedImage image = kernel_image(kernel.memory().machine(), translator, kernel.guest().image_address);
  std::string bytes;
  for (const auto& part : image) {
    if (!part.permissions.write) continue;
    for (uint64_t done = 0; done < part.size; done += kPiece) {
      bytes.resize(std::min<uint64_t>(part.size - done, kPiece + kOverlap));
      bytes.resize(kernel.dump().read(part.physical + done, std::as_writable_bytes(std::span(bytes))).bytes);
      for (size_t found = bytes.find(kName); found != std::string::npos; found = bytes.find(kName, found + 1)) {
        const VirtAddr task(part.start.value + done + found - reader.comm()->offset);
        if (is_first_task(kernel, reader, task)) return task;
      }
    }
  }
  return std::nullopt;
}

/// All that find_tasks() needs while it works.
class Finder {
 public:
  Finder(const Kernel& kernel, const TaskReader& reader) : kernel_(kernel), reader_(reader) {}

  Expected<TaskList> find() {
    found_.problems = reader_.missing();
    current_.resize(kernel_.dump().cpus().size());
    for (size_t vcpu = 0; vcpu < current_.size(); ++vcpu) current_[vcpu] = current_by_cpu(kernel_, reader_, vcpu);
    const auto first = first_task();
    if (first) {
      follow(*first);
    } else {
      found_.problems.emplace_back(
          "the kernel's first task was not found: only those are shown that vCPUs run, and their families");
      follow_current();
    }
    find_runqueues();
    find_idle(first);
    mark_running();
    if (found_.list.empty() && found_.idle.empty())
      return std::unexpected(Error{Error::Kind::not_present,
                                   "cannot read the tasks: neither the kernel's first task nor one that a vCPU runs "
                                   "was found"});
    return std::move(found_);
  }

 private:
  std::optional<VirtAddr> first_task() const {
    if (const auto named = kernel_.address_of("init_task"); named && is_task(kernel_, reader_, *named)) return named;
    for (const auto& task : current_)
      if (task)
        if (const auto first = first_ancestor(kernel_, reader_, *task)) return first;
    return search_image(kernel_, reader_);
  }

  void follow(VirtAddr first) {
    const VirtAddr head = first + reader_.tasks()->offset;
    for (const VirtAddr node : list_nodes(kernel_.memory(), head, "the list of processes", kMaxTasks, found_.problems))
      add_process(VirtAddr(node.value - reader_.tasks()->offset));
  }

  /// Without the first task: whole families of those that run.
  void follow_current() {
    for (const auto& task : current_) {
      const auto leader = task ? reader_.leader(*task) : std::nullopt;
      if (!leader || !is_task(kernel_, reader_, *leader) || known_.contains(leader->value)) continue;
      add_process(*leader);
      std::vector<std::string> ignored;
      for (const VirtAddr node :
           list_nodes(kernel_.memory(), *leader + reader_.tasks()->offset, "", kMaxTasks, ignored))
        add_process(VirtAddr(node.value - reader_.tasks()->offset));
    }
  }

  void add_process(VirtAddr leader) {
    if (!is_task(kernel_, reader_, leader)) {
      found_.problems.push_back(fmt::format("the list of processes has {:#x}, where no task is", leader.value));
      return;
    }
    if (reader_.pid(leader) == 0) return;  // the first task, where the walk began elsewhere
    for (const VirtAddr thread : reader_.threads(leader, found_.problems)) {
      if (known_.contains(thread.value) || found_.list.size() + problems_of_tasks_ > kMaxTasks) continue;
      if (!is_task(kernel_, reader_, thread)) {
        ++problems_of_tasks_;
        continue;
      }
      known_.emplace(thread.value, found_.list.size());
      found_.list.push_back(reader_.read(thread));
    }
  }

  /// By its name, or by each CPU's tasks: its runqueue. For CPUs whose current task nothing else tells: an aarch64 one
  /// that comes from user mode, or goes there, has the program's stack pointer in SP_EL0. Kernels without names of data
  /// lack the one, those that schedule no groups the other.
  void find_runqueues() {
    const auto note = [&](uint32_t cpu, std::optional<VirtAddr> runqueue) {
      if (runqueue && reader_.runqueue_cpu(*runqueue) == cpu) runqueues_.try_emplace(cpu, *runqueue);
    };
    for (const uint32_t cpu : kernel_.online_cpus()) note(cpu, kernel_.per_cpu("runqueues", cpu));
    for (const Task& task : found_.list)
      if (task.cpu && !runqueues_.contains(*task.cpu)) note(*task.cpu, reader_.runqueue(task.address));
    for (size_t vcpu = 0; vcpu < current_.size(); ++vcpu) {
      if (current_[vcpu] || is_outside_kernel(kernel_.dump().cpus()[vcpu].registers)) continue;
      const auto runqueue = runqueues_.find(kernel_.cpu_number(vcpu).value_or(static_cast<uint32_t>(vcpu)));
      if (runqueue == runqueues_.end()) continue;
      const auto task = reader_.runqueue_current(runqueue->second);
      if (task && is_task(kernel_, reader_, *task)) current_[vcpu] = task;
    }
  }

  void find_idle(std::optional<VirtAddr> first) {
    std::vector<VirtAddr> idle;
    const auto add = [&](std::optional<VirtAddr> task) {
      if (task && is_task(kernel_, reader_, *task) && reader_.pid(*task) == 0 &&
          std::ranges::find(idle, *task) == idle.end())
        idle.push_back(*task);
    };
    add(first);
    for (const auto& [cpu, runqueue] : runqueues_) add(reader_.runqueue_idle(runqueue));
    for (const auto& task : current_) add(task);
    for (const VirtAddr task : idle) found_.idle.push_back(reader_.read(task));
    std::ranges::sort(found_.idle, {}, [](const Task& task) { return std::pair(task.cpu.value_or(0), task.address); });
  }

  void mark_running() {
    std::set<uint64_t> unseen;
    if (current_.empty())
      for (const auto& [cpu, runqueue] : runqueues_)
        if (const auto task = reader_.runqueue_current(runqueue); task && is_task(kernel_, reader_, *task))
          unseen.insert(task->value);
    const auto mark = [&](std::vector<Task>& tasks) {
      for (Task& task : tasks) {
        task.runs_unseen = unseen.contains(task.address.value);
        for (size_t vcpu = 0; vcpu < current_.size(); ++vcpu)
          if (current_[vcpu] == task.address) {
            task.running_on = vcpu;
            task.registers = kernel_.dump().cpus()[vcpu].registers;
          }
      }
    };
    // A task may run that is on no list: one that is being made or is at its end.
    const auto add = [&](VirtAddr task) {
      if (!known_.contains(task.value) && reader_.pid(task) != 0) found_.list.push_back(reader_.read(task));
    };
    for (const auto& task : current_)
      if (task) add(*task);
    for (const uint64_t task : unseen) add(VirtAddr(task));
    mark(found_.list);
    mark(found_.idle);
    if (problems_of_tasks_ != 0)
      found_.problems.push_back(fmt::format("{} threads on the lists are no tasks", problems_of_tasks_));
  }

  const Kernel& kernel_;
  const TaskReader& reader_;
  TaskList found_;
  std::vector<std::optional<VirtAddr>> current_;  // of each vCPU
  std::unordered_map<uint64_t, size_t> known_;
  std::unordered_map<uint32_t, VirtAddr> runqueues_;
  size_t problems_of_tasks_ = 0;
};

const Task* task_on(const TaskList& tasks, size_t vcpu) {
  for (const auto* list : {&tasks.list, &tasks.idle})
    for (const Task& task : *list)
      if (task.running_on == vcpu) return &task;
  return nullptr;
}

}  // namespace

Expected<TaskList> find_tasks(const Kernel& kernel) {
  const auto reader = TaskReader::make(kernel);
  if (!reader) return std::unexpected(reader.error());
  return Finder(kernel, *reader).find();
}

std::optional<VirtAddr> find_current_task(const Kernel& kernel, size_t vcpu) {
  if (vcpu >= kernel.dump().cpus().size()) return std::nullopt;
  const auto reader = TaskReader::make(kernel);
  if (!reader) return std::nullopt;
  if (const auto task = current_by_cpu(kernel, *reader, vcpu)) return task;
  const Task* task = kernel.tasks() ? task_on(*kernel.tasks(), vcpu) : nullptr;
  return task != nullptr ? std::optional(task->address) : std::nullopt;
}

std::optional<Task> find_task(const Kernel& kernel, VirtAddr address) {
  const auto reader = TaskReader::make(kernel);
  if (!reader || !is_task(kernel, *reader, address)) return std::nullopt;
  return reader->read(address);
}

Stack find_stack(const Kernel& kernel, const Task& task) {
  if (task.running_on) return find_stack_of_cpu(kernel, *task.running_on);
  if (task.runs_unseen) return {.why_ended = "the task runs on a CPU, whose registers the dump does not have"};
  if (task.stack == VirtAddr(0)) return {.why_ended = "the task has no kernel stack"};
  return unwind(kernel, task.registers);
}

Stack find_stack_of_cpu(const Kernel& kernel, size_t vcpu) {
  if (vcpu >= kernel.dump().cpus().size()) return {.why_ended = "the dump has no such vCPU"};
  return unwind(kernel, kernel.dump().cpus()[vcpu].registers);
}

std::optional<format::RegisterFile> find_user_registers(const Kernel& kernel, const Task& task) {
  if (task.is_kernel_thread) return std::nullopt;
  if (task.running_on && is_user_mode(task.registers)) return task.registers;
  if (task.stack == VirtAddr(0) || task.stack_size == 0) return std::nullopt;
  return linux_machine(kernel.memory().machine()).user_registers(kernel, task.stack + task.stack_size);
}

}  // namespace gcore::reader::linux_guest
