#pragma once

#include <string>

namespace gcore::tests {

/// A Linux guest that got into one trouble after the other (tests/guests/module/trouble.c), and was dumped in each.
/// What has happened stays in its messages, and who is blocked stays blocked: each dump has what those before it have.
///
///   busy       threads work with locks of all kinds; nothing is wrong
///   mutex      two threads in a deadlock, and a third behind them
///   hung       also: an rwsem that is read, and one that is written; a semaphore; a completion. The kernel has said so
///   soft       also: vCPU 1 does not schedule, and the kernel has said so
///   rcu        that is over; vCPU 1 does not leave an RCU critical section, and the kernel has said so
///   rcu-asleep that is over; a thread sleeps in an RCU critical section, and the kernel has said so, if it was built
///              for preemption; else the module has said that it cannot be
///   oops       that is over; a thread wrote to a null pointer
///   leak       also: memory ran out, and the killer came
///   spin       also: vCPU 1 holds a spinlock, vCPU 0 spins on it, both with interrupts off
///
/// And the same guest, booted once more, and in another order, so that each is the first that is told of:
///
///   leak-again    as leak, and nothing else
///   rcu-again     also: as rcu
///   oops-again    that is over; as oops
///   mutex-again   also: the deadlock
///   panic         also: the kernel has panicked
class TroubleGuest {
 public:
  explicit TroubleGuest(std::string folder) : folder_(std::move(folder)) {}
  /// QEMU's own ELF dump of all memory, of the stage with that name.
  std::string dump(const std::string& stage) const { return folder_ + "/" + stage; }
  /// What the guest's own `dmesg` printed just before the stage "hung" was dumped.
  std::string dmesg() const;

 private:
  std::string folder_;
};

/// Boots such a guest, or takes what is there: each is cooked once and kept in the build tree, for all test programs.
/// MACHINE and KERNEL as tests/guests/linux has them. Throws what goes wrong.
TroubleGuest trouble_guest(const std::string& machine, const std::string& kernel);

}  // namespace gcore::tests
