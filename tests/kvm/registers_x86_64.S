// A guest that gives every register of its vCPU a value that registers_check.cc knows, says so on the console, and then executes
// one instruction for ever. Loaded by gcore-vmm: tools/gcore-vmm/boot.h has the state in which it starts. What a processor may
// answer in more than one way the guest itself reads, and leaves in memory: RESULTS, a page a vCPU.

.set RESULTS, 0x200000

.macro wrmsr64 msr, value
    movl $\msr, %ecx
    movl $(\value) & 0xffffffff, %eax
    movl $(\value) >> 32, %edx
    wrmsr
.endm
.macro store_rax offset
    movq %rax, \offset(%rbx)
.endm
.macro store_msr msr, offset
    movl $\msr, %ecx
    rdmsr
    shlq $32, %rdx
    orq %rdx, %rax
    store_rax \offset
.endm

.macro load_ymm number
    vmovdqu vectors + 32 * \number, %ymm\number
.endm
.macro load_xmm number
    movdqu vectors + 32 * \number, %xmm\number
.endm

.section .text
.code64
.global _start
_start:
    movq %rdi, %r12                 // the vCPU's number
    movq %rdi, %rbx
    shlq $12, %rbx
    addq $RESULTS, %rbx             // rbx: this vCPU's results
    leaq 0x1000(%rbx), %rsp         // the stack is the page's end

    lgdt gdtr
    pushq $0x08
    leaq 1f(%rip), %rax
    pushq %rax
    lretq
1:  movl $0x10, %eax
    movl %eax, %ss
    movl $0x18, %eax
    movl %eax, %ds
    movl $0x20, %eax
    movl %eax, %es
    movl $0x28, %eax
    movl %eax, %fs
    movl $0x30, %eax
    movl %eax, %gs
    // Each vCPU has its task state segment: loading it marks the descriptor.
    movq %r12, %rax
    shlq $4, %rax
    addq $0x48, %rax
    ltr %ax
    lldt lldt_selector
    lidt idtr

    wrmsr64 0xc0000100, 0x0000111122223333
    wrmsr64 0xc0000101, 0xffff888811112222
    wrmsr64 0xc0000102, 0xffff999933334444
    wrmsr64 0xc0000081, 0x0023001000000000
    wrmsr64 0xc0000082, 0xffffffff81234567
    wrmsr64 0xc0000083, 0xffffffff89abcdef
    wrmsr64 0xc0000084, 0x0000000000047700
    wrmsr64 0x174, 0x10
    wrmsr64 0x175, 0x11112222
    wrmsr64 0x176, 0x33334444
    wrmsr64 0x277, 0x0007010600070106
    movl $0xc0000080, %ecx          // EFER: SCE, and NXE
    rdmsr
    orl $0x801, %eax
    wrmsr

    movabsq $0x0000123456789abc, %rax
    movq %rax, %cr2
    movl $5, %eax
    movq %rax, %cr8
    movabsq $0x0000111100001111, %rax
    movq %rax, %db0
    movabsq $0x0000222200002222, %rax
    movq %rax, %db1
    movabsq $0x0000333300003333, %rax
    movq %rax, %db2
    movabsq $0x0000444400004444, %rax
    movq %rax, %db3
    movl $0xffff0ff5, %eax
    movq %rax, %db6
    movl $0x33330400, %eax
    movq %rax, %db7

    movq vectors, %rax              // the first access maps the page; not every KVM emulates AVX for that
    // XSAVE and AVX, where the processor has them. XCR0 is left in the results: 0 without XSAVE, 7 with AVX.
    xorl %eax, %eax
    store_rax 0x28
    movl $1, %eax
    xorl %ecx, %ecx
    pushq %rbx
    cpuid
    popq %rbx
    btl $26, %ecx
    jnc no_xsave
    movl %ecx, %esi
    movq %cr4, %rax
    orq $0x40000, %rax
    movq %rax, %cr4
    movl $3, %eax
    btl $28, %esi
    jnc 1f
    movl $7, %eax
