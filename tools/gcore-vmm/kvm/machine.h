// What differs between the machines that KVM runs: how a VM and a vCPU are set up. One of x86_64.cc and aarch64.cc is
// compiled to something.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "tools/gcore-vmm/linux_boot.h"
#include "tools/gcore-vmm/vcpu.h"

namespace gcore::tools::vmm {

/// The descriptors of a VM.
struct KvmVm {
  int kvm = -1, vm = -1;
  int gic = -1;              // aarch64
  unsigned gic_version = 0;  // aarch64; 0: none
};

using Done = std::expected<void, std::string>;

/// "`what`: `strerror(errno)`" as a failure.
Done kvm_failed(const std::string& what);

/// Before the first vCPU. For a kernel with interrupt controllers and timers; a guest program has none, as boot.h says.
Done kvm_set_up_vm(KvmVm& vm, bool kernel);
/// After the last one.
Done kvm_finish_vm(KvmVm& vm, bool kernel);
/// The registers with which a vCPU starts: those of boot.h or, with `linux`, those of a kernel's first vCPU; its other
/// vCPUs wait until that one starts them.
Done kvm_set_up_vcpu(const KvmVm& vm, int vcpu, const BootState& state, const std::optional<LinuxEntry>& linux_entry);
/// What the interrupt line of a device is to KVM_IRQ_LINE.
uint32_t kvm_interrupt(unsigned line);
/// A KVM_EXIT_HLT with interrupts disabled: nothing will wake this vCPU.
bool kvm_halts_for_good(int vcpu);
/// The vCPU's program counter, for messages.
uint64_t kvm_pc(int vcpu);
/// The guest's clock, which stands still while the VM is paused. nullopt: where KVM has another way
/// (KVM_KVMCLOCK_CTRL).
std::optional<uint64_t> kvm_clock(int vcpu);
void kvm_set_clock(int vcpu, uint64_t clock);

std::expected<LinuxEntry, std::string> load_linux(const LinuxImage& image, GuestMemory& memory);

}  // namespace gcore::tools::vmm
