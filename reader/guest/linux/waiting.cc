#include "reader/guest/linux/waiting.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "reader/guest/linux/blocked_time.h"
#include "reader/guest/linux/file_systems.h"
#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMaxStack = 64 << 10;  // aarch64 with pages of 64K; x86_64: 16K
constexpr uint64_t kOwnerFlags = 7;     // tasks are aligned to more than that
// include/linux/sched.h: TASK_FROZEN, from 6.1 on. Before it a frozen task sleeps in __refrigerator().
constexpr uint64_t kFrozen = 0x8000;
constexpr char kOnItsWay[] = "nobody has it at this moment: it is on its way to a waiter";

bool starts_with_any(std::string_view name, std::initializer_list<std::string_view> heads) {
  return std::ranges::any_of(heads, [&](std::string_view head) { return name.starts_with(head); });
}

/// Which kind of lock these functions wait for.
std::optional<Waiting::What> kind_by_function(std::string_view name) {
  using What = Waiting::What;
  if (starts_with_any(name, {"__mutex_lock", "mutex_lock", "__ww_mutex_lock", "ww_mutex_lock"})) return What::mutex;
  if (starts_with_any(name, {"rwsem_down_read", "down_read", "__down_read"})) return What::rwsem_to_read;
  if (starts_with_any(name, {"rwsem_down_write", "down_write", "__down_write"})) return What::rwsem_to_write;
  if (name == "down" ||
      starts_with_any(name, {"__down", "___down", "down_interruptible", "down_killable", "down_timeout"}))
    return What::semaphore;
  return std::nullopt;
}

/// Where the kernel's lock structures have what is needed. By BTF; without it as they have been for ten years.
struct LockLayout {
  explicit LockLayout(const Kernel& kernel) {
    const auto learn = [&](uint64_t& value, std::string_view type, std::string_view path) {
      if (const auto offset = kernel.offset(type, path)) value = *offset;
    };
    learn(mutex_list, "mutex", "wait_list");
    learn(mutex_owner, "mutex", "owner");
    learn(rwsem_list, "rw_semaphore", "wait_list");
    learn(rwsem_owner, "rw_semaphore", "owner");
    learn(rwsem_count, "rw_semaphore", "count");
    learn(semaphore_list, "semaphore", "wait_list");
    // From Linux 7.0 on the waiters are a ring, to one of which the lock has a pointer.
    for (const auto& [type, list] : {std::pair{"mutex", &mutex_list}, std::pair{"rw_semaphore", &rwsem_list},
                                     std::pair{"semaphore", &semaphore_list}})
      if (const auto offset = kernel.offset(type, "first_waiter")) {
        *list = *offset;
        first_waiters.push_back(*offset);
      }
    // In kernels for real time (PREEMPT_RT) mutexes and rwsems are made of these.
    for (const char* type : {"rt_mutex", "rt_mutex_base"})
      if (const auto first = kernel.offset(type, "waiters.rb_leftmost"), owner = kernel.offset(type, "owner");
          first && owner) {
        rt_mutex_first = first;
        rt_mutex_owner = *owner;
      }
    rt_waiter_lock = kernel.offset("rt_mutex_waiter", "lock");
    if (const auto offset = kernel.offset("rw_semaphore", "rwbase.rtmutex")) rwsem_rt_mutex = *offset;
    learn(completion_list, "completion", "wait.task_list");
    learn(queue_list, "wait_queue_head", "head");
    percpu_rwsem_queue = kernel.offset("percpu_rw_semaphore", "waiters");
    percpu_rwsem_block = kernel.offset("percpu_rw_semaphore", "block");
    mmap_lock = kernel.offset("mm_struct", "mmap_lock");
    if (!mmap_lock) mmap_lock = kernel.offset("mm_struct", "mmap_sem");
  }
  uint64_t mutex_list = 16, mutex_owner = 0;
  uint64_t rwsem_list = 24, rwsem_owner = 8, rwsem_count = 0;
  uint64_t semaphore_list = 8, completion_list = 16, queue_list = 8;
  std::vector<uint64_t> first_waiters;  // offsets; empty: the locks have lists
  std::optional<uint64_t> rt_mutex_first, rt_waiter_lock;
  uint64_t rt_mutex_owner = 0, rwsem_rt_mutex = 0;
  std::optional<uint64_t> percpu_rwsem_queue, percpu_rwsem_block;
  std::optional<uint64_t> mmap_lock;
};