1:  xorl %edx, %edx
    xorl %ecx, %ecx
    xsetbv
    store_rax 0x28
    testl $4, %eax
    jz no_xsave
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    load_ymm \number
    .endr
    jmp vectors_done
no_xsave:
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    load_xmm \number
    .endr
vectors_done:
    ldmxcsr mxcsr_value

    fninit
    fldcw control_value
    fldt pi_value
    fldz
    fldt infinity_value
    fldt denormal_value

    movq %cr0, %rax
    store_rax 0x00
    movq %cr3, %rax
    store_rax 0x08
    movq %cr4, %rax
    store_rax 0x10
    store_msr 0xc0000080, 0x18
    store_msr 0x1b, 0x20
    // 512 bytes, in which are opcode and pointers of the last x87 instruction, as far as the processor has them.
    rex64 fxsave 0x200(%rbx)

    // "cpu N ready"
    leaq ready(%rip), %rsi
1:  movb (%rsi), %al
    testb %al, %al
    jz 3f
    cmpb $'N', %al
    jne 2f
    movb %r12b, %al
    addb $'0', %al
2:  outb %al, $0xe9
    incq %rsi
    jmp 1b

3:  movq %r12, %r15
    movabsq $0x1515151500000000, %rax
    orq %rax, %r15                  // r15 has the vCPU's number
    pushq $0xcd7                    // OF DF SF ZF AF PF CF
    popfq
    movabsq $0x0101010101010101, %rax
    movabsq $0x0202020202020202, %rbx
    movabsq $0x0303030303030303, %rcx
    movabsq $0x0404040404040404, %rdx
    movabsq $0x0505050505050505, %rsi
    movabsq $0x0606060606060606, %rdi
    movabsq $0x0707070707070707, %rbp
    movabsq $0x00007fffabcd1230, %rsp
    movabsq $0x0808080808080808, %r8
    movabsq $0x0909090909090909, %r9
    movabsq $0x1010101010101010, %r10
    movabsq $0x1111111111111111, %r11
    movabsq $0x1212121212121212, %r12
    movabsq $0x1313131313131313, %r13
    movabsq $0x1414141414141414, %r14
    jmp spin

ready: .asciz "cpu N ready\n"
.balign 16
lldt_selector: .word 0x38
mxcsr_value: .long 0x9fc0           // FZ, all masked, DAZ
control_value: .word 0x0f7f         // towards zero, 64 bits
pi_value: .quad 0xc90fdaa22168c235
    .word 0x4000
infinity_value: .quad 0x8000000000000000
    .word 0x7fff
denormal_value: .quad 0x0000000000000123
    .word 0

.org 0x1000                         // at 0x101000
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 0x08: code of 64-bit mode
    .quad 0x00cf93000000ffff        // 0x10: data
    .quad 0x00df93000000ffff        // 0x18: data, with the bit that is left to software
    .quad 0x00cf91000000ffff        // 0x20: data, read only
    .quad 0x0041930000002345        // 0x28: data of 0x12346 bytes
    .quad 0x0045930000004321        // 0x30: data of 0x54322 bytes
    .quad 0x000082104000002f        // 0x38: an LDT at 0x104000 (in 64-bit mode two entries)
    .quad 0
    .rept 4                         // 0x48, 0x58, ...: a task state segment at 0x103000 for each vCPU
    .quad 0x0000891030000067
    .quad 0
    .endr
gdt_end:
gdtr:
    .word gdt_end - gdt - 1
    .quad 0x101000
idtr:
    .word 0x3ff
    .quad 0x102000

.org 0x5000                         // at 0x105000
    // What vCPUs load into the vector registers: lower half, upper half.
vectors:
    .set n, 0
    .rept 16
    .quad 0x0101010101010101 * (n + 1), 0xf0e0d0c0b0a09000 + n, 0x1111000000000000 + n, 0x2222000000000000 + n
    .set n, n + 1
    .endr

.org 0x6000                         // at 0x106000
spin:
    jmp spin
