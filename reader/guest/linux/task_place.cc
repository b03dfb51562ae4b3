#include "reader/guest/linux/task_place.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kFramesToLookAt = 24;

/// The scheduler's own code, which the kernel keeps in one section (in_sched_functions()).
class SchedulerCode {
 public:
  explicit SchedulerCode(const Kernel& kernel)
      : start_(kernel.address_of("__sched_text_start")), end_(kernel.address_of("__sched_text_end")) {}
  bool holds(const Frame& frame) const {
    if (start_ && end_ && frame.pc >= *start_ && frame.pc < *end_) return true;
    // The way into it, and what changes the stacks.
    constexpr std::array<std::string_view, 5> kNames = {"__schedule", "schedule", "__switch_to", "__switch_to_asm",
                                                        "cpu_switch_to"};
    return frame.place && std::ranges::find(kNames, frame.place->symbol.name) != kNames.end();
  }

 private:
  std::optional<VirtAddr> start_, end_;
};

}  // namespace

std::string TaskPlace::text() const {
  switch (kind) {
    case Kind::unknown:
      return "";
    case Kind::running:
      return "running";
    case Kind::user_mode:
      return "user mode";
    case Kind::kernel:
      break;
  }
  return frame->place ? frame->place->text() : fmt::format("{:#x}", frame->pc.value);
}

TaskPlace place_of(const Kernel& kernel, const Task& task) {
  if (task.runs_unseen) return {.kind = TaskPlace::Kind::running};
  if (!task.running_on && task.stack == VirtAddr(0)) return {};
  Stack stack = unwind(kernel, task.registers, kFramesToLookAt);
  if (stack.frames.empty())
    return {.kind = task.running_on && stack.user ? TaskPlace::Kind::user_mode : TaskPlace::Kind::unknown};
  auto at = stack.frames.begin();
  if (!task.running_on) {
    const SchedulerCode scheduler(kernel);
    at = std::ranges::find_if_not(stack.frames, [&](const Frame& frame) { return scheduler.holds(frame); });
    if (at == stack.frames.end()) at = std::prev(stack.frames.end());
  }
  return {.kind = TaskPlace::Kind::kernel, .frame = std::move(*at)};
}

}  // namespace gcore::reader::linux_guest
