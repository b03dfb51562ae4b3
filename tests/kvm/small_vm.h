// A VM on KVM for tests, as small as it can be: some memory, one vCPU in real mode, code at 0x1000.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>

namespace gcore::tests {

// The numbers that these requests have in C. (In C++ some of the kernel's headers give others: structures that end in
// an array without a size are larger then.)
inline constexpr unsigned long kGetMsrs = 0xc008ae88, kGetXsave = 0x9000aea4, kGetXsave2 = 0x9000aecf;

class SmallVm {
 public:
  static constexpr uint64_t kMemory = 64 << 10, kCode = 0x1000;

  /// `irqchip`: with the kernel's interrupt controllers, so that HLT does not leave KVM_RUN. Failures are those of the
  /// test.
  explicit SmallVm(std::span<const uint8_t> code, bool irqchip = false);
  ~SmallVm();
  SmallVm(const SmallVm&) = delete;
  SmallVm& operator=(const SmallVm&) = delete;

  int vcpu() const { return vcpu_; }
  kvm_run* run() const { return run_; }
  uint8_t* memory() const { return memory_; }
  const kvm_userspace_memory_region& slot() const { return slot_; }
  /// KVM_RUN once; the exit's reason, or -errno.
  int enter();

 private:
  int kvm_ = -1, vm_ = -1, vcpu_ = -1;
  size_t run_size_ = 0;
  kvm_run* run_ = nullptr;
  uint8_t* memory_ = nullptr;
  kvm_userspace_memory_region slot_{};
};

/// Refuses ioctls of this process from now on: `request` fails with `error`; 0 ends it. Of kGetMsrs the MSR `msr`
/// is refused instead, as the kernel does it: it reads those before.
void refuse_ioctl(unsigned long request, int error, uint32_t msr = 0);

}  // namespace gcore::tests
