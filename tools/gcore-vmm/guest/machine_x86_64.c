// What the built-in guest needs of an x86_64 machine.
#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest/layout.h"
#include "tools/gcore-vmm/guest/task.h"

void enter_user(uint64_t entry, uint64_t stack, uint64_t argument) __attribute__((noreturn));

static struct task image_tasks[GUEST_MAX_CPUS][8];

static void write_port(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }

static void write_msr(uint32_t msr, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

void machine_putc(char c) { write_port(GCORE_PORT_DEBUGCON, (uint8_t)c); }

void machine_wait(void) { __asm__ volatile("sti; hlt" ::: "memory"); }

void machine_kick_watchdog(void) { write_port(GCORE_PORT_IB700_ENABLE, 0xe); }

void machine_start_cpu(struct cpu* cpu) {
  write_msr(0xc0000101, (uint64_t)cpu);                     // gs_base
  write_msr(0xc0000102, 0x00007f0000000000 + cpu->number);  // kernel_gs_base
}

void machine_run_user(struct cpu* cpu) {
  uint64_t entry;  // too far away for the addresses that a kernel's code model can form
  __asm__("movabsq $user_entry, %0" : "=r"(entry));
  enter_user(entry, GUEST_USER_STACK + cpu->number * 0x2000ull + 4096, cpu->number);
}

struct task* machine_task_memory(uint32_t cpu, uint32_t index) {
  struct task* heap = (struct task*)(GUEST_HEAP + cpu * (uint64_t)GUEST_HEAP_STRIDE);
  return index % 2 ? &image_tasks[cpu][index] : &heap[index * 3];
}

uint8_t* machine_buffer(uint32_t cpu, uint32_t index) {
  return (uint8_t*)(GUEST_DIRECT_MAP + GUEST_BUFFERS + cpu * 0x10000ull + index * 0x2000ull);
}

volatile uint64_t* machine_hole(void) { return (volatile uint64_t*)(GUEST_STACKS + 0x100); }

const char* machine_text(uint64_t physical) { return (const char*)(GUEST_DIRECT_MAP + physical); }
