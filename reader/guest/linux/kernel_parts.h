// The parts of a Kernel, each found by a function of its own. Private to the reader: Kernel keeps what they return.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "reader/error.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

// modules.cc. `names` are the kernel's own.
Expected<std::vector<Module>> find_modules(const KernelMemory& memory, const GuestSystem& guest, const Names& names,
                                           const Expected<Types>& types);

// per_cpu.cc
/// Where each CPU's per-CPU area is: what is added to a symbol's address. By the kernel's number of the CPU; 0:
/// unknown.
struct PerCpu {
  std::vector<uint64_t> offsets{};
  std::vector<uint32_t> online{};
  std::vector<std::optional<uint32_t>> numbers{};  // of each vCPU of the dump
};
PerCpu find_per_cpu(const KernelMemory& memory, const Expected<Names>& names);

// tasks.cc
Expected<TaskList> find_tasks(const Kernel& kernel);
std::optional<VirtAddr> find_current_task(const Kernel& kernel, size_t vcpu);
std::optional<Task> find_task(const Kernel& kernel, VirtAddr address);
Expected<std::vector<MemoryArea>> find_areas(const Kernel& kernel, const Task& task);
std::optional<format::RegisterFile> find_user_registers(const Kernel& kernel, const Task& task);
Stack find_stack(const Kernel& kernel, const Task& task);
Stack find_stack_of_cpu(const Kernel& kernel, size_t vcpu);

// messages.cc
Expected<Messages> read_messages(const Kernel& kernel);
std::optional<uint64_t> find_uptime_ns(const Kernel& kernel);
std::optional<Kernel::Load> find_load(const Kernel& kernel);

}  // namespace gcore::reader::linux_guest
