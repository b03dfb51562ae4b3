// What the built-in guest needs of an aarch64 machine.
#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest/layout.h"
#include "tools/gcore-vmm/guest/task.h"

void enter_user(uint64_t entry, uint64_t stack, uint64_t argument) __attribute__((noreturn));
extern const uint64_t user_entry_address;  // too far away for a symbol

static struct task image_tasks[GUEST_MAX_CPUS][8];

static volatile uint32_t* device(uint64_t page, uint64_t offset) {
  return (volatile uint32_t*)(GUEST_DEVICES + page * 4096 + offset);
}

void machine_putc(char c) { *device(0, 0) = (uint8_t)c; }

void machine_wait(void) { __asm__ volatile("wfi" ::: "memory"); }

void machine_kick_watchdog(void) {
  *device(2, 0) = 1000000;  // at 1 MHz; it expires after the second period
  *device(2, 8) = 3;
  *device(2, 0xc) = 1;
}

void machine_start_cpu(struct cpu* cpu) { __asm__ volatile("msr tpidr_el1, %0" ::"r"(cpu)); }

void machine_run_user(struct cpu* cpu) {
  enter_user(user_entry_address, GUEST_USER_STACK + cpu->number * 0x2000ull + 4096, cpu->number);
}

struct task* machine_task_memory(uint32_t cpu, uint32_t index) {
  struct task* heap = (struct task*)(GUEST_HEAP + cpu * (uint64_t)GUEST_HEAP_STRIDE);
  return index % 2 ? &image_tasks[cpu][index] : &heap[index * 3];
}

uint8_t* machine_buffer(uint32_t cpu, uint32_t index) {
  return (uint8_t*)(GUEST_DIRECT_MAP + GUEST_BUFFERS + cpu * 0x10000ull + index * 0x2000ull);
}

volatile uint64_t* machine_hole(void) { return (volatile uint64_t*)(GUEST_STACKS + 0x100); }

const char* machine_text(uint64_t physical) { return (const char*)(GUEST_DIRECT_MAP + (physical - GUEST_PHYSICAL)); }