class WaitFinder {
 public:
  WaitFinder(const Kernel& kernel, const std::vector<Task>& tasks)
      : kernel_(kernel), memory_(kernel.memory()), tasks_(tasks), layout_(kernel), time_(kernel) {
    for (size_t i = 0; i < tasks.size(); ++i) {
      index_.emplace(tasks[i].address.value, i);
      if (tasks[i].stack != VirtAddr(0)) stacks_.emplace_back(tasks[i].stack.value, stack_size(tasks[i]));
    }
    std::ranges::sort(stacks_);
  }

  Waits find() {
    for (size_t i = 0; i < tasks_.size(); ++i) {
      const Task& task = tasks_[i];
      if (task.running_on || task.state == 'R' || task.state == 'Z' || task.state == 'X') continue;
      if ((task.state_bits & kFrozen) != 0) continue;
      Waiting waiting{.task = i};
      look_at_stack(task, waiting);
      const bool is_lock = waiting.what == Waiting::What::lock || waiting.what == Waiting::What::rt_mutex;
      if (!is_lock && task.state != 'D') continue;
      complete(task, waiting);
      if (calls(waiting.stack, {"__refrigerator"})) continue;
      if (waiting.what == Waiting::What::wait_queue && task.state != 'D') continue;
      result_.by_task.emplace(i, result_.list.size());
      result_.list.push_back(std::move(waiting));
    }
    find_cycles();
    return std::move(result_);
  }

 private:
  /// Where the kernel does not say it: THREAD_SIZE as it nearly always is.
  uint64_t stack_size(const Task& task) const {
    if (task.stack_size != 0) return task.stack_size;
    return std::max<uint64_t>(16 << 10, std::min<uint64_t>(kernel_.guest().page_size.value_or(4096), kMaxStack));
  }

  /// Looks for a node of a list beside a pointer to the task itself, from the stack pointer up.
  void look_at_stack(const Task& task, Waiting& waiting) {
    const auto sp = task.registers.get(format::machine_info(memory_.machine()).stack_pointer);
    const uint64_t end = task.stack.value + stack_size(task);
    if (!sp || task.stack == VirtAddr(0) || *sp < task.stack.value || *sp >= end) return;
    const uint64_t start = std::max(*sp & ~uint64_t{7}, end - std::min<uint64_t>(end - *sp, kMaxStack));
    bytes_.resize((end - start) / 8 * 8);
    bytes_.resize(memory_.read(VirtAddr(start), bytes_) / 8 * 8);
    const auto word = [&](size_t i) { return format::load<uint64_t>(&bytes_[i * 8], kernel_.dump().byte_order()); };
    const size_t words = bytes_.size() / 8;
    const auto node = [&](size_t at) { return VirtAddr(start + at * 8); };
    std::vector<size_t> places;  // of pointers to the task
    for (size_t i = 0; i < words; ++i)
      if (word(i) == task.address.value) places.push_back(i);
    // The kinds one after the other: a pointer to the task may also stand right before a lock's node, by chance.
    // struct mutex_waiter, rwsem_waiter, semaphore_waiter: list, task
    for (const size_t i : places)
      if (i >= 2)
        if (const auto head = layout_.first_waiters.empty() ? head_of(node(i - 2), word(i - 2), word(i - 1))
                                                            : pointer_to_ring(node(i - 2))) {
          take(*head, 0, Waiting::What::lock, waiting);  // until its kind is known
          break;
        }
    // struct swait_queue: task, task_list
    for (const size_t i : places)
      if (i + 2 < words && waiting.what == Waiting::What::unknown)
        if (const auto head = head_of(node(i + 1), word(i + 1), word(i + 2)))
          take(*head, layout_.completion_list, Waiting::What::completion, waiting);
    // struct wait_queue_entry: flags, private (the task), func, entry
    for (const size_t i : places)
      if (i + 3 < words && waiting.what == Waiting::What::unknown)
        if (const auto head = head_of(node(i + 2), word(i + 2), word(i + 3)))
          take(*head, layout_.queue_list, Waiting::What::wait_queue, waiting);
    // struct rt_mutex_waiter: nodes of two trees, task, lock
    for (const size_t i : places)
      if (i + 1 < words && waiting.what == Waiting::What::unknown && is_rt_mutex(VirtAddr(word(i + 1))))
        take(VirtAddr(word(i + 1)), 0, Waiting::What::rt_mutex, waiting);
  }

