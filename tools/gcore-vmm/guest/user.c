// The user program of the built-in guest: CPL 3, in pages of its own. It calls nothing of the kernel.
#include <stdint.h>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/guest/layout.h"

#ifdef __aarch64__
static inline void put(char c) { *(volatile uint32_t*)GUEST_USER_CONSOLE = (uint8_t)c; }
static inline void sleep(void) { __asm__ volatile("wfi" ::: "memory"); }
#else
static inline void write_port(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
static inline void put(char c) { write_port(GCORE_PORT_DEBUGCON, (uint8_t)c); }
static inline void sleep(void) { write_port(GCORE_PORT_SLEEP, 0); }
#endif

__attribute__((noinline)) static uint64_t user_collatz(uint64_t value, uint64_t* longest) {
  uint64_t steps = 0;
  while (value != 1) {
    value = value % 2 ? 3 * value + 1 : value / 2;
    ++steps;
  }
  if (steps > *longest) *longest = steps;
  sleep();
  return steps;
}

__attribute__((noinline)) static void user_report(uint64_t number, uint64_t beats) {
  char line[32] = "cpu 00: heartbeat 0000000 user\n";
  line[4] = (char)('0' + number / 10 % 10);
  line[5] = (char)('0' + number % 10);
  for (int at = 24; at >= 18; --at, beats /= 10) line[at] = (char)('0' + beats % 10);
  for (int at = 0; line[at]; ++at) put(line[at]);
}

// Where enter_user goes. A backtrace ends here: there is no caller.
#ifdef __aarch64__
#define CALL "bl"
#define RETURN_ADDRESS "x30"
#else
#define CALL "call"
#define RETURN_ADDRESS "rip"
#endif
__asm__(
    ".text\n.global user_entry\n.type user_entry, @function\nuser_entry:\n"
    ".cfi_startproc\n.cfi_undefined " RETURN_ADDRESS "\n" CALL
    " user_main\n.cfi_endproc\n"
    ".size user_entry, . - user_entry\n");

__attribute__((used, noreturn)) void user_main(uint64_t number) {
  uint64_t longest = 0, beats = 0;
  for (uint64_t value = 1;; ++value) {
    user_collatz(value, &longest);
    if (value % 50 == 0) user_report(number, ++beats);
  }
}
