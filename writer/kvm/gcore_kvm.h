/* What a VMM on KVM that is written in C gives the writer. Contracts that are not repeated here are those of kvm.h.
 *
 * In the guest's read_cpu: gcore_kvm_read_vcpu(); in its memory: gcore_kvm_memory(). */
/* NOLINTBEGIN(readability-identifier-naming): C's habit */
#ifndef GCORE_WRITER_KVM_GCORE_KVM_H
#define GCORE_WRITER_KVM_GCORE_KVM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gcore_registers;             /* gcore_dump.h */
struct gcore_memory_range;          /* likewise */
struct kvm_run;                     /* linux/kvm.h */
struct kvm_userspace_memory_region; /* likewise */

enum gcore_kvm_activity {
  GCORE_KVM_UNKNOWN = 0,
  GCORE_KVM_RUNS = 1,
  GCORE_KVM_HALTED = 2,
  GCORE_KVM_NOT_STARTED = 3,
  GCORE_KVM_OFF = 4
};

/* See VcpuReport in kvm.h. The caller sets struct_size. */
struct gcore_kvm_report {
  size_t struct_size; /* sizeof(struct gcore_kvm_report) */
  int activity;       /* enum gcore_kvm_activity */
  unsigned refused;   /* how many requests the kernel refused */
  char text[1024];    /* which registers are absent for that, and why; "" when none; cut off when too long */
};

/* Sets all that the kernel hands out of a vCPU, which must not be in KVM_RUN. `report` may be NULL. 0; -1 when not even
 * the general registers could be read. */
int gcore_kvm_read_vcpu(int vcpu_fd, struct gcore_registers* registers, struct gcore_kvm_report* report);

/* Finishes the instruction for which KVM_RUN returned; on the vCPU's thread. 0; EAGAIN: serve `run` and call again; or
 * another errno value. */
int gcore_kvm_settle(int vcpu_fd, struct kvm_run* run);

/* See Backing in kvm.h. */
struct gcore_kvm_backing {
  const void* host;
  uint64_t size;
  int fd;
  uint64_t fd_offset;
};

/* Fills at most `room` ranges and returns how many there are. */
size_t gcore_kvm_memory(const struct kvm_userspace_memory_region* slots, size_t slot_count,
                        const struct gcore_kvm_backing* backing, size_t backing_count,
                        struct gcore_memory_range* ranges, size_t room);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(readability-identifier-naming) */

#endif
