// What the unwinders of all machines share. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/unwind.h"

namespace gcore::reader::linux_guest {

/// Collects the frames of one stack, and sees to it that there is an end.
class FrameList {
 public:
  FrameList(const Kernel& kernel, size_t max_frames) : kernel_(kernel), max_frames_(max_frames) {}

  /// Adds a frame. False when that was the last one: too many, or one that was there before (a loop).
  bool add(const format::RegisterFile& registers, VirtAddr pc, VirtAddr sp, bool is_exact, bool is_guess);
  void mark_interrupt() {
    if (!stack_.frames.empty()) stack_.frames.back().is_interrupt = true;
  }

  Stack complete() && {
    stack_.complete = true;
    return std::move(stack_);
  }
  Stack in_user_mode(const format::RegisterFile& registers) && {
    stack_.user = FrameRegisters{registers};
    return std::move(*this).complete();
  }
  Stack ended(std::string why) && {
    if (stack_.why_ended.empty()) stack_.why_ended = std::move(why);
    return std::move(stack_);
  }

 private:
  const Kernel& kernel_;
  size_t max_frames_;
  Stack stack_;
};

/// Whether there is kernel code at the address: a name says so, or the page tables do.
bool is_kernel_code(const Kernel& kernel, VirtAddr address);

Stack unwind_x86_64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames);
Stack unwind_aarch64(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames);

// The registers that the kernel stored when it was entered (struct pt_regs), as a register file.

inline constexpr size_t kX86PtRegsBytes = 168;
/// Nothing where the memory is missing.
std::optional<format::RegisterFile> x86_pt_regs(const KernelMemory& memory, VirtAddr address);

inline constexpr size_t kAarch64PtRegsBytes = 272;  // x0 to x30, sp, pc, pstate: the part that user space sees
std::optional<format::RegisterFile> aarch64_pt_regs(const KernelMemory& memory, VirtAddr address);

/// Whether they are of user mode, and make sense as such.
bool is_user_mode(const format::RegisterFile& registers);

}  // namespace gcore::reader::linux_guest