  static void take(VirtAddr head, uint64_t list_at, Waiting::What what, Waiting& waiting) {
    waiting.what = what;
    waiting.object = VirtAddr(head.value - list_at);
  }

  /// Follows a node's list to what is on no stack; nothing where that is no list.
  std::optional<VirtAddr> head_of(VirtAddr node, uint64_t next, uint64_t previous) const {
    if (!is_linked(node, next, previous)) return std::nullopt;
    VirtAddr at = VirtAddr(next);
    for (size_t steps = 0; steps <= tasks_.size() && at != node; ++steps) {
      if (!is_on_stack(at)) return at;
      const auto after = memory_.pointer(at);
      if (!after || memory_.pointer(*after + 8) != at) return std::nullopt;
      at = *after;
    }
    return std::nullopt;
  }
  /// Where a lock has its pointer to a ring of nodes on stacks, this one among them: the waiter's stack, which is in
  /// `bytes_`, leads to the lock. Nothing where that is no ring.
  std::optional<VirtAddr> pointer_to_ring(VirtAddr node) const {
    std::vector<uint64_t> ring{node.value};
    for (VirtAddr at = node;;) {
      const auto next = memory_.pointer(at);
      if (!next || next->value % 8 != 0 || !is_on_stack(*next) || memory_.pointer(*next + 8) != at) return std::nullopt;
      if (*next == node) break;
      if (ring.size() > tasks_.size()) return std::nullopt;
      ring.push_back(next->value);
      at = *next;
    }
    for (size_t i = 0; i + 8 <= bytes_.size(); i += 8) {
      const VirtAddr lock(format::load<uint64_t>(&bytes_[i], kernel_.dump().byte_order()));
      if (lock.value % 8 != 0 || !memory_.is_kernel_address(lock) || is_on_stack(lock)) continue;
      for (const uint64_t offset : layout_.first_waiters)
        if (const auto first = memory_.pointer(lock + offset);
            first && std::ranges::find(ring, first->value) != ring.end())
          return lock + offset;
    }
    return std::nullopt;
  }
  /// Its first waiter is on a stack and waits for it, and its owner is a task or (for a moment) nobody.
  bool is_rt_mutex(VirtAddr address) const {
    if (!layout_.rt_mutex_first || !layout_.rt_waiter_lock || address.value % 8 != 0 ||
        !memory_.is_kernel_address(address) || is_on_stack(address))
      return false;
    const auto first = memory_.pointer(address + *layout_.rt_mutex_first);
    const auto owner = memory_.u64(address + layout_.rt_mutex_owner);
    // The node in the tree is the first member of a waiter.
    if (!first || !owner || !is_on_stack(*first) || memory_.pointer(*first + *layout_.rt_waiter_lock) != address)
      return false;
    return (*owner & ~kOwnerFlags) == 0 || index_.contains(*owner & ~kOwnerFlags);
  }
  bool is_linked(VirtAddr node, uint64_t next, uint64_t previous) const {
    return next != node.value && next % 8 == 0 && previous % 8 == 0 && memory_.is_kernel_address(VirtAddr(next)) &&
           memory_.is_kernel_address(VirtAddr(previous)) && memory_.pointer(VirtAddr(next) + 8) == node &&
           memory_.pointer(VirtAddr(previous)) == node;
  }
  bool is_on_stack(VirtAddr address) const {
    auto after = std::ranges::upper_bound(stacks_, address.value, {}, &std::pair<uint64_t, uint64_t>::first);
    return after != stacks_.begin() && address.value - std::prev(after)->first < std::prev(after)->second;
  }

