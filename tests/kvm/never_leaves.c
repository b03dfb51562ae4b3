// For LD_PRELOAD: a /dev/kvm whose vCPUs never leave the guest, whatever signals they get. Nothing of it is KVM.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kRunSize = 12288 };

static int a_file(void) {
  const int fd = memfd_create("not-kvm", MFD_CLOEXEC);
  return fd >= 0 && ftruncate(fd, kRunSize) == 0 ? fd : -1;
}

static int open_it(const char* path, int flags, va_list more) {
  if (strcmp(path, "/dev/kvm") == 0) return a_file();
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, int) : 0);
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int fd = open_it(path, flags, more);
  va_end(more);
  return fd;
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const int fd = open_it(path, flags, more);
  va_end(more);
  return fd;
}

int ioctl(int fd, unsigned long request, ...) {
  (void)fd;
  switch (request) {
    case KVM_GET_API_VERSION:
      return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
      return 1;
    case KVM_GET_VCPU_MMAP_SIZE:
      return kRunSize;
    case KVM_CREATE_VM:
    case KVM_CREATE_VCPU:
      return a_file();
    case KVM_RUN:
      for (;;) pause();
    default:
      return 0;
  }
}
