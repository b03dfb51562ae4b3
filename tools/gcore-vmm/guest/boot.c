// Page tables of the built-in guest, built by vCPU 0 while the identity map of the VMM is still in force.
//
// They are meant to be hard on a debugger that guesses: no offset leads from a kernel address to its guest-physical
// one, and neighbouring pages lie far apart. This file is linked at its guest-physical address and reaches no symbol of
// the kernel.
#include <stdint.h>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest/layout.h"

// What a mapping allows, and how the machine's tables say so.
enum { kWrite = 1, kUser = 2, kDevice = 4 };

#ifdef __aarch64__
static uint64_t table_entry(uint64_t table) { return table | 3; }
static uint64_t leaf_entry(uint64_t physical, int level, int rights) {
  uint64_t entry = physical | (level ? 1 : 3) | 1 << 10 | 3 << 8;  // valid, accessed, inner shareable
  if (!(rights & kWrite)) entry |= 1 << 7;
  if (rights & kUser) entry |= 1 << 6;
  if (rights & kDevice) entry |= 1 << 2;  // memory attribute 1
  return entry;
}
#else
static uint64_t table_entry(uint64_t table) { return table | 7; }
static uint64_t leaf_entry(uint64_t physical, int level, int rights) {
  return physical | 1 | (rights & kWrite ? 2 : 0) | (rights & kUser ? 4 : 0) | (level ? 0x80 : 0);
}
#endif

struct boot_image {
  uint64_t start, rodata, data, end, user_start, user_end;
};
extern const struct boot_image boot_image;
extern volatile uint64_t boot_root, boot_root_high;  // of the lower and the upper half; x86_64 has one for both

static uint64_t next_frame;

// 197 is odd, so it visits each of the frames, a power of two, once.
static uint64_t take_frame(void) {
  uint64_t index = (next_frame++ * 197 + 61) % GUEST_FRAME_COUNT;
  return GUEST_FRAMES + index * 4096;
}

static uint64_t* entry_at(uint64_t table, uint64_t address, int level) {
  return (uint64_t*)table + ((address >> (12 + 9 * level)) & 511);
}

// The table below the entry, made when there is none. Rights are decided by the last entry alone.
static uint64_t table_below(uint64_t* entry) {
  if (!(*entry & 1)) *entry = table_entry(take_frame());
  return *entry & 0x0000fffffffff000;
}

static uint64_t roots[2];

// level: 0 for a page of 4 KiB, 1 for 2 MiB, 2 for 1 GiB
static void map(uint64_t address, uint64_t physical, int level, int rights) {
  uint64_t table = roots[address >> 63];
  for (int at = 3; at > level; --at) table = table_below(entry_at(table, address, at));
  *entry_at(table, address, level) = leaf_entry(physical, level, rights);
}

static void map_copy(uint64_t address, uint64_t from, int rights) {
  uint64_t frame = take_frame();
  for (int i = 0; i < 512; ++i) ((volatile uint64_t*)frame)[i] = ((const uint64_t*)from)[i];
  map(address, frame, 0, rights);
}

void boot_build_tables(uint64_t number, uint64_t cpu_count) {
  (void)number;
  roots[0] = roots[1] = take_frame();
#ifdef __aarch64__
  roots[1] = take_frame();
  for (uint64_t i = 0; i < 3; ++i) {
    const uint64_t devices[] = {GCORE_MMIO_UART, GCORE_MMIO_POWER, GCORE_MMIO_WATCHDOG};
    map(GUEST_DEVICES + i * 4096, devices[i], 0, kWrite | kDevice);
  }
  map(GUEST_USER_CONSOLE, GCORE_MMIO_UART, 0, kUser | kWrite | kDevice);
#endif
  extern char boot_start[], boot_end[];
  for (uint64_t at = (uint64_t)boot_start; at < (uint64_t)boot_end; at += 4096) map(at, at, 0, kWrite);

  for (uint64_t at = boot_image.start; at < boot_image.end; at += 4096)
    map_copy(at, GUEST_IMAGE_PHYSICAL + (at - boot_image.start), at < boot_image.data ? 0 : kWrite);
  // The user program follows the image in guest-physical memory.
  uint64_t user_physical = GUEST_IMAGE_PHYSICAL + (boot_image.end - boot_image.start);
  for (uint64_t at = boot_image.user_start; at < boot_image.user_end; at += 4096)
    map_copy(at, user_physical + (at - boot_image.user_start), kUser);

  for (uint64_t cpu = 0; cpu < cpu_count && cpu < GUEST_MAX_CPUS; ++cpu) {
    uint64_t top = GUEST_STACKS + (cpu + 1) * GUEST_STACK_STRIDE;
    for (uint64_t at = top - GUEST_STACK_SIZE; at < top; at += 4096) map(at, take_frame(), 0, kWrite);
    map(GUEST_USER_STACK + cpu * 0x2000, take_frame(), 0, kUser | kWrite);
  }
  map(GUEST_HEAP, GUEST_HEAP_PHYSICAL, 1, kWrite);
  map(GUEST_DIRECT_MAP, GUEST_PHYSICAL, 2, kWrite);
  boot_root_high = roots[1];
  boot_root = roots[0];  // last: the other vCPUs wait for it
}