  /// Whether a function whose name starts with one of these is on the stack.
  static bool calls(const Stack& stack, std::initializer_list<std::string_view> heads) {
    return std::ranges::any_of(stack.frames, [&](const Frame& frame) {
      return frame.place && !frame.is_guess && starts_with_any(frame.place->symbol.name, heads);
    });
  }

  void complete(const Task& task, Waiting& waiting) {
    waiting.stack = kernel_.stack_of(task);
    waiting.where = first_of_interest(waiting.stack);
    waiting.blocked_ns = time_.of(task);
    waiting.is_io = calls(waiting.stack, {"io_schedule"});
    if (waiting.what == Waiting::What::lock) complete_lock(waiting);
    if (waiting.what == Waiting::What::rt_mutex) complete_rt_mutex(waiting);
    const bool is_lock = waiting.owner || !waiting.no_owner.empty();
    const bool is_percpu = waiting.what == Waiting::What::wait_queue && complete_percpu_rwsem(waiting);
    if (waiting.object == VirtAddr(0)) return;
    waiting.name = waiting.plain_name = name_of_data(kernel_, waiting.object);
    if (is_percpu) return look_at_file_systems(waiting);
    if (!is_lock || !layout_.mmap_lock) return;
    for (const Task& other : tasks_) {
      if (other.mm == VirtAddr(0) || other.mm + *layout_.mmap_lock != waiting.object) continue;
      waiting.plain_name = "mmap_lock";
      waiting.name = fmt::format("mmap_lock of {} (PID {})", other.name, other.tgid);
      return;
    }
  }

  void complete_lock(Waiting& waiting) {
    for (const Frame& frame : waiting.stack.frames) {
      if (!frame.place) continue;
      if (frame.place->symbol.name.find("wait_for_co") !=
          std::string_view::npos) {  // its node has the task on both sides
        take(waiting.object, layout_.completion_list, Waiting::What::completion, waiting);
        return;
      }
      if (const auto kind = kind_by_function(frame.place->symbol.name)) {
        waiting.what = *kind;
        break;
      }
    }
    const VirtAddr head = waiting.object;
    switch (waiting.what) {
      case Waiting::What::rwsem_to_read:
      case Waiting::What::rwsem_to_write:
        waiting.object = VirtAddr(head.value - layout_.rwsem_list);
        return find_rwsem_owner(waiting);
      case Waiting::What::semaphore:
        waiting.object = VirtAddr(head.value - layout_.semaphore_list);
        waiting.no_owner = "a semaphore does not say who has taken it";
        return;
      case Waiting::What::mutex:
        waiting.object = VirtAddr(head.value - layout_.mutex_list);
        return take_owner(waiting, memory_.u64(waiting.object + layout_.mutex_owner));
      default:
        return complete_unknown(waiting);
    }
  }

  /// Of an rwsem that is read the one that waits to write has it.
  void complete_rt_mutex(Waiting& waiting) const {
    take_owner(waiting, memory_.u64(waiting.object + layout_.rt_mutex_owner));
    for (const Frame& frame : waiting.stack.frames) {
      const auto kind = frame.place ? kind_by_function(frame.place->symbol.name) : std::nullopt;
      if (!kind) continue;
      waiting.what = *kind;
      if (*kind != Waiting::What::mutex) waiting.object = VirtAddr(waiting.object.value - layout_.rwsem_rt_mutex);
      return;
    }
  }

