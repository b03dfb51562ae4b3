// Where a task of a Linux guest is, in one line of a list.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct TaskPlace {
  enum class Kind : uint8_t {
    unknown,    // nothing is known of its stack
    running,    // on a CPU, and the dump has no registers of any
    user_mode,  // it runs there
    kernel,     // at `frame`
  };
  Kind kind = Kind::unknown;
  /// Of a task that runs its innermost frame; of one that sleeps the first that is not of the scheduler, as the
  /// kernel's wchan has it. Where all are, the outermost.
  std::optional<Frame> frame{};

  /// "running", "user mode", "do_wait+0x160/0x350", an address without a name, or "". As the guest has it.
  std::string text() const;
};

/// Looks at a few frames only. Bounded on any memory.
TaskPlace place_of(const Kernel& kernel, const Task& task);

}  // namespace gcore::reader::linux_guest
