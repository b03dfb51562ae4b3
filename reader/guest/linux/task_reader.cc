#include "reader/guest/linux/task_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_set>

#include "reader/guest/linux/process_memory.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxThreads = 1 << 20;
constexpr size_t kMaxCommandLine = 4096;
constexpr uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD
// include/linux/sched.h: bits of task_struct.__state and exit_state. These have stood since Linux 4.14.
constexpr uint64_t kUninterruptible = 0x2, kReported = 0x7f, kNoLoad = 0x400, kRtLockWait = 0x1000, kFrozen = 0x8000;

/// 16 KiB, 32 KiB with KASAN, 64 KiB with pages of 64 KiB; 0 for what is no size of a stack.
constexpr uint64_t kMaxStack = 1 << 20;
uint64_t plausible_stack_size(uint64_t size) {
  return std::has_single_bit(size) && size >= 4096 && size <= kMaxStack ? size : 0;
}

/// As fs/proc/array.c has it: get_task_state().
char state_letter(uint64_t state, uint64_t exit_state) {
  constexpr std::string_view kLetters = "RSDTtXZPI";
  constexpr uint64_t kIdle = kUninterruptible | kNoLoad;
  uint64_t shown = (state | exit_state) & kReported;
  if ((state & kIdle) == kIdle) shown = kReported + 1;
  if ((state & (kRtLockWait | kFrozen)) != 0) shown = kUninterruptible;
  return kLetters[static_cast<size_t>(std::bit_width(shown))];
}

}  // namespace

std::vector<VirtAddr> list_nodes(const KernelMemory& memory, VirtAddr head, std::string_view what, size_t max,
                                 std::vector<std::string>& problems) {
  std::vector<VirtAddr> nodes;
  std::unordered_set<uint64_t> seen{head.value};
  const auto follow = [&](uint64_t link, std::vector<VirtAddr>& into) -> std::string {
    for (VirtAddr at = head;;) {
      const auto next = memory.pointer(at + link);
      if (!next) return fmt::format("{:#x} cannot be read", at.value);
      if (*next == head) return "";
      if (!memory.is_kernel_address(*next)) return fmt::format("{:#x} leads to {:#x}", at.value, next->value);
      if (!seen.insert(next->value).second) return fmt::format("{:#x} leads back to {:#x}", at.value, next->value);
      if (seen.size() > max) return fmt::format("it is longer than {}", max);
      into.push_back(*next);
      at = *next;
    }
  };
  const std::string why = follow(0, nodes);
  if (why.empty()) return nodes;
  problems.push_back(fmt::format("{} is torn: {}", what, why));
  std::vector<VirtAddr> rest;
  if (seen.size() <= max) follow(8, rest);
  nodes.insert(nodes.end(), rest.rbegin(), rest.rend());
  return nodes;
}

Expected<TaskReader> TaskReader::make(const Kernel& kernel) {
  if (!kernel.types()) return std::unexpected(kernel.types().error());
  TaskReader reader(kernel);
  reader.look_up();
  if (!reader.tasks_ || !reader.pid_ || !reader.comm_)
    return std::unexpected(
        Error{Error::Kind::malformed, "cannot read the tasks: the kernel's types have no task_struct as Linux has it"});
  return reader;
}

Field TaskReader::field(std::string_view type, std::initializer_list<std::string_view> paths, bool required) {
  for (const std::string_view path : paths)
    if (const auto member = kernel_.types()->member(type, path)) return FieldPlace{member->offset, member->size};
  if (required) missing_.push_back(fmt::format("the kernel's types have no {}.{}", type, *paths.begin()));
  return std::nullopt;
}

