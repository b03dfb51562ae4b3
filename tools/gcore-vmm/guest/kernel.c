// The built-in guest: vCPUs that do different things for ever, a few calls deep, and say once in a while that they
// live.
//
// vCPU 0, 3, 6...: a scheduler that runs workers over a ring of tasks. 1, 4, 7...: a logger. 2, 5, 8...: the user
// program. Words of the command line: heartbeat=TICKS, hang-after=N and panic-after=N (heartbeats of vCPU 0; it then
// stops kicking the watchdog, or touches an address that is not mapped), quiet, busy (never sleep: a tick is then a
// step of work).
#include "tools/gcore-vmm/guest/layout.h"
#include "tools/gcore-vmm/guest/task.h"

#define FRAME __attribute__((noinline))  // a frame of its own in every backtrace
#define TASKS 6

const char banner[] = "gcore built-in guest";

static struct cpu cpus[GUEST_MAX_CPUS];
static struct log_ring logs[GUEST_MAX_CPUS];
static const char* const task_names[TASKS] = {"init", "net-rx", "disk-flush", "compress", "audit", "idle-scan"};

static struct {
  uint64_t heartbeat, hang_after, panic_after, quiet, busy;
} settings = {50, 0, 0, 0, 0};

static void print(const char* text) {
  while (*text) machine_putc(*text++);
}

static void print_number(uint64_t value) {
  char digits[21];
  int at = 20;
  digits[at] = 0;
  do digits[--at] = (char)('0' + value % 10);
  while (value /= 10);
  print(digits + at);
}

static void copy_text(char* to, const char* from, uint64_t size) {
  uint64_t i = 0;
  for (; i + 1 < size && from[i]; ++i) to[i] = from[i];
  to[i] = 0;
}

// The number after `word`= in the command line; 1 for a word that stands alone; `otherwise` when it is not there.
static uint64_t setting(const char* line, const char* word, uint64_t otherwise) {
  while (*line) {
    while (*line == ' ') ++line;
    const char* w = word;
    while (*w && *line == *w) ++line, ++w;
    if (!*w && (*line == '=' || *line == ' ' || !*line)) {
      if (*line != '=') return 1;
      uint64_t value = 0;
      for (++line; *line >= '0' && *line <= '9'; ++line) value = value * 10 + (uint64_t)(*line - '0');
      return value;
    }
    while (*line && *line != ' ') ++line;
  }
  return otherwise;
}

FRAME static void panic(struct cpu* cpu, const char* why) {
  print("cpu ");
  print_number(cpu->number);
  print(": panic: ");
  print(why);
  print("\n");
  *machine_hole() = 0xdead;
}

FRAME static void heartbeat(struct cpu* cpu) {
  ++cpu->heartbeats;
  if (!settings.quiet) {
    print("cpu ");
    print_number(cpu->number);
    print(": heartbeat ");
    print_number(cpu->heartbeats);
    print(" ");
    print(cpu->role);
    print("\n");
  }
  if (cpu->number != 0) return;
  if (!settings.hang_after || cpu->heartbeats <= settings.hang_after) machine_kick_watchdog();
  if (settings.panic_after && cpu->heartbeats == settings.panic_after) panic(cpu, "asked for by the command line");
}

FRAME static void wait_for_tick(struct cpu* cpu) {
  if (!settings.busy) machine_wait();
  if (++cpu->ticks % settings.heartbeat == 0) heartbeat(cpu);
}

// Fletcher's checksum, a tick a block.
FRAME static uint64_t checksum_block(struct cpu* cpu, const uint8_t* bytes, uint64_t size) {
  uint32_t low = 0, high = 0;
  for (uint64_t i = 0; i < size; ++i) {
    low = (low + bytes[i]) % 65535;
    high = (high + low) % 65535;
  }
  wait_for_tick(cpu);
  return (uint64_t)high << 32 | low;
}

