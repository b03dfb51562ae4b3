// How long tasks have been off the CPU. Private to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

/// By the scheduler's own clocks. Each CPU's run queue has two: `clock`, and `clock_task`, which stands still while the
/// CPU serves interrupts or waits for the host; a task's se.exec_start is on the latter, and as of its last moment
/// there.
class BlockedTime {
 public:
  explicit BlockedTime(const Kernel& kernel);

  /// Nothing for one that runs, and where the kernel does not say.
  std::optional<uint64_t> of(const Task& task) const;
  /// The latest moment that any CPU, message or task knows of, on the clock of messages.
  uint64_t now() const { return now_; }
  /// How far a CPU's clock is behind the latest: how long it has not seen a tick. Of an idle one that means nothing.
  std::optional<uint64_t> silence_of_cpu(uint32_t cpu) const;

 private:
  struct Clocks {
    uint64_t clock = 0, lag = 0;  // lag: clock - clock_task
  };
  const Kernel& kernel_;
  std::vector<std::optional<Clocks>> cpus_;
  std::optional<uint64_t> exec_start_;
  uint64_t now_ = 0;
};

}  // namespace gcore::reader::linux_guest