void TaskReader::look_up() {
  constexpr std::string_view kTask = "task_struct";
  tasks_ = field(kTask, {"tasks"}, true);
  comm_ = field(kTask, {"comm"}, true);
  pid_ = field(kTask, {"pid"}, true);
  tgid_ = field(kTask, {"tgid"}, true);
  real_parent_ = field(kTask, {"real_parent"}, true);
  group_leader_ = field(kTask, {"group_leader"}, true);
  state_ = field(kTask, {"__state", "state"}, true);
  exit_state_ = field(kTask, {"exit_state"}, true);
  flags_ = field(kTask, {"flags"}, true);
  stack_ = field(kTask, {"stack"}, true);
  mm_ = field(kTask, {"mm"}, true);
  cpu_ = field(kTask, {"thread_info.cpu", "cpu"}, true);
  signal_ = field(kTask, {"signal"}, true);
  thread_node_ = field(kTask, {"thread_node"});
  thread_head_ = field("signal_struct", {"thread_head"});
  thread_group_ = field(kTask, {"thread_group"});
  start_ = field(kTask, {"start_boottime", "real_start_time", "start_time"});
  last_run_ = field(kTask, {"sched_info.last_arrival"});
  voluntary_ = field(kTask, {"nvcsw"});
  involuntary_ = field(kTask, {"nivcsw"});
  user_time_ = field(kTask, {"utime"});
  system_time_ = field(kTask, {"stime"});
  saved_registers_ = field(kTask, {machine_.saved_registers_at}, true);
  pgd_ = field("mm_struct", {"pgd"}, true);
  arg_start_ = field("mm_struct", {"arg_start"});
  arg_end_ = field("mm_struct", {"arg_end"});
  cfs_rq_ = field(kTask, {"se.cfs_rq"});
  cfs_rq_rq_ = field("cfs_rq", {"rq"});
  rq_cpu_ = field("rq", {"cpu"});
  rq_curr_ = field("rq", {"curr"});
  rq_idle_ = field("rq", {"idle"});
  stack_area_ = field(kTask, {"stack_vm_area"});
  stack_pages_ = field("vm_struct", {"nr_pages"});
  // The first task's, which is in the kernel's image.
  for (const auto& [first, last] :
       {std::pair("__start_init_stack", "__end_init_stack"), std::pair("__start_init_task", "__end_init_task")})
    if (const auto start = kernel_.address_of(first), end = kernel_.address_of(last); start && end && stack_size_ == 0)
      stack_size_ = plausible_stack_size(end->value - start->value);
}

uint64_t TaskReader::stack_size(VirtAddr task) const {
  const auto area = pointer(task, stack_area_);
  const auto pages = area && memory_.is_kernel_address(*area) ? number(*area, stack_pages_) : std::nullopt;
  const unsigned shift = memory_.space().translator().paging().upper.page_shift;
  const uint64_t size = pages && *pages < kMaxStack ? plausible_stack_size(*pages << shift) : 0;
  return size != 0 ? size : stack_size_;
}

std::optional<uint64_t> TaskReader::number(VirtAddr object, const Field& field) const {
  if (!field || field->size == 0 || field->size > 8) return std::nullopt;
  return memory_.number(object + field->offset, field->size);
}

std::optional<VirtAddr> TaskReader::pointer(VirtAddr object, const Field& field) const {
  if (!field) return std::nullopt;
  return memory_.pointer(object + field->offset);
}

std::optional<int32_t> TaskReader::pid(VirtAddr task) const {
  return number(task, pid_).transform([](uint64_t value) { return static_cast<int32_t>(value); });
}

std::vector<VirtAddr> TaskReader::threads(VirtAddr leader, std::vector<std::string>& problems) const {
  std::vector<VirtAddr> threads{leader};
  const auto add = [&](VirtAddr head, const Field& node) {
    const std::string what = fmt::format("the list of the threads of PID {}", pid(leader).value_or(-1));
    for (const VirtAddr at : list_nodes(memory_, head, what, kMaxThreads, problems))
      if (const VirtAddr task(at.value - node->offset); task != leader) threads.push_back(task);
  };
  const auto signal = pointer(leader, signal_);
  if (thread_head_ && thread_node_ && signal && memory_.is_kernel_address(*signal))
    add(*signal + thread_head_->offset, thread_node_);
  else if (thread_group_)
    add(leader + thread_group_->offset, thread_group_);
  return threads;
}

std::optional<VirtAddr> TaskReader::runqueue(VirtAddr task) const {
  const auto cfs_rq = pointer(task, cfs_rq_);
  if (!cfs_rq || !memory_.is_kernel_address(*cfs_rq)) return std::nullopt;
  const auto rq = pointer(*cfs_rq, cfs_rq_rq_);
  return rq && memory_.is_kernel_address(*rq) ? rq : std::nullopt;
}

