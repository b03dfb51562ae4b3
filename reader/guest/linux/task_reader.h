// How one task_struct is read: where its members are, by their names in the kernel's types. Private to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/machine.h"
#include "reader/guest/linux/tasks.h"

namespace gcore::reader::linux_guest {

/// A member's place and size; nothing where this kernel has none of that name.
struct FieldPlace {
  uint64_t offset = 0, size = 0;
};
using Field = std::optional<FieldPlace>;

/// Members of a struct of the kernel, looked up once.
class TaskReader {
 public:
  /// Error: the kernel's types are missing, or have no task_struct.
  static Expected<TaskReader> make(const Kernel& kernel);

  /// Everything of a task that its task_struct leads to, but for what it runs on. Absent parts stay empty.
  Task read(VirtAddr task) const;

  /// "the kernel's types have no task_struct.stack", one sentence for each member that was looked for in vain.
  const std::vector<std::string>& missing() const { return missing_; }

  std::optional<uint64_t> number(VirtAddr object, const Field& field) const;
  std::optional<VirtAddr> pointer(VirtAddr object, const Field& field) const;

  std::optional<int32_t> pid(VirtAddr task) const;
  std::optional<VirtAddr> parent(VirtAddr task) const { return pointer(task, real_parent_); }
  std::optional<VirtAddr> leader(VirtAddr task) const { return pointer(task, group_leader_); }

  const Field& tasks() const { return tasks_; }
  const Field& comm() const { return comm_; }
  /// The ring of a process's threads: of signal_struct.thread_head and task_struct.thread_node, or thread_group.
  std::vector<VirtAddr> threads(VirtAddr leader, std::vector<std::string>& problems) const;

  /// The task's runqueue and who runs there: by its se.cfs_rq, for kernels without data symbols.
  std::optional<VirtAddr> runqueue(VirtAddr task) const;
  std::optional<uint64_t> runqueue_cpu(VirtAddr runqueue) const { return number(runqueue, rq_cpu_); }
  std::optional<VirtAddr> runqueue_current(VirtAddr runqueue) const { return pointer(runqueue, rq_curr_); }
  std::optional<VirtAddr> runqueue_idle(VirtAddr runqueue) const { return pointer(runqueue, rq_idle_); }

 private:
  explicit TaskReader(const Kernel& kernel)
      : kernel_(kernel), memory_(kernel.memory()), machine_(linux_machine(memory_.machine())) {}
  void look_up();
  Field field(std::string_view type, std::initializer_list<std::string_view> paths, bool required = false);

  /// By the pages of the area that the stack is; the first task's by names. 0: not known.
  uint64_t stack_size(VirtAddr task) const;
  void read_state(VirtAddr address, Task& task) const;
  void read_times(VirtAddr address, Task& task) const;
  void read_memory(VirtAddr address, Task& task) const;
  void read_registers(VirtAddr address, Task& task) const;
  std::string command_line(const Task& task) const;

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const LinuxMachine& machine_;
  std::vector<std::string> missing_{};
  uint64_t stack_size_ = 0;  // of the first task
  Field stack_area_, stack_pages_, tasks_, comm_, pid_, tgid_, real_parent_, group_leader_, state_, exit_state_, flags_,
      stack_, mm_, cpu_, signal_, thread_head_, thread_node_, thread_group_, start_, last_run_, voluntary_,
      involuntary_, user_time_, system_time_, saved_registers_, pgd_, arg_start_, arg_end_, cfs_rq_, cfs_rq_rq_,
      rq_cpu_, rq_curr_, rq_idle_;
};

/// A list of the kernel (struct list_head) from its head on: addresses of the nodes. Stops where it is torn, which adds
/// a sentence to `problems`; goes on backwards then. Bounded, and never in a circle.
std::vector<VirtAddr> list_nodes(const KernelMemory& memory, VirtAddr head, std::string_view what, size_t max,
                                 std::vector<std::string>& problems);

}  // namespace gcore::reader::linux_guest
