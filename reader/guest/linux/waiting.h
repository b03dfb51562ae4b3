// What the sleeping tasks of a Linux guest wait for, who has it, and who waits in a circle.
//
// A task that waits for a lock lies on the lock's list with a node on its own kernel stack, beside a pointer to itself.
// Following the list to the node that is on no stack gives the lock: no debug information is needed for that, and no
// function's frame has to be understood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct Waiting {
  enum class What : uint8_t {
    mutex,
    rwsem_to_read,
    rwsem_to_write,
    semaphore,
    rt_mutex,  // what lends its owner the waiter's priority; in kernels for real time spinlocks are made of it, too
    percpu_rwsem_to_read,  // percpu_rw_semaphore: a file system's, while it is frozen, among others
    percpu_rwsem_to_write,
    lock,        // one of mutex, rwsem and semaphore: its functions have no names here
    completion,  // wait_for_completion: until somebody says that something is done
    wait_queue,  // until somebody wakes the queue
    unknown,
  };
  size_t task = 0;  // index into TaskList::list
  What what = What::unknown;
  VirtAddr object{};  // the lock, completion or wait queue; 0: not known
  /// What the kernel calls it: "trouble_first [trouble]", "mmap_lock of sh (PID 87)", "s_writers of ext4 on vda1".
  /// Empty: it has no name.
  std::string name{};
  /// The name without numbers: for what is to be equal in two boots. "trouble_first [trouble]", "mmap_lock", "s_writers
  /// of ext4".
  std::string plain_name{};

  /// Who has it, as an index into TaskList::list. Nothing: not known.
  std::optional<size_t> owner{};
  /// The owner is the one that took it last to read, and may have given it back: the lock counts its readers only.
  bool owner_is_last_reader = false;
  uint64_t readers = 0;  // an rwsem that is held to read: by how many
  /// Why there is no owner: one sentence without a full stop. Empty where there is one, or where there never is.
  std::string no_owner{};

  bool is_io = false;  // it waits for a device to read or write, by the kernel's own account (io_schedule)
  Stack stack{};       // of the task
  /// The first frame that is neither the scheduler's nor the lock's: who wanted it. Nothing: not known.
  std::optional<Place> where{};
  /// How long it has been off the CPU, on the scheduler's clock. Nothing: not known.
  std::optional<uint64_t> blocked_ns{};
};

/// Everything that waits for a lock, and every task in state D; but those that somebody has frozen (a control group's
/// freezer, or who suspends the machine), which ps shows in state D, too.
struct Waits {
  std::vector<Waiting> list{};  // in the order of the task list
  /// Circles: each waits for what the next one has, the last one for what the first one has. Indices into `list`.
  std::vector<std::vector<size_t>> cycles{};
  std::unordered_map<size_t, size_t> by_task{};  // index into TaskList::list to index into `list`

  /// The one that has what `waiting` waits for, if that one waits itself: an index into `list`.
  std::optional<size_t> next(size_t waiting) const;
};

/// Bounded on any memory. Error: there is no task list.
Expected<Waits> find_waits(const Kernel& kernel);
/// The same among these tasks, to which the indices lead.
Waits find_waits(const Kernel& kernel, const std::vector<Task>& tasks);

/// "mutex", "rwsem (to read)", "completion", ...
const char* to_string(Waiting::What what);

/// Whether the function belongs to the scheduler, or to what implements locks and waiting: a stack is about whoever
/// called these.
bool is_waiting_function(std::string_view name);
/// The first frame that is not of these functions.
std::optional<Place> first_of_interest(const Stack& stack);

/// A name for data: of a symbol, or of a module's data where it has no symbols. Empty: none.
std::string name_of_data(const Kernel& kernel, VirtAddr address);

}  // namespace gcore::reader::linux_guest
