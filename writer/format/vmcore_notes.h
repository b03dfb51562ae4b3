// The `vmcore` dialect's notes: what QEMU's dump-guest-memory writes and crash, drgn, gdb and libkdumpfile read.
//
// NT_PRSTATUS is the Linux kernel's struct elf_prstatus (include/linux/elfcore.h); BFD accepts it only at the exact
// size. The QEMU note is QEMUCPUState of QEMU's target/i386/arch_dump.c; its version has stayed 1 when kernel_gs_base
// was added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "writer/format/endian.h"

namespace gcore::format {

inline constexpr uint32_t kNotePrstatus = 1, kNotePrfpreg = 2, kNoteQemu = 0, kNoteVmcoreinfo = 0;  // note types
inline constexpr char kNoteNameCore[] = "CORE", kNoteNameQemu[] = "QEMU", kNoteNameVmcoreinfo[] = "VMCOREINFO";

/// The fields before the registers. Only the pid means anything in a guest's dump: vCPU index + 1, or the
/// number of the thread that runs there.
struct PrstatusHead {
  uint8_t signal_info[32];
  Le32 pid;
  uint8_t other_ids_and_times[76];
};
static_assert(sizeof(PrstatusHead) == 112 && offsetof(PrstatusHead, pid) == 32);

struct PrstatusX86_64 {
  PrstatusHead head;
  Le64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss,
      fs_base, gs_base, ds, es, fs, gs;
  Le32 fpvalid;
  uint8_t pad[4];
};
static_assert(sizeof(PrstatusX86_64) == 336 && offsetof(PrstatusX86_64, r15) == 112);

struct PrstatusAarch64 {
  PrstatusHead head;
  Le64 x[31], sp, pc, pstate;
  Le32 fpvalid;
  uint8_t pad[4];
};
static_assert(sizeof(PrstatusAarch64) == 392 && offsetof(PrstatusAarch64, fpvalid) == 384);

struct PrfpregAarch64 {
  Le64 v[32][2];  // lower half first
  Le32 fpsr, fpcr;
  uint8_t pad[8];
};
static_assert(sizeof(PrfpregAarch64) == 528 && offsetof(PrfpregAarch64, fpsr) == 512);

struct QemuSegment {
  Le32 selector, limit, flags, pad;
  Le64 base;
};
static_assert(sizeof(QemuSegment) == 24);

struct QemuCpuState {
  Le32 version, size;  // 1, sizeof(QemuCpuState); files before QEMU 5.1 end before kernel_gs_base
  Le64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  Le64 cr[5];
  Le64 kernel_gs_base;
};
static_assert(sizeof(QemuCpuState) == 440 && offsetof(QemuCpuState, rip) == 136 && offsetof(QemuCpuState, cs) == 152);
static_assert(offsetof(QemuCpuState, cr) == 392 && offsetof(QemuCpuState, kernel_gs_base) == 432);
/// Names of the registers from rax on, in their order, and of the segments from cs on; "" where a register has no name.
inline constexpr std::string_view kQemuGeneral[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8",
                                                    "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"};
static_assert(sizeof kQemuGeneral / sizeof *kQemuGeneral * sizeof(Le64) ==
              offsetof(QemuCpuState, cs) - offsetof(QemuCpuState, rax));
struct QemuSegmentNames {
  std::string_view selector, limit, flags, base;
};
inline constexpr QemuSegmentNames kQemuSegments[] = {{"cs", "cs_limit", "cs_flags", "cs_base"},
                                                     {"ds", "ds_limit", "ds_flags", "ds_base"},
                                                     {"es", "es_limit", "es_flags", "es_base"},
                                                     {"fs", "fs_limit", "fs_flags", "fs_base"},
                                                     {"gs", "gs_limit", "gs_flags", "gs_base"},
                                                     {"ss", "ss_limit", "ss_flags", "ss_base"},
                                                     {"ldtr", "ldt_limit", "ldt_flags", "ldt_base"},
                                                     {"tr", "tr_limit", "tr_flags", "tr_base"},
                                                     {"", "gdt_limit", "", "gdt_base"},
                                                     {"", "idt_limit", "", "idt_base"}};
static_assert(sizeof kQemuSegments / sizeof *kQemuSegments * sizeof(QemuSegment) ==
              offsetof(QemuCpuState, cr) - offsetof(QemuCpuState, cs));
inline constexpr size_t kQemuCpuStateOldSize = offsetof(QemuCpuState, kernel_gs_base);

}  // namespace gcore::format
