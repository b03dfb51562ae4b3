/* The contract between gcore-vmm and a guest program: how a vCPU starts, and what the machine has.
 *
 * Read by the VMM (C++) and by freestanding guests (C and assembly), so it holds nothing but macros.
 *
 * LOADING. `load FILE` names a little-endian ELF64 executable of the guest's architecture. The bytes of each PT_LOAD go
 * to guest-physical p_paddr, which must lie in RAM and above GCORE_BOOT_AREA_SIZE bytes from the start of the first
 * `ram` range: that area is the VMM's until the guest needs nothing of it any more. Bytes of RAM that nothing was
 * loaded to are 0.
 *
 * START. Every vCPU starts at e_entry, all at the same time, with these registers; the others are 0:
 *
 *     x86_64  aarch64  value
 *     rdi     x0       number of this vCPU, from 0
 *     rsi     x1       how many vCPUs there are
 *     rdx     x2       guest-physical address of the first `ram` range
 *     rcx     x3       its size in bytes
 *     r8      x4       guest-physical address of the NUL-terminated `cmdline` text ("" without one)
 *
 * There is no stack. Interrupts are masked (there is no interrupt controller).
 *
 * x86_64: 64-bit mode at CPL 0 with paging on. CR3 points to tables in the boot area that map the first 512 GiB to
 * themselves with 1 GiB pages, writable and executable. EFER has LME and LMA; CR4 has PAE, OSFXSR, OSXMMEXCPT. GDTR and
 * IDTR are empty: a guest loads its own before it loads a segment register. A guest builds its own page tables. The CPU
 * has no NX (EFER.NXE cannot be set, as CPUID says) and 1 GiB pages although CPUID does not say so.
 *
 * aarch64: EL1h with MMU and caches off, exceptions masked, floating point usable. A guest builds its own page tables.
 *
 * ON KVM (`engine kvm`) vCPUs start the same, on the processor that the host has: with NX where that has it, with
 * interrupts and exceptions, locked instructions, and mappings that change. CR3's tables map only the GiB in which the
 * first `ram` range starts, with 2 MiB pages. There is no interrupt controller either; WFI waits for ever. A Linux
 * kernel (`kernel FILE`) is started as its own documentation says: see linux_boot.h.
 *
 * WHAT THE EMULATOR DOES NOT DO (Unicorn 2.0.1). No interrupts and no exceptions are delivered: a vCPU that takes one
 * (a page fault, say) is stopped for good and the VMM says so; the other vCPUs run on. A mapping that a vCPU has used
 * must not change later, and on x86_64 a virtual address inside the guest's RAM range can only be mapped to itself.
 * Locked instructions are not atomic between vCPUs; aligned stores of up to 8 bytes are seen whole and in order.
 *
 * DEVICES. The clock ticks every GCORE_TICK_MILLISECONDS. HLT with interrupts enabled, or WFI, sleeps until the next
 * tick (or for less: pausing the VM wakes it too); HLT with interrupts disabled ends the vCPU.
 */
#ifndef GCORE_VMM_BOOT_H
#define GCORE_VMM_BOOT_H

#define GCORE_TICK_MILLISECONDS 10

/* Offsets in the first RAM range. */
#define GCORE_BOOT_PD 0x0 /* on KVM */
#define GCORE_BOOT_PML4 0x1000
#define GCORE_BOOT_PDPT 0x2000
#define GCORE_BOOT_CMDLINE 0x3000
#define GCORE_BOOT_AREA_SIZE 0x4000

/* I/O ports of x86_64. Bytes written to either console port come out on the VMM's standard output, a line at a time. */
#define GCORE_PORT_DEBUGCON 0xe9
#define GCORE_PORT_COM1 0x3f8
#define GCORE_PORT_COM1_STATUS 0x3fd /* reads as "ready"; all of COM1 is in serial.h */
#define GCORE_INTERRUPT_COM1 4
#define GCORE_PORT_SLEEP 0xec      /* a write sleeps until the next tick: HLT for a program at CPL 3 that has IOPL 3 */
#define GCORE_PORT_PM1_EVENT 0x600 /* ACPI's status and enable registers: nothing ever happens */
#define GCORE_PORT_POWER_OFF 0x604 /* ACPI's PM1a control: a write with 0x2000 set ends the VM */
#define GCORE_PORT_RESET 0xcf9     /* a write of GCORE_RESET ends the VM */
#define GCORE_RESET 6
#define GCORE_PORT_KEYBOARD 0x64 /* so does one of 0xfe */
/* pvpanic: reads as the events that it takes; a guest that panics writes 1. */
#define GCORE_PORT_PVPANIC 0x505
#define GCORE_PVPANIC_PANICKED 1
/* The watchdog wdt-ib700: a write starts or restarts it; the low four bits V stand for 30 - 2 * V seconds. */
#define GCORE_PORT_IB700_ENABLE 0x443
#define GCORE_PORT_IB700_DISABLE 0x441

/* Guest-physical addresses of aarch64's devices: 4 KiB each, 32-bit registers. */
#define GCORE_MMIO_UART 0x09000000     /* PL011: data at 0, flags at 0x18 (always ready) */
#define GCORE_MMIO_POWER 0x09010000    /* a write of 0x2000 ends the VM */
#define GCORE_MMIO_SERIAL 0x09020000   /* what COM1 is on x86_64, for a kernel; see serial.h */
#define GCORE_MMIO_PVPANIC 0x09030000  /* as GCORE_PORT_PVPANIC */
#define GCORE_MMIO_WATCHDOG 0x1c0f0000 /* SP805, see sp805.h; counts at 1 MHz */
#define GCORE_INTERRUPT_SERIAL 1       /* of GCORE_MMIO_SERIAL: a shared peripheral interrupt */

#endif
