#include "reader/guest/linux/unwind.h"

#include <fmt/format.h>

#include <algorithm>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/machine.h"
#include "reader/guest/linux/unwind_machine.h"

namespace gcore::reader::linux_guest {

bool FrameList::add(const format::RegisterFile& registers, VirtAddr pc, VirtAddr sp, bool is_exact, bool is_guess) {
  auto& frames = stack_.frames;
  if (frames.size() >= max_frames_) {
    stack_.why_ended = "there are more frames, which are not shown";
    return false;
  }
  // Stacks grow down, so that a frame that lies above the one before it is new. Where a CPU changed stacks it is not
  // above, and has to be one that was not seen.
  if (!frames.empty() && sp <= frames.back().sp && sp != VirtAddr(0) &&
      std::ranges::any_of(frames, [&](const Frame& frame) { return frame.sp == sp && frame.pc == pc; })) {
    stack_.why_ended =
        fmt::format("the frame of {:#x} at {:#x} is there already: the stack leads in a circle", pc.value, sp.value);
    return false;
  }
  Frame frame{.pc = pc, .sp = sp, .is_exact = is_exact, .is_guess = is_guess, .registers = {registers}};
  frame.place = kernel_.lookup(is_exact ? pc : VirtAddr(pc.value - 1));
  if (frame.place && !is_exact) ++frame.place->offset;
  frames.push_back(std::move(frame));
  return true;
}

Stack Unwinder::run() {
  if (is_user_mode(now_)) return std::move(frames_).in_user_mode(now_);
  if (!begin()) return std::move(frames_).ended(std::move(why_));
  while (frames_.add(now_, pc(), sp(), exact_, guess_)) {
    switch (step()) {
      case Next::frame:
        break;
      case Next::end:
        return std::move(frames_).complete();
      case Next::user:
        return std::move(frames_).in_user_mode(now_);
      case Next::lost:
        return std::move(frames_).ended(std::move(why_));
    }
  }
  return std::move(frames_).ended("");
}

bool is_kernel_code(const Kernel& kernel, VirtAddr address) {
  if (!kernel.memory().is_kernel_address(address)) return false;
  // Names are asked first: code that was freed after boot is mapped no more.
  if (const auto place = kernel.lookup(address))
    return place->symbol.type == 't' || place->symbol.type == 'T' || place->symbol.type == 'w' ||
           place->symbol.type == 'W' || place->symbol.type == 'i';
  const auto page = kernel.memory().space().translate(address);
  return page && page->permissions.execute && !page->permissions.user;
}

bool is_user_mode(const format::RegisterFile& registers) {
  return linux_machine(registers.machine()).is_user_mode(registers);
}

bool is_outside_kernel(const format::RegisterFile& registers) {
  return linux_machine(registers.machine()).is_outside_kernel(registers);
}

Stack unwind(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames) {
  if (registers.machine() != kernel.memory().machine())
    return {.why_ended = "the registers are of another machine than the kernel"};
  return linux_machine(registers.machine()).unwind(kernel, registers, max_frames);
}

}  // namespace gcore::reader::linux_guest