Task TaskReader::read(VirtAddr address) const {
  Task task{.address = address, .registers = format::RegisterFile(memory_.machine())};
  task.pid = pid(address).value_or(0);
  task.tgid = static_cast<int32_t>(number(address, tgid_).value_or(0));
  if (const auto parent = pointer(address, real_parent_); parent && memory_.is_kernel_address(*parent))
    task.parent = static_cast<int32_t>(number(*parent, tgid_).value_or(0));
  task.name = memory_.text(address + comm_->offset, std::min<uint64_t>(comm_->size, 64)).value_or("");
  if (const auto cpu = number(address, cpu_)) task.cpu = static_cast<uint32_t>(*cpu);
  const VirtAddr node = address + tasks_->offset;
  task.boots = task.pid == 0 && memory_.pointer(node) == node;
  read_state(address, task);
  read_times(address, task);
  read_memory(address, task);
  read_registers(address, task);
  return task;
}

void TaskReader::read_state(VirtAddr address, Task& task) const {
  const auto state = number(address, state_), exit_state = number(address, exit_state_);
  if (state && exit_state) {
    task.state = state_letter(*state, *exit_state);
    task.state_bits = *state | *exit_state;
  }
  task.is_kernel_thread = (number(address, flags_).value_or(0) & kKernelThread) != 0;
}

void TaskReader::read_times(VirtAddr address, Task& task) const {
  task.start_ns = number(address, start_);
  task.last_run_ns = number(address, last_run_);
  const auto voluntary = number(address, voluntary_), involuntary = number(address, involuntary_);
  if (voluntary && involuntary) task.switches = *voluntary + *involuntary;
  task.user_time_ns = number(address, user_time_);
  task.system_time_ns = number(address, system_time_);
}

void TaskReader::read_memory(VirtAddr address, Task& task) const {
  if (const auto stack = pointer(address, stack_); stack && memory_.is_kernel_address(*stack)) {
    task.stack = *stack;
    task.stack_size = stack_size(address);
  }
  const auto mm = pointer(address, mm_);
  if (!mm || !memory_.is_kernel_address(*mm)) return;
  task.mm = *mm;
  if (task.is_kernel_thread) return;  // it borrows a process's now and then
  const auto root = pointer(*mm, pgd_);
  const auto there = root ? memory_.space().translate(*root) : std::unexpected(Fault{});
  if (!there) return;
  task.root = there->address;
  if (task.is_process()) task.command_line = command_line(task);
}

std::string TaskReader::command_line(const Task& task) const {
  const auto start = number(task.mm, arg_start_), end = number(task.mm, arg_end_);
  if (!start || !end || *start >= *end) return "";
  const auto space = process_space(memory_, *task.root);
  if (!space) return "";
  std::string text(std::min<uint64_t>(*end - *start, kMaxCommandLine), '\0');
  text.resize(space->read(VirtAddr(*start), std::as_writable_bytes(std::span(text))).bytes);
  while (text.ends_with('\0')) text.pop_back();
  std::ranges::replace(text, '\0', ' ');
  return text;
}

/// What it sleeps with.
void TaskReader::read_registers(VirtAddr address, Task& task) const {
  if (!saved_registers_) return;
  // The stack of one that is dead has been given back: what it once saved would lead into another's.
  if (pointer(address, stack_) == VirtAddr(0)) return;
  VirtAddr from = address + saved_registers_->offset;
  if (machine_.saved_on_stack) {
    const auto sp = number(address, saved_registers_);
    if (!sp || !memory_.is_kernel_address(VirtAddr(*sp))) return;
    from = VirtAddr(*sp);
    static_cast<void>(task.registers.set(format::machine_info(machine_.machine).stack_pointer,
                                         *sp + machine_.saved_registers.size() * 8));
  }
  for (const std::string_view name : machine_.saved_registers) {
    if (const auto value = memory_.u64(from)) static_cast<void>(task.registers.set(name, *value));
    from = from + 8;
  }
}

}  // namespace gcore::reader::linux_guest
