// The registers of each machine: what machine.cc's records point to. Private to this folder.
#pragma once

#include <iterator>

#include "writer/format/registers.h"

namespace gcore::format {

// clang-format off
// SEGMENT_limit is in bytes; SEGMENT_flags is the second word of the segment's descriptor with the base's bits cleared (access
// rights in bits 8 to 15 and 20 to 23), which is what the vmcore dialect's QEMU note has.
inline constexpr RegisterInfo kX86_64[] = {
    {"rdi", 8, 0}, {"rsi", 8, 8}, {"rdx", 8, 16}, {"r10", 8, 24}, {"r8", 8, 32}, {"r9", 8, 40}, {"rax", 8, 48},
    {"rbx", 8, 56}, {"rbp", 8, 64}, {"rcx", 8, 72}, {"r11", 8, 80}, {"r12", 8, 88}, {"r13", 8, 96}, {"r14", 8, 104},
    {"r15", 8, 112}, {"rip", 8, 120}, {"cs", 4, 128}, {"rflags", 8, 136}, {"rsp", 8, 144}, {"ss", 4, 152},
    {"cr0", 8, -1}, {"cr2", 8, -1}, {"cr3", 8, -1}, {"cr4", 8, -1}, {"cr8", 8, -1}, {"efer", 8, -1}, {"xcr0", 8, -1},
    {"fs_base", 8, -1}, {"gs_base", 8, -1}, {"kernel_gs_base", 8, -1}, {"ds", 4, -1}, {"es", 4, -1}, {"fs", 4, -1},
    {"gs", 4, -1}, {"tr", 4, -1}, {"ldtr", 4, -1}, {"gdt_base", 8, -1}, {"gdt_limit", 4, -1}, {"idt_base", 8, -1},
    {"idt_limit", 4, -1}, {"tr_base", 8, -1}, {"tr_limit", 4, -1}, {"ldt_base", 8, -1}, {"ldt_limit", 4, -1},
    {"star", 8, -1}, {"lstar", 8, -1}, {"cstar", 8, -1}, {"fmask", 8, -1}, {"sysenter_cs", 8, -1},
    {"sysenter_esp", 8, -1}, {"sysenter_eip", 8, -1}, {"apic_base", 8, -1}, {"pat", 8, -1}, {"dr0", 8, -1},
    {"dr1", 8, -1}, {"dr2", 8, -1}, {"dr3", 8, -1}, {"dr6", 8, -1}, {"dr7", 8, -1}, {"fctrl", 2, -1},
    {"fstat", 2, -1}, {"ftag", 2, -1}, {"fop", 2, -1}, {"fip", 8, -1}, {"fdp", 8, -1}, {"mxcsr", 4, -1},
    {"st0.lo", 8, -1}, {"st0.hi", 2, -1}, {"st1.lo", 8, -1}, {"st1.hi", 2, -1}, {"st2.lo", 8, -1}, {"st2.hi", 2, -1},
    {"st3.lo", 8, -1}, {"st3.hi", 2, -1}, {"st4.lo", 8, -1}, {"st4.hi", 2, -1}, {"st5.lo", 8, -1}, {"st5.hi", 2, -1},
    {"st6.lo", 8, -1}, {"st6.hi", 2, -1}, {"st7.lo", 8, -1}, {"st7.hi", 2, -1}, {"xmm0.lo", 8, -1},
    {"xmm0.hi", 8, -1}, {"xmm1.lo", 8, -1}, {"xmm1.hi", 8, -1}, {"xmm2.lo", 8, -1}, {"xmm2.hi", 8, -1},
    {"xmm3.lo", 8, -1}, {"xmm3.hi", 8, -1}, {"xmm4.lo", 8, -1}, {"xmm4.hi", 8, -1}, {"xmm5.lo", 8, -1},
    {"xmm5.hi", 8, -1}, {"xmm6.lo", 8, -1}, {"xmm6.hi", 8, -1}, {"xmm7.lo", 8, -1}, {"xmm7.hi", 8, -1},
    {"xmm8.lo", 8, -1}, {"xmm8.hi", 8, -1}, {"xmm9.lo", 8, -1}, {"xmm9.hi", 8, -1}, {"xmm10.lo", 8, -1},
    {"xmm10.hi", 8, -1}, {"xmm11.lo", 8, -1}, {"xmm11.hi", 8, -1}, {"xmm12.lo", 8, -1}, {"xmm12.hi", 8, -1},
    {"xmm13.lo", 8, -1}, {"xmm13.hi", 8, -1}, {"xmm14.lo", 8, -1}, {"xmm14.hi", 8, -1}, {"xmm15.lo", 8, -1},
    {"xmm15.hi", 8, -1},
    {"cs_base", 8, -1}, {"cs_limit", 4, -1}, {"cs_flags", 4, -1}, {"ds_base", 8, -1}, {"ds_limit", 4, -1},
    {"ds_flags", 4, -1}, {"es_base", 8, -1}, {"es_limit", 4, -1}, {"es_flags", 4, -1}, {"ss_base", 8, -1},
    {"ss_limit", 4, -1}, {"ss_flags", 4, -1}, {"fs_limit", 4, -1}, {"fs_flags", 4, -1}, {"gs_limit", 4, -1},
    {"gs_flags", 4, -1}, {"ldt_flags", 4, -1}, {"tr_flags", 4, -1},
    {"ymm0h.lo", 8, -1}, {"ymm0h.hi", 8, -1}, {"ymm1h.lo", 8, -1}, {"ymm1h.hi", 8, -1}, {"ymm2h.lo", 8, -1},
    {"ymm2h.hi", 8, -1}, {"ymm3h.lo", 8, -1}, {"ymm3h.hi", 8, -1}, {"ymm4h.lo", 8, -1}, {"ymm4h.hi", 8, -1},
    {"ymm5h.lo", 8, -1}, {"ymm5h.hi", 8, -1}, {"ymm6h.lo", 8, -1}, {"ymm6h.hi", 8, -1}, {"ymm7h.lo", 8, -1},
    {"ymm7h.hi", 8, -1}, {"ymm8h.lo", 8, -1}, {"ymm8h.hi", 8, -1}, {"ymm9h.lo", 8, -1}, {"ymm9h.hi", 8, -1},
    {"ymm10h.lo", 8, -1}, {"ymm10h.hi", 8, -1}, {"ymm11h.lo", 8, -1}, {"ymm11h.hi", 8, -1}, {"ymm12h.lo", 8, -1},
    {"ymm12h.hi", 8, -1}, {"ymm13h.lo", 8, -1}, {"ymm13h.hi", 8, -1}, {"ymm14h.lo", 8, -1}, {"ymm14h.hi", 8, -1},
    {"ymm15h.lo", 8, -1}, {"ymm15h.hi", 8, -1},
};

// elr is the program counter: the name is that of the structure in the public header.
inline constexpr RegisterInfo kAarch64[] = {
    {"x0", 8, 0}, {"x1", 8, 8}, {"x2", 8, 16}, {"x3", 8, 24}, {"x4", 8, 32}, {"x5", 8, 40}, {"x6", 8, 48},
    {"x7", 8, 56}, {"x8", 8, 64}, {"x9", 8, 72}, {"x10", 8, 80}, {"x11", 8, 88}, {"x12", 8, 96}, {"x13", 8, 104},
    {"x14", 8, 112}, {"x15", 8, 120}, {"x16", 8, 128}, {"x17", 8, 136}, {"x18", 8, 144}, {"x19", 8, 152},
    {"x20", 8, 160}, {"x21", 8, 168}, {"x22", 8, 176}, {"x23", 8, 184}, {"x24", 8, 192}, {"x25", 8, 200},
    {"x26", 8, 208}, {"x27", 8, 216}, {"x28", 8, 224}, {"x29", 8, 232}, {"x30", 8, 240}, {"sp", 8, 248},
    {"elr", 8, 256}, {"pstate", 8, 264}, {"sctlr_el1", 8, -1}, {"tcr_el1", 8, -1}, {"ttbr0_el1", 8, -1},
    {"ttbr1_el1", 8, -1}, {"mair_el1", 8, -1}, {"vbar_el1", 8, -1}, {"esr_el1", 8, -1}, {"far_el1", 8, -1},
    {"elr_el1", 8, -1}, {"spsr_el1", 8, -1}, {"sp_el0", 8, -1}, {"sp_el1", 8, -1}, {"tpidr_el0", 8, -1},
    {"tpidr_el1", 8, -1}, {"tpidrro_el0", 8, -1}, {"contextidr_el1", 8, -1}, {"mpidr_el1", 8, -1},
    {"midr_el1", 8, -1}, {"cpacr_el1", 8, -1}, {"par_el1", 8, -1}, {"id_aa64mmfr0_el1", 8, -1}, {"v0.lo", 8, -1},
    {"v0.hi", 8, -1}, {"v1.lo", 8, -1}, {"v1.hi", 8, -1}, {"v2.lo", 8, -1}, {"v2.hi", 8, -1}, {"v3.lo", 8, -1},
    {"v3.hi", 8, -1}, {"v4.lo", 8, -1}, {"v4.hi", 8, -1}, {"v5.lo", 8, -1}, {"v5.hi", 8, -1}, {"v6.lo", 8, -1},
    {"v6.hi", 8, -1}, {"v7.lo", 8, -1}, {"v7.hi", 8, -1}, {"v8.lo", 8, -1}, {"v8.hi", 8, -1}, {"v9.lo", 8, -1},
    {"v9.hi", 8, -1}, {"v10.lo", 8, -1}, {"v10.hi", 8, -1}, {"v11.lo", 8, -1}, {"v11.hi", 8, -1}, {"v12.lo", 8, -1},
    {"v12.hi", 8, -1}, {"v13.lo", 8, -1}, {"v13.hi", 8, -1}, {"v14.lo", 8, -1}, {"v14.hi", 8, -1}, {"v15.lo", 8, -1},
    {"v15.hi", 8, -1}, {"v16.lo", 8, -1}, {"v16.hi", 8, -1}, {"v17.lo", 8, -1}, {"v17.hi", 8, -1}, {"v18.lo", 8, -1},
    {"v18.hi", 8, -1}, {"v19.lo", 8, -1}, {"v19.hi", 8, -1}, {"v20.lo", 8, -1}, {"v20.hi", 8, -1}, {"v21.lo", 8, -1},
    {"v21.hi", 8, -1}, {"v22.lo", 8, -1}, {"v22.hi", 8, -1}, {"v23.lo", 8, -1}, {"v23.hi", 8, -1}, {"v24.lo", 8, -1},
    {"v24.hi", 8, -1}, {"v25.lo", 8, -1}, {"v25.hi", 8, -1}, {"v26.lo", 8, -1}, {"v26.hi", 8, -1}, {"v27.lo", 8, -1},
    {"v27.hi", 8, -1}, {"v28.lo", 8, -1}, {"v28.hi", 8, -1}, {"v29.lo", 8, -1}, {"v29.hi", 8, -1}, {"v30.lo", 8, -1},
    {"v30.hi", 8, -1}, {"v31.lo", 8, -1}, {"v31.hi", 8, -1}, {"fpsr", 4, -1}, {"fpcr", 4, -1},
    {"hcr_el2", 8, -1}, {"sctlr_el2", 8, -1}, {"tcr_el2", 8, -1}, {"ttbr0_el2", 8, -1}, {"ttbr1_el2", 8, -1},
    {"vttbr_el2", 8, -1}, {"vtcr_el2", 8, -1}, {"mair_el2", 8, -1}, {"vbar_el2", 8, -1}, {"esr_el2", 8, -1},
    {"far_el2", 8, -1}, {"hpfar_el2", 8, -1}, {"elr_el2", 8, -1}, {"spsr_el2", 8, -1}, {"sp_el2", 8, -1},
    {"tpidr_el2", 8, -1}, {"contextidr_el2", 8, -1},
};

// When cs & 3 is 0, esp and ss are not valid: the stack pointer is exx + 12, and ss is 0.
inline constexpr RegisterInfo kX86[] = {
    {"edi", 4, 0}, {"esi", 4, 4}, {"ebp", 4, 8}, {"exx", 4, 12}, {"ebx", 4, 16}, {"edx", 4, 20}, {"ecx", 4, 24},
    {"eax", 4, 28}, {"eip", 4, 32}, {"cs", 4, 36}, {"efl", 4, 40}, {"esp", 4, 44}, {"ss", 4, 48}, {"cr0", 4, -1},
    {"cr2", 4, -1}, {"cr3", 4, -1}, {"cr4", 4, -1}, {"efer", 4, -1}, {"ds", 4, -1}, {"es", 4, -1}, {"fs", 4, -1},
    {"gs", 4, -1},
};
// clang-format on

static_assert(std::size(kX86_64) <= kMaxRegisters && std::size(kAarch64) <= kMaxRegisters);

}  // namespace gcore::format
