// Page tables of the built-in guest, built by vCPU 0 while the identity map of the VMM is still in force.
//
// They are meant to be hard on a debugger that guesses: no offset leads from a kernel address to its guest-physical one, and
// neighbouring pages lie far apart. This file is linked at its guest-physical address and reaches no symbol of the kernel.
#include <stdint.h>

#include "tools/gcore-vmm/guest/layout.h"

enum : uint64_t { kPresent = 1, kWrite = 2, kUser = 4, kLarge = 0x80, kGlobal = 0x100 };

struct boot_image {
  uint64_t start, rodata, data, end, user_start, user_end;
};
extern const struct boot_image boot_image;
extern volatile uint64_t boot_root;

static uint64_t next_frame;

// 197 is odd, so it visits each of the 512 frames once.
static uint64_t take_frame(void) {
  uint64_t index = (next_frame++ * 197 + 61) % GUEST_FRAME_COUNT;
  return GUEST_FRAMES + index * 4096;
}

static uint64_t *entry_at(uint64_t table, uint64_t address, int level) {
  return (uint64_t *)table + ((address >> (12 + 9 * level)) & 511);
}

// The table below the entry, made when there is none. Rights are decided by the last entry alone.
static uint64_t table_below(uint64_t *entry) {
  if (!(*entry & kPresent)) *entry = take_frame() | kPresent | kWrite | kUser;
  return *entry & 0x000ffffffffff000;
}

// level: 0 for a page of 4 KiB, 1 for 2 MiB, 2 for 1 GiB
static void map(uint64_t root, uint64_t address, uint64_t physical, int level, uint64_t flags) {
  uint64_t table = root;
  for (int at = 3; at > level; --at) table = table_below(entry_at(table, address, at));
  *entry_at(table, address, level) = physical | kPresent | flags | (level ? kLarge : 0);
}

static void map_copy(uint64_t root, uint64_t address, uint64_t from, uint64_t flags) {
  uint64_t frame = take_frame();
  for (int i = 0; i < 512; ++i) ((uint64_t *)frame)[i] = ((const uint64_t *)from)[i];
  map(root, address, frame, 0, flags);
}

void boot_build_tables(uint64_t number, uint64_t cpu_count) {
  (void)number;
  uint64_t root = take_frame();
  extern char boot_start[], boot_end[];
  for (uint64_t at = (uint64_t)boot_start; at < (uint64_t)boot_end; at += 4096) map(root, at, at, 0, kWrite);

  for (uint64_t at = boot_image.start; at < boot_image.end; at += 4096) {
    uint64_t flags = at < boot_image.data ? 0 : kWrite;
    map_copy(root, at, GUEST_IMAGE_PHYSICAL + (at - boot_image.start), flags | kGlobal);
  }
  // The user program follows the image in guest-physical memory.
  uint64_t user_physical = GUEST_IMAGE_PHYSICAL + (boot_image.end - boot_image.start);
  for (uint64_t at = boot_image.user_start; at < boot_image.user_end; at += 4096)
    map_copy(root, at, user_physical + (at - boot_image.user_start), kUser);

  for (uint64_t cpu = 0; cpu < cpu_count && cpu < GUEST_MAX_CPUS; ++cpu) {
    uint64_t top = GUEST_STACKS + (cpu + 1) * GUEST_STACK_STRIDE;
    for (uint64_t at = top - GUEST_STACK_SIZE; at < top; at += 4096)
      map(root, at, take_frame(), 0, kWrite);
    map(root, GUEST_USER_STACK + cpu * 0x2000, take_frame(), 0, kUser | kWrite);
  }
  map(root, GUEST_HEAP, GUEST_HEAP_PHYSICAL, 1, kWrite);
  map(root, GUEST_DIRECT_MAP, 0, 2, kWrite);
  boot_root = root;
}
