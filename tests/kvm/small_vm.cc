#include "tests/kvm/small_vm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>

namespace gcore::tests {
namespace {

unsigned long refused_request = 0;
int refused_error = 0;
uint32_t refused_msr = 0;

int ioctl_of_kernel(int fd, unsigned long request, void* argument) {
  return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
}

}  // namespace

void refuse_ioctl(unsigned long request, int error, uint32_t msr) {
  refused_request = request;
  refused_error = error;
  refused_msr = msr;
}

SmallVm::SmallVm(std::span<const uint8_t> code, bool irqchip) {
  kvm_ = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  vm_ = ioctl(kvm_, KVM_CREATE_VM, 0);
  EXPECT_GE(vm_, 0) << std::strerror(errno);
  memory_ = static_cast<uint8_t*>(mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  slot_ = {.slot = 0,
           .flags = 0,
           .guest_phys_addr = 0,
           .memory_size = kMemory,
           .userspace_addr = reinterpret_cast<uint64_t>(memory_)};
  EXPECT_EQ(ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &slot_), 0) << std::strerror(errno);
  if (irqchip) {
    EXPECT_EQ(ioctl(vm_, KVM_SET_TSS_ADDR, 0xfffbd000), 0) << std::strerror(errno);
    EXPECT_EQ(ioctl(vm_, KVM_CREATE_IRQCHIP, 0), 0) << std::strerror(errno);
  }
  vcpu_ = ioctl(vm_, KVM_CREATE_VCPU, 0);
  EXPECT_GE(vcpu_, 0) << std::strerror(errno);
  if (vcpu_ < 0) return;
  run_size_ = static_cast<size_t>(ioctl(kvm_, KVM_GET_VCPU_MMAP_SIZE, 0));
  run_ = static_cast<kvm_run*>(mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_, 0));
  kvm_sregs system{};
  EXPECT_EQ(ioctl(vcpu_, KVM_GET_SREGS, &system), 0) << std::strerror(errno);
  system.cs.base = 0;
  system.cs.selector = 0;
  EXPECT_EQ(ioctl(vcpu_, KVM_SET_SREGS, &system), 0) << std::strerror(errno);
  kvm_regs general{};
  general.rip = kCode;
  general.rflags = 2;
  EXPECT_EQ(ioctl(vcpu_, KVM_SET_REGS, &general), 0) << std::strerror(errno);
  std::memcpy(memory_ + kCode, code.data(), code.size());
}

SmallVm::~SmallVm() {
  if (run_ != nullptr) munmap(run_, run_size_);
  if (memory_ != nullptr) munmap(memory_, kMemory);
  for (const int fd : {vcpu_, vm_, kvm_})
    if (fd >= 0) close(fd);
}

int SmallVm::enter() { return ioctl(vcpu_, KVM_RUN, 0) < 0 ? -errno : static_cast<int>(run_->exit_reason); }

}  // namespace gcore::tests

// In place of the C library's, for this whole program.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  using namespace gcore::tests;  // NOLINT: C's name has to be outside
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (request == refused_request && refused_msr != 0 && request == kGetMsrs) {
    auto* list = static_cast<uint32_t*>(argument);
    auto* entries = reinterpret_cast<kvm_msr_entry*>(list + 2);
    for (uint32_t i = 0; i < *list; ++i)
      if (entries[i].index == refused_msr) *list = i;
    return *list == 0 ? 0 : ioctl_of_kernel(fd, request, argument);
  }
  if (request == refused_request && refused_error != 0) {
    errno = refused_error;
    return -1;
  }
  return ioctl_of_kernel(fd, request, argument);
}
