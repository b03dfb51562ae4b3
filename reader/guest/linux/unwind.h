// Who called whom: stacks of a Linux kernel, by its own unwind tables (x86_64: ORC) or its frame records (aarch64).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/names.h"
#include "writer/format/registers.h"

namespace gcore::reader::linux_guest {

class Kernel;

/// Registers that a frame's caller had, as far as they are known.
struct FrameRegisters {
  format::RegisterFile registers;  // rip/rsp/rbp/rbx/r12..r15 or elr/sp/x19..x30; absent = not known
};

struct Frame {
  VirtAddr pc;  // of the innermost frame and after an interrupt the instruction itself; else the return address
  VirtAddr sp;  // stack pointer in that frame (0: not known); aarch64: where its frame record is, which functions keep
                // at the bottom of their frame
  bool is_exact = false;  // pc is an instruction that was interrupted (or is next), not a return address: look up pc,
                          // not pc - 1
  bool is_interrupt = false;     // entry code of an interrupt, exception or system call: the next frame out is what was
                                 // interrupted
  std::optional<Place> place{};  // name and offset of pc, as the kernel prints it
  bool is_guess = false;  // found by scanning the stack, as where tables say nothing ("?" in the kernel's own traces)
  FrameRegisters registers;
};

struct Stack {
  std::vector<Frame> frames{};  // innermost first
  bool complete = false;        // ended where the kernel's stacks end (or at user mode), not for want of something
  std::string why_ended{};      // one sentence without a full stop where it is not complete
  /// Where the outermost pt_regs of user mode were found: the task was in user mode with these.
  std::optional<FrameRegisters> user{};
};

/// Unwinds from these registers: of a vCPU, or of a sleeping task, which have no flags (rflags, pstate), and whose pc
/// is a return address. In user mode there is no frame, and `user` has the registers. At most `max_frames`; bounded on
/// any memory.
Stack unwind(const Kernel& kernel, const format::RegisterFile& registers, size_t max_frames = 256);

}  // namespace gcore::reader::linux_guest
