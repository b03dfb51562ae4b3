// What the vCPUs do: idle, running, spinning.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reader/guest/linux/blocked_time.h"
#include "reader/guest/linux/machine.h"
#include "reader/guest/linux/unwind_machine.h"
#include "reader/guest/linux/why_parts.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kSilent = 2'000'000'000;  // ns without a tick that no busy CPU has
constexpr size_t kMaxFunction = 64 << 10;    // bytes of code that are looked through
constexpr size_t kMaxStackScan = 16 << 10;

/// _raw_spin_lock and the like; a module may have one of its own, which its compiler made of the inline
/// __raw_spin_lock.
bool is_fast_path(std::string_view name) {
  if (name.starts_with("__")) name.remove_prefix(1);
  return name.starts_with("_raw_spin_lock") || name.starts_with("_raw_read_lock") ||
         name.starts_with("_raw_write_lock");
}
bool is_spinning_function(std::string_view name) {
  constexpr std::array kNames = {"native_queued_spin_lock_slowpath",
                                 "queued_spin_lock_slowpath",
                                 "__pv_queued_spin_lock_slowpath",
                                 "pv_wait_node",
                                 "kvm_wait",
                                 "xen_qlock_wait",
                                 "hv_qlock_wait",
                                 "queued_read_lock_slowpath",
                                 "queued_write_lock_slowpath",
                                 "do_raw_spin_lock"};
  return std::ranges::find(kNames, name) != kNames.end() || is_fast_path(name) || name.starts_with("queued_spin_lock");
}
/// What gives the CPU to others until the lock is free: kvm_wait() halts, with interrupts off by native_halt(), and
/// xen_qlock_wait() calls the hypervisor. It is spinning only where a function of the lock called it.
bool is_halt(std::string_view name) {
  return name == "native_halt" || name.ends_with("safe_halt") || name.starts_with("xen_poll_irq") ||
         name.starts_with("xen_hypercall_");
}

std::string frame_text(const Frame& frame) {
  return frame.place ? frame.place->text() : fmt::format("{:#x}", frame.pc.value);
}

/// A vCPU that is in what waits for a spinlock.
struct Spinner {
  size_t vcpu = 0;
  size_t frames = 0;  // how many of the innermost frames are of the lock's functions
  std::optional<VirtAddr> lock{};
  std::optional<bool> interrupts_off{};
};

class SpinFinder {
 public:
  SpinFinder(const Scene& scene, std::vector<Finding>& findings)
      : scene_(scene),
        memory_(scene.kernel.memory()),
        machine_(linux_machine(memory_.machine())),
        findings_(findings) {}

  void find() {
    std::vector<Spinner> spinners;
    for (size_t vcpu = 0; vcpu < scene_.stacks.size(); ++vcpu)
      if (const auto spinner = spinner_on(vcpu)) spinners.push_back(*spinner);
    if (spinners.empty()) return;
    const BlockedTime time(scene_.kernel);
    for (const Spinner& spinner : spinners) report(spinner, spinners, time);
  }

 private:
  std::optional<Spinner> spinner_on(size_t vcpu) const {
    const auto& frames = scene_.stacks[vcpu].frames;
    Spinner spinner{.vcpu = vcpu};
    bool spins = false;
    for (const Frame& frame : frames) {
      if (!frame.place || frame.is_guess) break;
      const bool is_of_lock = is_spinning_function(frame.place->symbol.name);
      if (!is_of_lock && (spins || !is_halt(frame.place->symbol.name))) break;
      ++spinner.frames;
      spins |= is_of_lock;
    }
    if (!spins) return std::nullopt;
    const auto& registers = scene_.kernel.dump().cpus()[vcpu].registers;
    spinner.interrupts_off = interrupts_off(registers);
    spinner.lock = lock_of(spinner);
    // The first instructions of the fast path are no waiting: the lock is free there, or nothing shows one.
    if (!spinner.lock && spinner.frames == 1 && is_fast_path(frames[0].place->symbol.name)) return std::nullopt;
    return spinner;
  }

  /// The functions are called with the lock in the first argument's register, and keep it in one that they save.
  std::optional<VirtAddr> lock_of(const Spinner& spinner) const {
    const auto& frames = scene_.stacks[spinner.vcpu].frames;
    std::optional<VirtAddr> found;
    const auto try_all = [&](const format::RegisterFile& registers) {
      for (const std::string_view name : machine_.registers_of_lock) {
        const auto value = registers.get(name);
        if (!found && value && is_locked(VirtAddr(*value))) found = VirtAddr(*value);
      }
    };
    try_all(scene_.kernel.dump().cpus()[spinner.vcpu].registers);
    for (size_t i = 1; i < spinner.frames + 1 && i < frames.size() && !found; ++i)
      try_all(frames[i].registers.registers);
    return found;
  }

