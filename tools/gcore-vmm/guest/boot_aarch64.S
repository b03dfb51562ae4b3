// Entry of the built-in guest for aarch64, at its guest-physical address: see ../boot.h for the state at entry.

#include "tools/gcore-vmm/guest/layout.h"

.cfi_sections .debug_frame  // for debuggers; nothing unwinds at run time

.section .boot.entry, "ax", @progbits
.global _start
.type _start, @function
_start:
    .cfi_startproc
    .cfi_undefined x30
    adrp x9, boot_stacks
    add x9, x9, :lo12:boot_stacks
    add x10, x0, #1
    add x9, x9, x10, lsl #12
    mov sp, x9
    mov x29, xzr
    mov x19, x0
    mov x20, x1
    mov x21, x4
    cbnz x0, 1f
    bl boot_build_tables            // vCPU 0 does it for all
1:  adrp x9, boot_root
    add x9, x9, :lo12:boot_root
2:  ldr x10, [x9]
    cbz x10, 2b
    ldr x11, [x9, #8]               // boot_root_high

    ldr x12, =0x00ff                // attribute 0: normal memory; 1: device
    msr mair_el1, x12
    ldr x12, =0x2b5103510           // 48 bits, 4 KiB, cached, inner shareable; 40 bits of guest-physical address
    msr tcr_el1, x12
    msr ttbr0_el1, x10
    msr ttbr1_el1, x11
    isb
    tlbi vmalle1
    dsb sy
    isb
    ldr x12, =0x30d51805            // MMU, caches; WFI and WFE at EL0
    msr sctlr_el1, x12
    isb

    ldr x12, =GUEST_STACKS + GUEST_STACK_STRIDE
    mov x13, #GUEST_STACK_STRIDE
    madd x12, x19, x13, x12
    mov sp, x12
    mov x0, x19
    mov x1, x20
    mov x2, x21
    ldr x12, =kernel_entry
    br x12
    .cfi_endproc
.size _start, . - _start
.ltorg

.section .boot.data, "aw", @progbits
.balign 8
.global boot_image
boot_image:                         // what boot.c must know of the image, which is out of its reach as symbols
    .quad image_start, image_rodata, image_data, image_end, user_start, user_end
.global boot_root, boot_root_high
boot_root:
    .quad 0                         // guest-physical addresses of the root tables, once they stand
boot_root_high:
    .quad 0

.section .boot.bss, "aw", @nobits
.balign 4096
.global boot_stacks
boot_stacks:
    .skip GUEST_MAX_CPUS * 4096

.section .text.entry, "ax", @progbits
.global kernel_entry
.type kernel_entry, @function
kernel_entry:
    .cfi_startproc
    .cfi_undefined x30
    mov x29, xzr
    bl kernel_main
1:  wfi
    b 1b
    .cfi_endproc
.size kernel_entry, . - kernel_entry

// void enter_user(uint64_t entry, uint64_t stack, uint64_t argument): EL0
.global enter_user
.type enter_user, @function
enter_user:
    .cfi_startproc
    msr elr_el1, x0
    msr sp_el0, x1
    mov x9, #0x3c0
    msr spsr_el1, x9
    mov x0, x2
    mov x29, xzr
    mov x30, xzr
    eret
    .cfi_endproc
.size enter_user, . - enter_user

.section .rodata
.balign 8
.global user_entry_address
user_entry_address:
    .quad user_entry