  /// No function of a lock is on the stack. Where functions have names it is none: a node of a wait queue may also have
  /// the task after it (block/blk-rq-qos.c). Else it is one only if what a mutex has of its owner is a task.
  void complete_unknown(Waiting& waiting) const {
    const VirtAddr head = waiting.object;
    const bool has_names =
        std::ranges::any_of(waiting.stack.frames, [](const Frame& frame) { return frame.place.has_value(); });
    const auto owner = memory_.u64(VirtAddr(head.value - layout_.mutex_list + layout_.mutex_owner));
    if (has_names || !owner || !index_.contains(*owner & ~kOwnerFlags))
      return take(head, layout_.queue_list, Waiting::What::wait_queue, waiting);
    take(head, layout_.mutex_list, Waiting::What::lock, waiting);
    take_owner(waiting, owner);
  }

  /// include/linux/percpu-rwsem.h: its waiters are in a queue. It says that a writer has it, and not who. (Of a writer
  /// that waits for readers it has the address alone, and no queue.)
  bool complete_percpu_rwsem(Waiting& waiting) {
    if (!layout_.percpu_rwsem_queue || !calls(waiting.stack, {"percpu_rwsem_wait"})) return false;
    waiting.what = calls(waiting.stack, {"percpu_down_write"}) ? Waiting::What::percpu_rwsem_to_write
                                                               : Waiting::What::percpu_rwsem_to_read;
    waiting.object = VirtAddr(waiting.object.value - *layout_.percpu_rwsem_queue);
    const auto block =
        layout_.percpu_rwsem_block ? memory_.u32(waiting.object + *layout_.percpu_rwsem_block) : std::nullopt;
    waiting.no_owner = block == 0 ? kOnItsWay : "a writer has it, and it does not say who";
    return true;
  }

  /// Each file system has three of them, for who writes to it, faults pages in, and works for it.
  void look_at_file_systems(Waiting& waiting) {
    if (!file_systems_) file_systems_ = find_file_systems(kernel_);
    for (const FileSystem& one : *file_systems_) {
      if (waiting.object.value - one.super_block.value >= one.size) continue;
      waiting.plain_name = "s_writers of " + one.type;
      waiting.name = fmt::format("{} on {}", waiting.plain_name, one.device);
      if (one.frozen)
        waiting.no_owner =
            "this file system is frozen (by fsfreeze, or by the guest's agent for a snapshot), and does "
            "not say by whom";
    }
  }

  // include/linux/rwsem.h, kernel/locking/rwsem.c: bit 0 of count: a writer has it; from bit 8 on: how many readers.
  void find_rwsem_owner(Waiting& waiting) const {
    const auto count = memory_.u64(waiting.object + layout_.rwsem_count);
    const auto owner = memory_.u64(waiting.object + layout_.rwsem_owner);
    if (count && owner && (*count & 1) == 0) {
      constexpr uint64_t kMostReaders = uint64_t{1} << 32;
      waiting.readers = *count >> 8 < kMostReaders ? *count >> 8 : 0;
      if (waiting.readers == 0) {
        waiting.no_owner = kOnItsWay;
        return;
      }
      if ((*owner & 1) == 0) {
        waiting.no_owner = fmt::format("{} readers have it, and it does not say who", waiting.readers);
        return;
      }
      waiting.owner_is_last_reader = true;
    }
    take_owner(waiting, owner);
  }

  void take_owner(Waiting& waiting, std::optional<uint64_t> owner) const {
    if (!owner) {
      waiting.no_owner = "the lock is not in the dump";
    } else if ((*owner & ~kOwnerFlags) == 0) {
      waiting.no_owner = kOnItsWay;
    } else if (const auto found = index_.find(*owner & ~kOwnerFlags); found != index_.end()) {
      waiting.owner = found->second;
    } else {
      waiting.no_owner =
          fmt::format("its owner would be at {:#x}, where no task is: it has ended, or the memory was overwritten",
                      *owner & ~kOwnerFlags);
    }
  }

