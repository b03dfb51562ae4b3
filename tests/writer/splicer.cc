// A command that passes on what it reads without a copy, if it may: moves the first bytes of its standard input into a
// pipe of its own with tee() and splice(), reads the rest, then waits until FILE exists, and only then looks at them.
//
//   splicer FILE    prints "splice ERRNO tee ERRNO FIRST-BYTE", 0 for none and '-' for no byte
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int held[2], copied[2];
  if (pipe(held) != 0 || pipe(copied) != 0) return 1;
  char byte = '-';
  // The head of a dump is written; the memory behind it is lent.
  for (int i = 0; i < 4096; ++i)
    if (read(STDIN_FILENO, &byte, 1) != 1) return 1;
  byte = '-';
  const int tee_error = tee(STDIN_FILENO, copied[1], 4096, 0) > 0 ? 0 : errno;
  const int splice_error = splice(STDIN_FILENO, nullptr, held[1], nullptr, 4096, 0) > 0 ? 0 : errno;
  char rest[65536];
  while (read(STDIN_FILENO, rest, sizeof rest) > 0)
    if (access(argv[1], F_OK) == 0) break;
  while (access(argv[1], F_OK) != 0) usleep(1000);
  if (splice_error == 0 && read(held[0], &byte, 1) != 1) return 1;
  while (read(STDIN_FILENO, rest, sizeof rest) > 0) {
  }
  std::printf("splice %d tee %d %c\n", splice_error, tee_error, byte);
  return 0;
}
