/* The C interface, used from C: the header must compile as such. c_api_test.cc calls these. */
#include "tests/writer/c_api_test.h"

#include <errno.h>
#include <string.h>

static const char* name(void* self) { return ((struct c_guest*)self)->name; }
static int pause_guest(void* self) {
  ((struct c_guest*)self)->pauses++;
  return ((struct c_guest*)self)->pause_error;
}
static void resume_guest(void* self) { ((struct c_guest*)self)->resumes++; }
static size_t cpu_count(void* self) {
  (void)self;
  return 1;
}
static int read_cpu(void* self, size_t index, gcore_registers* registers) {
  (void)self;
  (void)index;
  if (gcore_register_set(registers, "no_such_register", 1) != -1) return -1;
  return gcore_register_set(registers, "rip", 0x1234);
}
static size_t cpu_number(void* self, size_t index) { return ((struct c_guest*)self)->first_number + index; }
static size_t memory(void* self, struct gcore_memory_range* ranges, size_t room) {
  struct c_guest* guest = self;
  for (size_t i = 0; i < guest->ranges && i < room; ++i) {
    memset(&ranges[i], 0, sizeof ranges[i]);
    ranges[i].address = i * 8192;
    ranges[i].size = 4096;
    ranges[i].host = guest->page;
    ranges[i].fd = -1;
  }
  return guest->ranges;
}

void c_guest_functions(struct gcore_guest* functions, struct c_guest* guest) {
  gcore_guest_init(functions);
  functions->self = guest;
  functions->name = name;
  functions->pause = pause_guest;
  functions->resume = resume_guest;
  functions->cpu_count = cpu_count;
  functions->read_cpu = read_cpu;
  functions->memory = memory;
  functions->cpu_number = cpu_number;
}

int c_dump(struct c_guest* guest, const char* target, struct gcore_result* result) {
  struct gcore_guest functions;
  struct gcore_options options;
  c_guest_functions(&functions, guest);
  gcore_options_init(&options);
  options.target = target;
  options.program = "c-vmm 1";
  return gcore_dump(&functions, &options, GCORE_REASON_WATCHDOG, "wdt", 0, result);
}