  void find_cycles() {
    std::vector<uint8_t> seen(result_.list.size(), 0);  // 1: on this walk, 2: on one before
    for (size_t start = 0; start < seen.size(); ++start) {
      std::vector<size_t> walk;
      std::optional<size_t> at = start;
      while (at && seen[*at] == 0) {
        seen[*at] = 1;
        walk.push_back(*at);
        at = result_.next(*at);
      }
      if (at && seen[*at] == 1) result_.cycles.emplace_back(std::ranges::find(walk, *at), walk.end());
      for (const size_t i : walk) seen[i] = 2;
    }
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  const std::vector<Task>& tasks_;
  const LockLayout layout_;
  const BlockedTime time_;
  std::unordered_map<uint64_t, size_t> index_;         // address of a task to its index
  std::vector<std::pair<uint64_t, uint64_t>> stacks_;  // address, size; ascending
  std::vector<std::byte> bytes_;
  std::optional<std::vector<FileSystem>> file_systems_;  // once they are wanted
  Waits result_;
};

}  // namespace

std::optional<size_t> Waits::next(size_t waiting) const {
  if (!list[waiting].owner) return std::nullopt;
  const auto found = by_task.find(*list[waiting].owner);
  return found == by_task.end() ? std::nullopt : std::optional(found->second);
}

Expected<Waits> find_waits(const Kernel& kernel) {
  const auto& tasks = kernel.tasks();
  if (!tasks) return std::unexpected(tasks.error());
  return find_waits(kernel, tasks->list);
}

Waits find_waits(const Kernel& kernel, const std::vector<Task>& tasks) { return WaitFinder(kernel, tasks).find(); }

const char* to_string(Waiting::What what) {
  switch (what) {
    case Waiting::What::mutex:
      return "mutex";
    case Waiting::What::rwsem_to_read:
      return "rwsem (to read)";
    case Waiting::What::rwsem_to_write:
      return "rwsem (to write)";
    case Waiting::What::semaphore:
      return "semaphore";
    case Waiting::What::rt_mutex:
      return "rt_mutex";
    case Waiting::What::percpu_rwsem_to_read:
      return "percpu_rwsem (to read)";
    case Waiting::What::percpu_rwsem_to_write:
      return "percpu_rwsem (to write)";
    case Waiting::What::lock:
      return "lock";
    case Waiting::What::completion:
      return "completion";
    case Waiting::What::wait_queue:
      return "wait queue";
    case Waiting::What::unknown:
      break;
  }
  return "something";
}

bool is_waiting_function(std::string_view name) {
  if (kind_by_function(name)) return true;
  return name == "schedule" || name == "kthread" || name == "ret_from_fork" || name == "ret_from_fork_asm" ||
         starts_with_any(name, {"__schedule", "schedule_timeout", "schedule_preempt", "schedule_hrtimeout",
                                "io_schedule", "__switch_to", "context_switch", "preempt_schedule", "__cond_resched",
                                "dynamic_cond_resched", "__wait_for_common", "wait_for_common", "do_wait_for_common",
                                "wait_for_completion", "__wait_for_completion", "__raw_callee_save",
                                "percpu_rwsem_wait", "percpu_down_", "__percpu_down_"}) ||
         starts_with_any(name, {"rt_mutex_", "__rt_mutex_", "rwbase_", "__rwbase_", "rtlock_slowlock",
                                "schedule_rtlock", "rt_spin_lock", "rt_read_lock", "rt_write_lock"});
}

std::optional<Place> first_of_interest(const Stack& stack) {
  for (const Frame& frame : stack.frames)
    if (frame.place && !frame.is_guess && !is_waiting_function(frame.place->symbol.name)) return frame.place;
  return std::nullopt;
}

std::string name_of_data(const Kernel& kernel, VirtAddr address) {
  if (const auto place = kernel.lookup(address)) {
    const char type = place->symbol.type;
    const bool is_code = type == 't' || type == 'T' || type == 'w' || type == 'W';
    if (!is_code || place->offset == 0) {
      std::string name(place->symbol.name);
      if (place->offset != 0) name += fmt::format("+{:#x}", place->offset);
      if (!place->symbol.module.empty()) name += fmt::format(" [{}]", place->symbol.module);
      return name;
    }
  }
  if (const auto& modules = kernel.modules())
    for (const Module& module : *modules)
      if (module.contains(address)) return fmt::format("in the data of [{}]", module.name);
  return "";
}

}  // namespace gcore::reader::linux_guest
