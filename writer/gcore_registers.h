/* The registers that a dump can hold: their names and how their values are encoded. For C and C++ alike: a name is what
 * gcore_register_set() and RegisterFile::set() take, and what debuggers and gcore-inspect show. gcore-registers(7) is
 * the same as a manual page.
 *
 * A register is one number of at most 64 bits. One that is wider stands in two, NAME.lo (bits 0 to 63) and NAME.hi (the
 * rest). Set each one that you know, whatever its value, and no other: one that was not set is shown as unavailable,
 * which is not the same as 0. Set both halves, or none.
 *
 * x86_64
 *   rax rbx rcx rdx rsi rdi rbp rsp r8 to r15 rip rflags
 *   cs ss ds es fs gs tr ldtr     selectors, 16 bits
 *   cs_base ... (cs ds es ss), fs_base gs_base tr_base ldt_base gdt_base idt_base
 *   cs_limit ... (cs ds es ss fs gs), tr_limit ldt_limit gdt_limit idt_limit
 *                                 in bytes, whatever the descriptor's granularity
 *   cs_flags ... (cs ds es ss fs gs), tr_flags ldt_flags
 *                                 the second word of the segment's descriptor without its bits of base: type, S, DPL
 * and P in bits 8 to 15, bits 16 to 19 of the limit as they are, AVL, L, D/B and G in bits 20 to
 *                                 23. In KVM's struct kvm_segment: type << 8 | s << 12 | dpl << 13 | present << 15 |
 *                                 avl << 20 | l << 21 | db << 22 | g << 23
 *   cr0 cr2 cr3 cr4 cr8 xcr0 dr0 to dr3 dr6 dr7
 *   efer star lstar cstar fmask kernel_gs_base sysenter_cs sysenter_esp sysenter_eip pat apic_base
 *                                 model specific registers; fmask is SFMASK
 *   fctrl fstat fop fip fdp mxcsr control word, status word (TOP in bits 11 to 13), opcode, instruction and data
 * pointer ftag                          the full tag word of 16 bits, two for each physical register (0 valid, 1 zero,
 * 2 special, 3 empty), as FSTENV stores it: not the byte that FXSAVE, and so KVM's struct kvm_fpu, has, in which a bit
 * says "in use" st0.lo st0.hi to st7.lo st7.hi by their distance from TOP, as FXSAVE stores them: 64 bits of mantissa;
 * sign and exponent (16 bits) xmm0.lo xmm0.hi to xmm15.lo xmm15.hi
 *   ymm0h.lo ymm0h.hi to ymm15h.lo ymm15h.hi   the upper halves of ymm0 to ymm15, where the guest has AVX switched on
 *
 * aarch64
 *   x0 to x30 sp elr pstate       of the exception level that the vCPU is in; elr is the program counter; pstate has
 * the bits of SPSR: NZCV, DAIF, and the level and stack in bits 0 to 4 sctlr_el1 tcr_el1 ttbr0_el1 ttbr1_el1 mair_el1
 * vbar_el1 esr_el1 far_el1 elr_el1 spsr_el1 sp_el0 sp_el1 tpidr_el0 tpidr_el1 tpidrro_el0 contextidr_el1 mpidr_el1
 * midr_el1 cpacr_el1 par_el1 id_aa64mmfr0_el1 hcr_el2 sctlr_el2 tcr_el2 ttbr0_el2 ttbr1_el2 vttbr_el2 vtcr_el2 mair_el2
 * vbar_el2 esr_el2 far_el2 hpfar_el2 elr_el2 spsr_el2 sp_el2 tpidr_el2 contextidr_el2 as the architecture has them;
 * elr_el1 is where the last exception came from, not the program counter v0.lo v0.hi to v31.lo v31.hi fpsr fpcr
 *
 * x86 (32 bits)
 *   eax ebx ecx edx esi edi ebp esp eip efl cs ss ds es fs gs cr0 cr2 cr3 cr4 efer
 *   exx                           what qnx dumps have in place of esp while cs & 3 is 0: esp - 12. The writer sets it
 *
 * A debugger translates addresses only of a vCPU with cr0, cr3, cr4 and efer; sctlr_el1, tcr_el1, ttbr0_el1 and
 * ttbr1_el1 (of a guest that has EL2 also hcr_el2 and the same of _el2). It unwinds with rip, rsp and rbp; elr, sp, x29
 * and x30. */
/* NOLINTBEGIN(readability-identifier-naming): C's habit */
#ifndef GCORE_WRITER_GCORE_REGISTERS_H
#define GCORE_WRITER_GCORE_REGISTERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How many registers a machine (enum gcore_machine of gcore_dump.h) has; 0 when it is none that can be dumped. */
size_t gcore_register_count(int machine);
/* The name of one of them, from 0; NULL beyond the last. */
const char* gcore_register_name(int machine, size_t index);
/* How many bytes of its value mean something: 2, 4 or 8; 0 beyond the last. */
int gcore_register_bytes(int machine, size_t index);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(readability-identifier-naming) */

#endif
