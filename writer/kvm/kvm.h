// What a VMM on KVM gives the writer, taken from KVM itself: the registers of a vCPU from its descriptor, and memory
// ranges from memory slots. For a VMM in C there is gcore_kvm.h. docs/embedding.md has whole VMMs that use both.
//
// Needs nothing but the kernel's headers; a library built where these are missing is without this part. It reads guests
// of the machine that it was built for, x86_64 or aarch64, as KVM runs no others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "writer/format/registers.h"
#include "writer/guest.h"

struct kvm_run;                      // linux/kvm.h
struct kvm_userspace_memory_region;  // likewise

namespace gcore::writer::kvm {

/// Registers that the kernel did not hand out. They are absent in the dump.
struct Refusal {
  std::string registers;  // "cstar", "dr0 to dr7"
  std::string request;    // "KVM_GET_MSRS"
  int error = 0;          // errno
};

/// What a vCPU was doing, as KVM_GET_MP_STATE has it. A vCPU whose interrupt controller is the VMM's own always `runs`:
/// KVM_EXIT_HLT tells the VMM that it does not.
enum class Activity : uint8_t {
  unknown,
  runs,
  halted,       // x86_64: by HLT. aarch64: in a PSCI suspend; a WFI does not show
  not_started,  // x86_64: waits for INIT or SIPI
  off,          // aarch64: off, by PSCI
};

struct VcpuReport {
  /// The general registers and the program counter were read. Otherwise Guest::read_cpu() had better return false.
  bool ok = false;
  Activity activity = Activity::unknown;
  /// Never a register that this kind of vCPU is known not to have: those of AVX where the guest has not switched it on,
  /// those of EL2 in a vCPU without EL2 (the kernel then refuses hcr_el2 with ENOENT or EINVAL).
  std::vector<Refusal> refused;

  /// "" when nothing was refused; else "cstar (KVM_GET_MSRS: Invalid argument), ...".
  std::string text() const;
};

/// Sets in `registers` (which must be of this machine) all that the kernel hands out of a vCPU.
///
/// The vCPU must not be in KVM_RUN: the kernel would let the caller wait until it is not. After an exit for I/O or MMIO
/// its registers are those of the middle of an instruction until the VMM has served it and settle() was called. From
/// any thread. x86_64: KVM_GET_REGS, SREGS, MSRS, DEBUGREGS, XCRS, XSAVE (XSAVE2 and FPU where that is refused),
/// MP_STATE. The kernel's tag word is the abridged one of FXSAVE; ftag is the full one. aarch64: KVM_GET_ONE_REG; sp is
/// that of the exception level and PSTATE.SPSel.
VcpuReport read_vcpu(int vcpu, format::RegisterFile& registers);

/// Finishes the instruction for which KVM_RUN returned to the VMM (I/O, MMIO), which the kernel otherwise does at the
/// next KVM_RUN, and runs none after it. To be called on the vCPU's thread, after the exit was served and before
/// registers are read; also when there may be nothing to finish. 0: done. EAGAIN: the instruction wants more: serve the
/// exit that `run` has now, and call again. Another errno value: KVM_RUN failed. Sets run->immediate_exit and clears
/// it, so check whether the vCPU is to pause after this, not before (docs/embedding.md has the pattern).
int settle(int vcpu, kvm_run* run);

/// The file that a stretch of this process's memory is of, for MemoryRange::fd.
struct Backing {
  const void* host = nullptr;
  uint64_t size = 0;
  int fd = -1;
  uint64_t fd_offset = 0;  // of `host` in that file
};

/// The guest's memory by the slots that the VMM has given to KVM_SET_USER_MEMORY_REGION. Slots that were deleted (size
/// 0) and those of another address space than the first (slot >> 16; x86's system management mode) are left out. Memory
/// of which `backing` has a file is given with it; a slot that several files back becomes several ranges.
std::vector<MemoryRange> memory_ranges(std::span<const kvm_userspace_memory_region> slots,
                                       std::span<const Backing> backing = {});

}  // namespace gcore::writer::kvm
