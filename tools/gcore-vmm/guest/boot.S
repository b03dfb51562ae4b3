// Entry of the built-in guest, at its guest-physical address: see ../boot.h for the state in which a vCPU arrives here.

.cfi_sections .debug_frame  // for debuggers; nothing unwinds at run time

.section .boot.entry, "ax", @progbits
.code64
.global _start
.type _start, @function
_start:
    .cfi_startproc
    .cfi_undefined rip
    // The boot stack of this vCPU: 4 KiB each, in the boot image.
    leaq boot_stacks(%rip), %rax
    leaq 1(%rdi), %rbx
    shlq $12, %rbx
    leaq (%rax, %rbx), %rsp
    xorl %ebp, %ebp
    movq %rdi, %r12
    movq %rsi, %r13
    movq %r8, %r14
    testq %rdi, %rdi
    jnz 1f
    call boot_build_tables          // vCPU 0 does it for all; returns in boot_root
    jmp 2f
1:  movq boot_root(%rip), %rax
    testq %rax, %rax
    jnz 2f
    pause
    jmp 1b
2:  movq boot_root(%rip), %rax
    movq %rax, %cr3

    leaq boot_gdtr(%rip), %rax
    lgdt (%rax)
    pushq $8
    leaq 3f(%rip), %rax
    pushq %rax
    lretq
3:  movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs

    // To the stack and the code in the kernel half: number of the vCPU, their count, and the command line.
    movabsq $GUEST_STACKS + GUEST_STACK_STRIDE, %rsp
    movq %r12, %rax
    imulq $GUEST_STACK_STRIDE, %rax
    addq %rax, %rsp
    movq %r12, %rdi
    movq %r13, %rsi
    movq %r14, %rdx
    movabsq $kernel_entry, %rax
    jmp *%rax
    .cfi_endproc
.size _start, . - _start

.section .boot.data, "aw", @progbits
.balign 16
// null, kernel code, kernel data, user data, user code
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff
boot_gdt_end:
boot_gdtr:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt
.balign 8
.global boot_image
boot_image:                         // what boot.c must know of the image, which is out of its reach as symbols
    .quad image_start, image_rodata, image_data, image_end, user_start, user_end
.global boot_root
boot_root:
    .quad 0                         // guest-physical address of the PML4, once the tables stand
.global boot_root_high
boot_root_high:
    .quad 0                         // the same: x86_64 has one root for both halves

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
    .cfi_undefined rip
    xorl %ebp, %ebp
    call kernel_main
1:  cli
    hlt
    jmp 1b
    .cfi_endproc
.size kernel_entry, . - kernel_entry

// void enter_user(uint64_t entry, uint64_t stack, uint64_t argument): CPL 3, with IOPL 3 for the console.
.global enter_user
.type enter_user, @function
enter_user:
    .cfi_startproc
    pushq $0x1b                     // ss: user data
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    pushq $0x3202                   // rflags: IF, IOPL 3
    .cfi_adjust_cfa_offset 8
    pushq $0x23                     // cs: user code
    .cfi_adjust_cfa_offset 8
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    movq %rdx, %rdi
    xorl %ebp, %ebp
    iretq
    .cfi_endproc
.size enter_user, . - enter_user
