// A guest that counts in memory: store number N, from 0, puts N / 1024 + 1 into page N % 1024 of the vCPU's 1024 pages. So at each
// moment its pages, and r13, which is N, tell the same number of stores; moment_check.cc looks at that. Loaded by gcore-vmm:
// tools/gcore-vmm/boot.h has the state in which it starts. When it has been everywhere once it says so on the console.

.set PAGES, 0x1000000               // and 4 MiB for each vCPU

.section .text
.code64
.global _start
_start:
    movq %rdi, %r12                 // the vCPU's number
    movq %rdi, %rbx
    shlq $22, %rbx
    addq $PAGES, %rbx
    xorl %r13d, %r13d
next:
    cmpq $1024, %r13
    je say
store:
    movq %r13, %rax
    shrq $10, %rax
    incq %rax
    movl %r13d, %edx
    andl $1023, %edx
    shll $12, %edx
    movq %rax, (%rbx, %rdx)
    incq %r13
    jmp next

// "cpu N ready"
say:
    leaq ready(%rip), %rsi
1:  movb (%rsi), %al
    testb %al, %al
    jz store
    cmpb $'N', %al
    jne 2f
    movb %r12b, %al
    addb $'0', %al
2:  outb %al, $0xe9
    incq %rsi
    jmp 1b

ready: .asciz "cpu N ready\n"
