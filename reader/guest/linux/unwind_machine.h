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

/// Follows one stack, a frame at a time; a machine says how. A machine's folder has such a class.
class Unwinder {
 public:
  Unwinder(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames)
      : kernel_(kernel), memory_(kernel.memory()), frames_(kernel, max_frames), now_(registers) {}
  virtual ~Unwinder() = default;

  /// Once.
  Stack run();

 protected:
  enum class Next : uint8_t { frame, end, user, lost };

  /// Looks at the registers of the first frame. False, with `why_`, when there is none.
  virtual bool begin() = 0;
  virtual VirtAddr pc() const = 0;
  virtual VirtAddr sp() const = 0;
  /// Makes of a frame's registers its caller's. `lost`: `why_` says why.
  virtual Next step() = 0;

  Next lose(std::string why) {
    why_ = std::move(why);
    return Next::lost;
  }

  const Kernel& kernel_;
  const KernelMemory& memory_;
  FrameList frames_;
  format::RegisterFile now_;
  bool exact_ = true;   // the pc is where the CPU was, and no return address
  bool guess_ = false;  // from some frame on
  std::string why_;
};

/// Whether there is kernel code at the address: a name says so, or the page tables do.
bool is_kernel_code(const Kernel& kernel, VirtAddr address);

/// Whether these registers are of user mode.
bool is_user_mode(const format::RegisterFile& registers);
/// Whether a vCPU with these registers runs no kernel of 64 bits: it is in firmware, or was not started yet.
bool is_outside_kernel(const format::RegisterFile& registers);

}  // namespace gcore::reader::linux_guest
