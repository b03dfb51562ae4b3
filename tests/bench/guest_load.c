// What runs in run-live's guest: fills MIB of memory, says "filled", and while SIGUSR1 has told it to writes MB a
// second into it, page by page, 95 of 100 within the first 256 MiB, at random. Says every tenth of a second how many
// pages it has written.
//
//   load MIB MB
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kWords = kPage / 8, kHotPages = (256 << 20) / kPage };

static volatile sig_atomic_t working;
static uint64_t seed = 88172645463325252;

static uint64_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}
static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
static void work(int signal_number) {
  (void)signal_number;
  working = 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const uint64_t pages = strtoull(argv[1], NULL, 10) * 256, hot = pages < kHotPages ? pages : kHotPages;
  const double rate = strtod(argv[2], NULL) * 1e6 / kPage;
  uint64_t* memory = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  signal(SIGUSR1, work);
  for (uint64_t i = 0; i < pages * kWords; ++i) memory[i] = next();
  puts("filled");
  fflush(stdout);
  while (!working) pause();  // told again and again
  double start = seconds(), said = start;
  for (uint64_t done = 0, owed = 0;;) {
    const double now = seconds();
    if (now - said >= 0.1) {
      printf("written %llu\n", (unsigned long long)done);
      fflush(stdout);
      said = now;
    }
    uint64_t due = (uint64_t)((now - start) * rate);
    if (due - owed > rate / 10) owed = due - (uint64_t)(rate / 10);  // what is older is not made up for
    if (owed >= due) usleep(1000);
    for (int piece = 0; piece < 16 && owed < due; ++piece, ++owed, ++done) {
      const uint64_t random = next();
      uint64_t* page = memory + next() % (random % 100 < 95 ? hot : pages) * kWords;
      for (int word = 0; word < kWords; ++word) page[word] = random + (uint64_t)word;
    }
  }
}
