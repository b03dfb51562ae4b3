// A running Linux kernel in a dump: what it knows of itself, found once and kept.
//
//   auto kernel = Kernel::find(dump, Guest(dump).system());
//   if (!kernel) return fail(kernel.error());
//   for (const Task& task : (*kernel)->tasks().list) print(task.pid, task.name);
//
// Each part is found when it is first asked for. A part that cannot be had says why, and does without what it lacks
// where it can: a kernel without BTF still has names, one without data symbols still has its running tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/error.h"
#include "reader/guest/guest_system.h"
#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/messages.h"
#include "reader/guest/linux/modules.h"
#include "reader/guest/linux/names.h"
#include "reader/guest/linux/tasks.h"
#include "reader/guest/linux/types.h"
#include "reader/guest/linux/unwind.h"
#include "reader/guest/linux/unwind_tables.h"

namespace gcore::reader::linux_guest {

struct TaskList {
  std::vector<Task> list{};             // processes in the order of the kernel's list, each followed by its threads
  std::vector<Task> idle{};             // of each CPU the one that runs when none else does: PID 0, on no list
  std::vector<std::string> problems{};  // what could not be followed or read, one sentence each
};

class Kernel {
 public:
  /// Error: no Linux kernel in the dump, a machine that is neither x86_64 nor aarch64, no page tables of the kernel.
  static Expected<std::unique_ptr<Kernel>> find(const Dump& dump, const GuestSystem& guest);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  const Dump& dump() const;
  const GuestSystem& guest() const;
  const KernelMemory& memory() const;

  /// All of these may be called by several threads; what they return lives as long as the Kernel.
  const Expected<Names>& names() const;  // with the modules' symbols
  const Expected<Types>& types() const;
  const Expected<std::vector<Module>>& modules() const;
  const Expected<TaskList>& tasks() const;
  const Expected<Messages>& messages() const;
  /// x86_64: the ORC tables. Empty on other machines.
  const UnwindTables& unwind_tables() const;

  /// Names and types of modules, by name of the module; nullptr where it has no BTF or that is not sound.
  const Types* module_types(std::string_view module) const;

  /// Shorthands that are empty where names() or types() are not there.
  std::optional<VirtAddr> address_of(std::string_view symbol) const;
  std::optional<uint64_t> offset(std::string_view type, std::string_view path) const;
  std::optional<Place> lookup(VirtAddr address) const;

  /// Where a CPU has its copy of a per-CPU symbol; nothing when that is not known. `cpu` is the kernel's number.
  std::optional<VirtAddr> per_cpu(VirtAddr symbol, uint32_t cpu) const;
  std::optional<VirtAddr> per_cpu(std::string_view symbol, uint32_t cpu) const;
  /// The kernel's number of a vCPU (index into Dump::cpus()), and the address of the task that runs there.
  std::optional<uint32_t> cpu_number(size_t vcpu) const;
  std::optional<VirtAddr> current_task(size_t vcpu) const;
  /// The task at this address, which need not be on the lists; nothing when there is none.
  std::optional<Task> task_at(VirtAddr address) const;
  /// Online CPUs that the kernel knows, by number.
  std::span<const uint32_t> online_cpus() const;

  /// Nanoseconds since boot at the moment of the dump, as far as the kernel's clocks say.
  std::optional<uint64_t> uptime_ns() const;
  /// Load averages of 1, 5, 15 minutes in hundredths.
  struct Load {
    uint32_t one = 0, five = 0, fifteen = 0;
  };
  std::optional<Load> load() const;

  /// The stack of a task: sleeping from its saved registers, running from its vCPU's.
  Stack stack_of(const Task& task) const;
  Stack stack_of_cpu(size_t vcpu) const;
  /// A process's address space (nothing for kernel threads); problems as a sentence in the error.
  Expected<std::vector<MemoryArea>> areas_of(const Task& task) const;
  /// Registers that the task had in user mode when it last entered the kernel: pt_regs at the top of its stack.
  std::optional<format::RegisterFile> user_registers(const Task& task) const;

 private:
  struct State;
  explicit Kernel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader::linux_guest
