// How long a Linux guest has been up, and how busy it was.
#include <algorithm>

#include "reader/guest/linux/kernel_parts.h"

namespace gcore::reader::linux_guest {
namespace {

/// CLOCK_BOOTTIME when the kernel last updated its clocks: what /proc/uptime shows, at most a tick (of a CPU that does
/// not sleep) too early.
std::optional<uint64_t> boot_clock(const Kernel& kernel) {
  const auto core = kernel.address_of("tk_core");
  if (!core || !kernel.types()) return std::nullopt;
  // tk_core is a struct without a name: a sequence counter, then the timekeeper. The counter's size is that of the gap
  // up to the timekeeper's alignment.
  const auto base = kernel.offset("timekeeper", "tkr_mono.base"),
             nsec = kernel.offset("timekeeper", "tkr_mono.xtime_nsec");
  const auto shift = kernel.offset("timekeeper", "tkr_mono.shift"), boot = kernel.offset("timekeeper", "offs_boot");
  const auto clock = kernel.offset("timekeeper", "tkr_mono.clock"), mask = kernel.offset("timekeeper", "tkr_mono.mask");
  if (!base || !nsec || !shift || !boot || !clock || !mask) return std::nullopt;
  const KernelMemory& memory = kernel.memory();
  constexpr uint64_t kFurthest = 128;
  for (uint64_t gap = 0; gap <= kFurthest; gap += 8) {
    const VirtAddr keeper = *core + gap;
    const auto source = memory.pointer(keeper + *clock);
    const auto bits = memory.u64(keeper + *mask);
    // A clock source, and a mask of the counter's bits: 2^n - 1.
    if (!source || !memory.is_kernel_address(*source) || !bits || *bits < 0xffff || (*bits & (*bits + 1)) != 0)
      continue;
    const auto b = memory.u64(keeper + *base), n = memory.u64(keeper + *nsec), o = memory.u64(keeper + *boot);
    const auto s = memory.u32(keeper + *shift);
    if (!b || !n || !o || !s || *s >= 64) continue;
    return *b + (*n >> *s) + *o;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> find_uptime_ns(const Kernel& kernel) {
  if (const auto clock = boot_clock(kernel)) return clock;
  // The scheduler's clock runs from boot too, but not while the machine sleeps.
  std::optional<uint64_t> latest;
  const auto take = [&](uint64_t time) { latest = std::max(latest.value_or(0), time); };
  if (const auto& messages = kernel.messages())
    for (const Message& message : messages->records) take(message.time_ns);
  if (const auto& tasks = kernel.tasks())
    for (const Task& task : tasks->list)
      if (task.last_run_ns) take(*task.last_run_ns);
  return latest;
}

std::optional<Kernel::Load> find_load(const Kernel& kernel) {
  const auto averages = kernel.address_of("avenrun");
  if (!averages) return std::nullopt;
  // Fixed point with 11 bits, rounded as /proc/loadavg does.
  const auto hundredths = [&](size_t index) -> std::optional<uint32_t> {
    const auto value = kernel.memory().u64(*averages + 8 * index);
    if (!value || *value >> 40) return std::nullopt;
    return static_cast<uint32_t>((*value + 2048 / 200) * 100 >> 11);
  };
  const auto one = hundredths(0), five = hundredths(1), fifteen = hundredths(2);
  if (!one || !five || !fifteen) return std::nullopt;
  return Kernel::Load{*one, *five, *fifteen};
}

}  // namespace gcore::reader::linux_guest
