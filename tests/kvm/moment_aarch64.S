// A guest that counts in memory: store number N, from 0, puts N / 1024 + 1 into page N % 1024 of the vCPU's 1024 pages. So at each
// moment its pages, and x13, which is N, tell the same number of stores; moment_check.cc looks at that. Loaded by gcore-vmm:
// tools/gcore-vmm/boot.h has the state in which it starts. When it has been everywhere once it says so on the console.

.set PAGES, 0x41000000              // and 4 MiB for each vCPU
.set UART, 0x09000000

.section .text
.global _start
_start:
    mov x12, x0                     // the vCPU's number
    mov x11, #PAGES
    add x11, x11, x0, lsl #22
    mov x13, #0
next:
    cmp x13, #1024
    b.eq say
store:
    lsr x0, x13, #10
    add x0, x0, #1
    and x2, x13, #1023
    lsl x2, x2, #12
    str x0, [x11, x2]
    add x13, x13, #1
    b next

// "cpu N ready"
say:
    adr x2, ready
    mov x3, #UART
1:  ldrb w1, [x2], #1
    cbz w1, store
    cmp w1, #'N'
    b.ne 2f
    add w1, w12, #'0'
2:  str w1, [x3]
    b 1b

ready: .asciz "cpu N ready\n"