  /// struct qspinlock: a byte that is 1 while it is held, one for who is next, 16 bits for the rest of the queue. In a
  /// paravirtualized guest it is 3 when its next holder has halted (_Q_SLOW_VAL).
  bool is_locked(VirtAddr lock) const {
    if (lock.value % 4 != 0 || !memory_.is_kernel_address(lock)) return false;
    const auto value = memory_.u32(lock);
    if (!value || ((*value & 0xff) != 1 && (*value & 0xff) != 3) || (*value >> 8 & 0xff) > 1) return false;
    const uint32_t last = *value >> 18;  // the last in the queue: its CPU's number and 1
    return last <= std::max<size_t>(scene_.stacks.size(), 1) + 4096;
  }

  std::string lock_text(VirtAddr lock) const {
    const std::string name = name_of_data(scene_.kernel, lock);
    return name.empty() ? fmt::format("the spinlock at {:#x}", lock.value)
                        : fmt::format("the spinlock {} ({:#x})", name, lock.value);
  }
  std::string cpu_text(size_t vcpu) const {
    const Task* task = scene_.current[vcpu];
    return fmt::format("vCPU {}{}", vcpu, task ? ", " + task_text(*task) + "," : "");
  }

  void report(const Spinner& spinner, const std::vector<Spinner>& all, const BlockedTime& time) {
    const auto number = scene_.kernel.cpu_number(spinner.vcpu);
    const auto silence = number ? time.silence_of_cpu(*number) : std::nullopt;
    const bool silent = silence && *silence >= kSilent;
    // With interrupts on and ticks that come, it waits as CPUs do all the time. So it does with interrupts off, for a
    // moment: were it for long, the others' clocks would have gone on.
    if (!silent && (!spinner.interrupts_off.value_or(false) || (silence && another_lives(spinner.vcpu)))) return;
    const auto& stack = scene_.stacks[spinner.vcpu];
    const Frame* caller = spinner.frames < stack.frames.size() ? &stack.frames[spinner.frames] : nullptr;
    Finding finding{.kind = Finding::Kind::spinning};
    finding.text = fmt::format("{} spins on {}{}{}", cpu_text(spinner.vcpu),
                               spinner.lock ? lock_text(*spinner.lock) : "a spinlock",
                               caller && caller->place ? " in " + caller->place->text() : "",
                               spinner.interrupts_off.value_or(false) ? ", with interrupts off" : "");
    if (silent) {
      finding.evidence.push_back({.text = fmt::format("its clock stands still: {:.1f} s behind that of other CPUs",
                                                      static_cast<double>(*silence) / 1e9)});
    } else {
      finding.is_guess = true;
      finding.text += " (that it is stuck is a guess: a dump shows one moment)";
    }
    if (const Task* task = scene_.current[spinner.vcpu]) add_task(finding, *task, "spins");
    finding.evidence.push_back(stack_evidence(fmt::format("stack of vCPU {}", spinner.vcpu), stack));
    const bool is_held_for_good = spinner.lock && find_holder(spinner, all, finding);
    if (!silent && !is_held_for_good) return;  // one moment alone shows nothing
    finding.key = fmt::format("spinning|{}|{}", spinner.lock ? name_of_data(scene_.kernel, *spinner.lock) : "",
                              caller && caller->place ? plain_function(caller->place->symbol.name) : "");
    findings_.push_back(std::move(finding));
  }

  /// Whether time goes on on another vCPU: it takes interrupts, or waits for one.
  bool another_lives(size_t vcpu) const {
    for (size_t other = 0; other < scene_.current.size(); ++other) {
      if (other == vcpu) continue;
      const Task* task = scene_.current[other];
      if ((task && task->pid == 0) || !interrupts_off(scene_.kernel.dump().cpus()[other].registers).value_or(true))
        return true;
    }
    return false;
  }

  /// A spinlock does not say who has it. Whoever has it runs, or does not and should: what is on another vCPU that uses
  /// this very lock. True when that one takes no interrupts either, and does not go on.
  bool find_holder(const Spinner& spinner, const std::vector<Spinner>& all, Finding& finding) const {
    for (size_t vcpu = 0; vcpu < scene_.stacks.size(); ++vcpu) {
      const bool spins_too =
          std::ranges::any_of(all, [&](const Spinner& s) { return s.vcpu == vcpu && s.lock == spinner.lock; });
      if (spins_too) continue;
      std::string how;
      const std::optional<Place> function = user_of(vcpu, *spinner.lock, how);
      if (!function) continue;
      const bool off = interrupts_off(scene_.kernel.dump().cpus()[vcpu].registers).value_or(false);
      finding.text += fmt::format("; it is held by {} in {}{} (a guess)", cpu_text(vcpu), function->text(),
                                  off ? ", with interrupts off" : "");
      finding.evidence.push_back({.text = fmt::format("the holder is a guess: {}", how)});
      finding.evidence.push_back(stack_evidence(fmt::format("stack of vCPU {}", vcpu), scene_.stacks[vcpu]));
      if (const Task* task = scene_.current[vcpu]) add_task(finding, *task, "holds (a guess)");
      return off && !reports(vcpu);
    }
    finding.evidence.push_back(
        {.text = "who holds it is not known: a spinlock does not say, and no other vCPU shows that it uses it"});
    return false;
  }

