// The diagnosis of a Linux guest: what went wrong, by what is in its memory and its messages.
//
//   const Diagnosis diagnosis = diagnose(*kernel);
//   print(why_text(diagnosis));
//
// Facts are told apart from guesses, and what is so at the moment of the dump from what the messages say was so before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct Evidence {
  enum class Kind : uint8_t {
    message,  // a message of the kernel: `text` as it stands there
    fact,     // something seen in memory or registers, a sentence without a full stop
    stack,    // `text` says whose; `lines` are its frames, innermost first, as the kernel prints them
    excerpt,  // `text` says of what; `lines` are messages of the kernel
  };
  Kind kind = Kind::fact;
  std::string text{};
  std::optional<uint64_t> time_ns{};  // of a message
  std::vector<std::string> lines{};
  /// Of a stack: where debug information knows the source line of each of `lines`. Of a caller that is an address
  /// within its call, before the one that the call returns to. Lines that are no frame come last, and have none.
  std::vector<VirtAddr> addresses{};
};

/// A task that has a part in a finding.
struct Involved {
  int32_t pid = 0;
  std::string name{};  // as the guest has it
  VirtAddr address{};  // of its task_struct; 0: it is no more, or not known
  std::string role{};  // "holds", "waits", "spins", "runs", "was killed", ...
};

struct Finding {
  /// In the order in which findings are told: what stops a guest first.
  enum class Kind : uint8_t {
    panic,
    spinning,  // a vCPU that spins on a spinlock with interrupts off
    deadlock,  // tasks that wait in a circle
    oops,
    hard_lockup,
    soft_lockup,
    rcu_stall,
    workqueue_lockup,  // work that is queued does not get done
    out_of_memory,
    blocked,  // tasks that have waited for long
  };
  Kind kind = Kind::panic;
  std::string text{};                 // one line without a full stop
  bool is_guess = false;              // the text says so too
  bool is_past = false;               // the messages speak of it, and at the moment of the dump it is over
  std::optional<uint64_t> time_ns{};  // of the first message that speaks of it
  std::vector<Involved> tasks{};
  std::vector<Evidence> evidence{};
  /// What the finding is, without addresses, offsets, numbers of processes and times: equal in two dumps of one bug.
  std::string key{};
};

struct Diagnosis {
  std::vector<Finding> findings{};  // empty: nothing was found. Present ones come first, then past ones
  /// What each vCPU does, a line each: "vCPU 0: idle", "vCPU 1: sh (PID 87) in trouble_spins+0x1c/0x40 [trouble]".
  std::vector<std::string> cpus{};
  bool all_idle = false;  // every vCPU is idle
  /// What could not be looked at, and why: one sentence without a full stop each.
  std::vector<std::string> problems{};
  /// The kind of the first finding, and 16 hexadecimal digits of a hash of its key: "deadlock-0123456789abcdef". "none"
  /// where nothing was found.
  std::string signature{};
};

/// Never fails: what cannot be looked at is among the problems. Bounded on any memory.
Diagnosis diagnose(const Kernel& kernel);

/// For a terminal, with the signature as its last line. Control characters of the guest's texts stand there as a
/// backslash, x and two digits.
std::string why_text(const Diagnosis& diagnosis);

/// "panic", "spinning", "deadlock", "oops", "hard-lockup", "soft-lockup", "rcu-stall", "workqueue-lockup",
/// "out-of-memory", "blocked".
const char* to_string(Finding::Kind kind);
/// "message", "fact", "stack", "excerpt".
const char* to_string(Evidence::Kind kind);

}  // namespace gcore::reader::linux_guest
