/* vmm.cc once more, for a VMM in plain C; with a Dumper, whose request is what a signal handler would make. */
#define _GNU_SOURCE
#include <gcore_dump.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kSize = 4 << 20 };

struct tiny_vm {
  void* ram;
  int fd;
};

static const char* name(void* self) {
  (void)self;
  return "tiny";
}
static int pause_guest(void* self) {
  (void)self;
  return 0;
}
static void resume_guest(void* self) { (void)self; }
static size_t cpu_count(void* self) {
  (void)self;
  return 1;
}
static int read_cpu(void* self, size_t index, gcore_registers* registers) {
  (void)self;
  (void)index;
  if (gcore_register_set(registers, "rip", 0xfff0) != 0) return -1;
  return gcore_register_set(registers, "cr0", 0x10);
}
static size_t memory(void* self, struct gcore_memory_range* ranges, size_t room) {
  const struct tiny_vm* vm = self;
  if (room > 0) ranges[0] = (struct gcore_memory_range){0, kSize, vm->ram, vm->fd, 0};
  return 1;
}

int main(int argc, char** argv) {
  struct tiny_vm vm;
  struct gcore_guest guest;
  struct gcore_options options;
  static struct gcore_result result;
  gcore_dumper* dumper;
  char error[1024];
  int status;

  gcore_result_init(&result);
  vm.fd = memfd_create("guest", MFD_CLOEXEC);
  if (argc != 2 || vm.fd < 0 || ftruncate(vm.fd, kSize) != 0) return 2;
  vm.ram = mmap(NULL, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, vm.fd, 0);
  if (vm.ram == MAP_FAILED) return 2;
  strcpy((char*)vm.ram + 0x5000, "embedded");

  gcore_guest_init(&guest);
  guest.self = &vm;
  guest.machine = GCORE_MACHINE_X86_64;
  guest.name = name;
  guest.pause = pause_guest;
  guest.resume = resume_guest;
  guest.cpu_count = cpu_count;
  guest.read_cpu = read_cpu;
  guest.memory = memory;
  gcore_options_init(&options);
  options.target = argv[1];
  options.program = "tiny-vmm 1";

  dumper = gcore_dumper_create(&guest, &options, NULL, NULL, error, sizeof error);
  if (!dumper) {
    fprintf(stderr, "%s\n", error);
    return 1;
  }
  gcore_dumper_request(dumper);
  status = gcore_dumper_wait(dumper, &result);
  gcore_dumper_destroy(dumper);
  if (status != 0) {
    fprintf(stderr, "%s\n", result.error);
    return 1;
  }
  puts(result.path);
  return 0;
}
