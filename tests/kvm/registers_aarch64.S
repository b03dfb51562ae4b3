// A guest that gives every register of its vCPU a value that registers_check.cc knows, says so on the console, and then executes
// one instruction for ever. Loaded by gcore-vmm: tools/gcore-vmm/boot.h has the state in which it starts. What a processor may
// answer in more than one way the guest itself reads, and leaves in memory: RESULTS, a page a vCPU.

.set RESULTS, 0x40200000
.set UART, 0x09000000

.macro load64 register, value
    movz \register, #((\value) & 0xffff)
    movk \register, #(((\value) >> 16) & 0xffff), lsl #16
    movk \register, #(((\value) >> 32) & 0xffff), lsl #32
    movk \register, #(((\value) >> 48) & 0xffff), lsl #48
.endm
.macro set_system name, value
    load64 x1, \value
    msr \name, x1
.endm
.macro store_system name, offset
    mrs x1, \name
    str x1, [x21, #\offset]
.endm

.section .text
.global _start
_start:
    mov x20, x0                     // the vCPU's number
    load64 x21, RESULTS
    add x21, x21, x20, lsl #12      // x21: this vCPU's results

    set_system elr_el1, 0x4e1100004e110000
    set_system spsr_el1, 0x200003c4
    set_system vbar_el1, 0x40107800
    set_system tpidr_el0, 0x7d00000000000001
    set_system tpidrro_el0, 0x7d00000000000002
    set_system tpidr_el1, 0x7d00000000000003
    set_system far_el1, 0xfa00000000000004
    set_system contextidr_el1, 0xc0d1
    set_system ttbr0_el1, 0x0005000040108000
    set_system ttbr1_el1, 0x0006000040109000
    set_system mair_el1, 0x00000000ff440400
    set_system esr_el1, 0x56000007
    set_system sp_el0, 0x5000500050005000
    load64 x1, 0x5100510051005100
    mov sp, x1
    at s1e1r, x21                   // PAR_EL1 gets what it says
    isb
    store_system sctlr_el1, 0
    store_system tcr_el1, 8
    store_system mpidr_el1, 16
    store_system midr_el1, 24
    store_system cpacr_el1, 32
    store_system par_el1, 40
    store_system id_aa64mmfr0_el1, 48

    adr x2, vectors                 // 32 times lower half, upper half
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ldr q\number, [x2, #(16 * \number)]
    .endr
    set_system fpcr, 0x00c00000
    set_system fpsr, 0x08000010

    // "cpu N ready"
    load64 x3, UART
    adr x2, ready
1:  ldrb w1, [x2], #1
    cbz w1, 3f
    cmp w1, #'N'
    b.ne 2f
    add w1, w20, #'0'
2:  str w1, [x3]
    b 1b

3:  load64 x30, 0x1f1f1f1f1f1f1f1f
    eor x30, x30, x20, lsl #56      // x30 has the vCPU's number
    set_system nzcv, 0x60000000     // Z C
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
    load64 x\number, 0x0101010101010101 * (\number + 1)
    .endr
    b spin

ready: .asciz "cpu N ready\n"
.balign 16
vectors:
    .set n, 0
    .rept 32
    .quad 0xa0a0a0a0a0a00000 + n, 0xb0b0b0b0b0b00000 + n
    .set n, n + 1
    .endr

.org 0x6000                         // at 0x40106000
spin:
    b spin
