// The data of the built-in guest: something worth looking at in a debugger.
#ifndef GUEST_TASK_H
#define GUEST_TASK_H

#include <stdint.h>

enum task_state { TASK_READY, TASK_RUNNING, TASK_BLOCKED, TASK_DONE };

struct task_times {
  uint64_t started;  // ticks of the vCPU when it ran first
  uint64_t ran;      // steps so far
};

struct buffer {
  uint8_t* bytes;  // in the direct map: a 1 GiB page
  uint64_t size;
};

struct task {
  char name[16];
  uint32_t id;
  enum task_state state;
  struct task_times times;
  struct buffer input;
  uint64_t checksum;
  struct task* next;  // tasks alternate between the heap (a 2 MiB page) and the image (4 KiB pages)
};

struct cpu {
  struct cpu* self;  // gs_base points here
  uint32_t number;
  const char* role;
  uint64_t ticks, heartbeats;
  struct task* tasks;  // a ring
  struct task* current;
};

struct log_entry {
  uint64_t tick;
  uint32_t level;
  char text[44];
};

struct log_ring {
  struct log_entry entries[32];
  uint64_t head, flushed;
};

// The machine, one per architecture.
void machine_putc(char c);
void machine_wait(void);  // until the next tick
void machine_start_cpu(struct cpu* cpu);
void machine_kick_watchdog(void);
void machine_run_user(struct cpu* cpu) __attribute__((noreturn));
struct task* machine_task_memory(uint32_t cpu, uint32_t index);
uint8_t* machine_buffer(uint32_t cpu, uint32_t index);
volatile uint64_t* machine_hole(void);
const char* machine_text(uint64_t physical);

void kernel_main(uint64_t number, uint64_t cpu_count, uint64_t cmdline) __attribute__((noreturn));

#endif