  /// A report of the kernel's own is written with interrupts off and locks held, and a serial console is slow.
  bool reports(size_t vcpu) const {
    return std::ranges::any_of(scene_.stacks[vcpu].frames, [](const Frame& frame) {
      const std::string_view name = frame.place && !frame.is_guess ? plain_function(frame.place->symbol.name) : "";
      return name == "vprintk_emit" || name == "console_unlock" || name == "console_flush_all" ||
             name == "rcu_dump_cpu_stacks" || name.starts_with("dump_") || name.starts_with("show_") ||
             name.starts_with("__show_");
    });
  }

  /// A frame of the vCPU whose function names the lock in its code, or whose registers or stack have its address.
  std::optional<Place> user_of(size_t vcpu, VirtAddr lock, std::string& how) const {
    const auto& frames = scene_.stacks[vcpu].frames;
    for (size_t i = 0; i < frames.size(); ++i) {
      const Frame& frame = frames[i];
      if (!frame.place || frame.is_guess) continue;
      const uint64_t start = frame.pc.value - frame.place->offset;
      if (names_in_code(VirtAddr(start), frame.place->symbol.size, lock)) {
        how = fmt::format("the code of {} uses this lock", frame.place->symbol.name);
        return frame.place;
      }
      if (i + 1 < frames.size() && frame.sp.value != 0 && frames[i + 1].sp > frame.sp &&
          stack_has(frame.sp, frames[i + 1].sp, lock)) {
        how = fmt::format("the address of the lock is on the stack of {}", frame.place->symbol.name);
        return frame.place;
      }
    }
    return std::nullopt;
  }

  bool stack_has(VirtAddr from, VirtAddr to, VirtAddr lock) const {
    const uint64_t size = std::min<uint64_t>(to.value - from.value, kMaxStackScan);
    for (uint64_t at = 0; at + 8 <= size; at += 8)
      if (memory_.u64(from + at) == lock.value) return true;
    return false;
  }

  bool names_in_code(VirtAddr function, uint64_t size, VirtAddr lock) const {
    std::vector<std::byte> code(std::min<uint64_t>(size, kMaxFunction));
    code.resize(memory_.read(function, code));
    return machine_.names_address(function, code, lock);
  }

  const Scene& scene_;
  const KernelMemory& memory_;
  const LinuxMachine& machine_;
  std::vector<Finding>& findings_;
};

}  // namespace

const Frame* interrupted_frame(const Stack& stack) {
  for (size_t i = stack.frames.size(); i-- > 1;)
    if (stack.frames[i - 1].is_interrupt && !stack.frames[i].is_guess) return &stack.frames[i];
  return nullptr;
}

void find_spinning(const Scene& scene, std::vector<Finding>& findings) { SpinFinder(scene, findings).find(); }

void describe_cpus(const Scene& scene, Diagnosis& diagnosis) {
  size_t idle = 0;
  for (size_t vcpu = 0; vcpu < scene.stacks.size(); ++vcpu) {
    const Task* task = scene.current[vcpu];
    const Stack& stack = scene.stacks[vcpu];
    const bool user = is_user_mode(scene.kernel.dump().cpus()[vcpu].registers);
    std::string text = fmt::format("vCPU {}: ", vcpu);
    const bool is_idle = task && task->pid == 0 && !task->boots && !user;
    if (is_outside_kernel(scene.kernel.dump().cpus()[vcpu].registers)) {
      diagnosis.cpus.push_back(text + "not in the kernel");
      continue;
    }
    if (is_idle) {
      ++idle;
      text += "idle";
    } else {
      text += task ? task_text(*task) : "a task that is not known";
    }
    if (user) {
      text += " in user mode";
    } else if (!stack.frames.empty()) {
      const Frame& frame = stack.frames.front();
      text += " in " + frame_text(frame);
      if (const Frame* interrupted = interrupted_frame(stack))
        text += ", which interrupted " + frame_text(*interrupted);
    }
    if (!user && !is_idle && interrupts_off(scene.kernel.dump().cpus()[vcpu].registers).value_or(false))
      text += ", interrupts off";
    diagnosis.cpus.push_back(std::move(text));
  }
  diagnosis.all_idle = idle != 0 && idle == scene.stacks.size();
}

}  // namespace gcore::reader::linux_guest
