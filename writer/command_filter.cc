// A seccomp filter. What it must deny is each way to move a page out of a pipe without a copy: splice() and tee(), and
// io_uring, which does the same without a system call of that name. (sendfile() and copy_file_range() take no pipe to
// read from; vmsplice() out of a pipe copies.) Programs fall back to read() upon EINVAL, with which splice() fails on
// many a file anyway.
//
// The other system call tables of the machine count as well: a command may be a 32-bit program.
#include "writer/command_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace gcore::writer {

#if (defined(__x86_64__) || defined(__aarch64__)) && defined(SYS_seccomp)
namespace {

#if defined(__x86_64__)
constexpr unsigned kArch = AUDIT_ARCH_X86_64, kSplice = 275, kTee = 276;
constexpr unsigned kOtherArch = AUDIT_ARCH_I386, kOtherSplice = 313, kOtherTee = 315;
constexpr unsigned kNumber = ~0x40000000U;  // without the bit that marks a call of the x32 interface
#else
constexpr unsigned kArch = AUDIT_ARCH_AARCH64, kSplice = 76, kTee = 77;
constexpr unsigned kOtherArch = AUDIT_ARCH_ARM, kOtherSplice = 340, kOtherTee = 342;
constexpr unsigned kNumber = ~0U;
#endif
constexpr unsigned kIoUringSetup = 425;  // everywhere
static_assert(kSplice == SYS_splice && kTee == SYS_tee);

constexpr sock_filter load(unsigned offset) { return {BPF_LD | BPF_W | BPF_ABS, 0, 0, offset}; }
constexpr sock_filter when(unsigned value, unsigned char skip, unsigned char else_skip = 0) {
  return {BPF_JMP | BPF_JEQ | BPF_K, skip, else_skip, value};
}
constexpr sock_filter answer(unsigned action) { return {BPF_RET | BPF_K, 0, 0, action}; }

}  // namespace

bool forbid_splicing() {
  sock_filter program[] = {
      load(offsetof(seccomp_data, arch)),
      when(kOtherArch, 5),
      when(kArch, 0, 8),
      load(offsetof(seccomp_data, nr)),
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, kNumber},
      when(kSplice, 7),
      when(kTee, 6, 3),
      load(offsetof(seccomp_data, nr)),  // kOtherArch
      when(kOtherSplice, 4),
      when(kOtherTee, 3),
      when(kIoUringSetup, 1),
      answer(SECCOMP_RET_ALLOW),
      answer(SECCOMP_RET_ERRNO | EPERM),
      answer(SECCOMP_RET_ERRNO | EINVAL),
  };
  sock_fprog filter = {sizeof program / sizeof *program, program};
  // Speculation is the command's own affair: the filter guards against mistakes, not against an attack by it.
#ifdef SECCOMP_FILTER_FLAG_SPEC_ALLOW
  constexpr unsigned kFlags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
#else
  constexpr unsigned kFlags = 0;
#endif
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &filter) == 0;
}
#else
bool forbid_splicing() { return false; }
#endif

}  // namespace gcore::writer
