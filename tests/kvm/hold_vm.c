// Makes a virtual machine, says so, and keeps it: while there is one, KVM does not have the kernel patch the
// scheduler's text (the static key of the preemption notifiers) with each that comes and goes.
#define _GNU_SOURCE  // O_CLOEXEC
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void) {
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0 || ioctl(kvm, KVM_CREATE_VM, 0) < 0) {
    perror("hold_vm: /dev/kvm");
    return 1;
  }
  puts("held");
  fflush(stdout);
  for (;;) pause();
}