FRAME static uint64_t checksum_buffer(struct cpu* cpu, const struct buffer* buffer) {
  uint64_t sum = 0;
  for (uint64_t at = 0; at < buffer->size; at += 1024) sum = sum * 31 + checksum_block(cpu, buffer->bytes + at, 1024);
  return sum;
}

FRAME static void worker_step(struct cpu* cpu, struct task* task) {
  struct task_times before = task->times;
  uint64_t sum = checksum_buffer(cpu, &task->input);
  if (task->checksum && task->checksum != sum) panic(cpu, "a checksum changed");
  task->checksum = sum;
  task->times.ran = before.ran + 1;
}

FRAME static void run_task(struct cpu* cpu, struct task* task) {
  cpu->current = task;
  task->state = TASK_RUNNING;
  if (!task->times.ran) task->times.started = cpu->ticks;
  worker_step(cpu, task);
  task->state = task->times.ran % 4 ? TASK_READY : TASK_BLOCKED;
}

static struct task* make_tasks(struct cpu* cpu) {
  struct task *first = 0, *last = 0;
  for (uint32_t i = 0; i < TASKS; ++i) {
    struct task* task = machine_task_memory(cpu->number, i);
    copy_text(task->name, task_names[i], sizeof task->name);
    task->id = 100 * (cpu->number + 1) + i;
    task->state = TASK_READY;
    task->input = (struct buffer){machine_buffer(cpu->number, i), 4096};
    for (uint64_t at = 0; at < task->input.size; ++at) task->input.bytes[at] = (uint8_t)(at * (i + 3) >> 2);
    if (last)
      last->next = task;
    else
      first = task;
    last = task;
  }
  last->next = first;
  return first;
}

FRAME __attribute__((noreturn)) static void scheduler_run(struct cpu* cpu) {
  struct task* task = cpu->tasks = make_tasks(cpu);
  for (;;) {
    run_task(cpu, task);
    task = task->next;
  }
}

FRAME static void format_entry(struct cpu* cpu, struct log_entry* entry, uint64_t sequence) {
  entry->tick = cpu->ticks;
  entry->level = (uint32_t)(sequence % 3);
  copy_text(entry->text, sequence % 3 == 2 ? "warning: queue is long" : "link is up", sizeof entry->text);
}

FRAME static void flush_entries(struct cpu* cpu, struct log_ring* ring, uint64_t up_to) {
  while (ring->flushed < up_to) {
    struct log_entry* entry = &ring->entries[ring->flushed % 32];
    wait_for_tick(cpu);
    if (entry->level > 2) panic(cpu, "a log entry is damaged");
    ++ring->flushed;
  }
}

FRAME __attribute__((noreturn)) static void logger_run(struct cpu* cpu, struct log_ring* ring) {
  for (;;) {
    for (int i = 0; i < 8; ++i, ++ring->head) format_entry(cpu, &ring->entries[ring->head % 32], ring->head);
    flush_entries(cpu, ring, ring->head);
  }
}

void kernel_main(uint64_t number, uint64_t cpu_count, uint64_t cmdline) {
  if (number >= GUEST_MAX_CPUS)
    for (;;) machine_wait();
  const char* line = machine_text(cmdline);
  if (number == 0) {
    settings.hang_after = setting(line, "hang-after", 0);
    settings.panic_after = setting(line, "panic-after", 0);
    settings.quiet = setting(line, "quiet", 0);
    print(banner);
    print(", vCPUs: ");
    print_number(cpu_count);
    print("\n");
    machine_kick_watchdog();
  }
  uint64_t beat = setting(line, "heartbeat", 50);
  settings.heartbeat = beat ? beat : 1;  // every vCPU stores the same
  settings.busy = setting(line, "busy", 0);

  struct cpu* cpu = &cpus[number];
  cpu->self = cpu;
  cpu->number = (uint32_t)number;
  machine_start_cpu(cpu);
  switch (number % 3) {
    case 0:
      cpu->role = "scheduler";
      scheduler_run(cpu);
    case 1:
      cpu->role = "logger";
      logger_run(cpu, &logs[number]);
    default:
      cpu->role = "user";
      machine_run_user(cpu);
  }
}
