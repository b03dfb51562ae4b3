// aarch64 on KVM: the interrupt controller is the kernel's, and so is PSCI, by which a vCPU starts others.
#ifdef __aarch64__

#include <sys/ioctl.h>

#include <cstddef>

#include "tools/gcore-vmm/kvm/machine.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint32_t kSharedInterrupts = 64;  // lines of the controller, the 32 private ones included: a multiple of 32
constexpr uint64_t kPstate = 0x3c5;         // EL1h, DAIF masked
constexpr uint64_t kCpacrEl1 = ARM64_SYS_REG(3, 0, 1, 0, 2), kFloatingPoint = 3 << 20;

Done set_attribute(int gic, uint32_t group, uint64_t attribute, uint64_t* value, const char* what) {
  kvm_device_attr request{};
  request.group = group;
  request.attr = attribute;
  request.addr = reinterpret_cast<uint64_t>(value);
  if (ioctl(gic, KVM_SET_DEVICE_ATTR, &request) != 0) return kvm_failed(what);
  return {};
}

Done set_one(int vcpu, uint64_t number, uint64_t value) {
  kvm_one_reg request{number, reinterpret_cast<uint64_t>(&value)};
  if (ioctl(vcpu, KVM_SET_ONE_REG, &request) != 0) return kvm_failed("KVM_SET_ONE_REG");
  return {};
}

std::optional<uint64_t> get_one(int vcpu, uint64_t number) {
  uint64_t value = 0;
  kvm_one_reg request{number, reinterpret_cast<uint64_t>(&value)};
  if (ioctl(vcpu, KVM_GET_ONE_REG, &request) != 0) return std::nullopt;
  return value;
}

/// The register at `offset` in kvm_regs.
constexpr uint64_t core(size_t offset) {
  return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t);
}
constexpr uint64_t general(size_t number) { return core(offsetof(kvm_regs, regs.regs) + 8 * number); }

}  // namespace

Done kvm_set_up_vm(KvmVm& vm, bool kernel) {
  if (!kernel) return {};
  kvm_create_device device{};
  for (const auto& [type, version] : {std::pair{KVM_DEV_TYPE_ARM_VGIC_V3, 3U}, {KVM_DEV_TYPE_ARM_VGIC_V2, 2U}}) {
    device.type = type;
    if (ioctl(vm.vm, KVM_CREATE_DEVICE, &device) != 0) continue;
    vm.gic = static_cast<int>(device.fd);
    vm.gic_version = version;
    return {};
  }
  return kvm_failed("KVM_CREATE_DEVICE of an interrupt controller");
}

// The controller is told where it is when there are vCPUs, whose number it has to know.
Done kvm_finish_vm(KvmVm& vm, bool kernel) {
  if (!kernel) return {};
  uint64_t distributor = kGicDistributor, redistributors = kGicRedistributors, interface = kGicCpuInterface;
  uint32_t lines = kSharedInterrupts;
  const bool v3 = vm.gic_version == 3;
  Done done =
      set_attribute(vm.gic, KVM_DEV_ARM_VGIC_GRP_ADDR, v3 ? KVM_VGIC_V3_ADDR_TYPE_DIST : KVM_VGIC_V2_ADDR_TYPE_DIST,
                    &distributor, "the distributor's address");
  if (done)
    done = v3 ? set_attribute(vm.gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redistributors,
                              "the redistributors' address")
              : set_attribute(vm.gic, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_CPU, &interface,
                              "the CPU interface's address");
  if (done)
    done = set_attribute(vm.gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, reinterpret_cast<uint64_t*>(&lines),
                         "the number of interrupts");
  if (done)
    done = set_attribute(vm.gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, nullptr,
                         "the interrupt controller's start");
  return done;
}

Done kvm_set_up_vcpu(const KvmVm& vm, int vcpu, const BootState& state, const std::optional<LinuxEntry>& linux_entry) {
  kvm_vcpu_init init{};
  if (ioctl(vm.vm, KVM_ARM_PREFERRED_TARGET, &init) != 0) return kvm_failed("KVM_ARM_PREFERRED_TARGET");
  init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2;
  if (linux_entry && state.cpu != 0) init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
  if (ioctl(vcpu, KVM_ARM_VCPU_INIT, &init) != 0) return kvm_failed("KVM_ARM_VCPU_INIT");
  if (linux_entry && state.cpu != 0) return {};
  Done done = set_one(vcpu, core(offsetof(kvm_regs, regs.pstate)), kPstate);
  if (done) done = set_one(vcpu, core(offsetof(kvm_regs, regs.pc)), linux_entry ? linux_entry->pc : state.entry);
  const uint64_t arguments[] = {linux_entry ? linux_entry->parameters : state.cpu, state.cpu_count, state.ram_address,
                                state.ram_size, state.cmdline_address};
  for (size_t i = 0; done && i < (linux_entry ? 1 : std::size(arguments)); ++i)
    done = set_one(vcpu, general(i), arguments[i]);
  if (done && !linux_entry) done = set_one(vcpu, kCpacrEl1, kFloatingPoint);
  return done;
}

uint32_t kvm_interrupt(unsigned line) {
  constexpr uint32_t kFirstShared = 32;
  return uint32_t{KVM_ARM_IRQ_TYPE_SPI} << KVM_ARM_IRQ_TYPE_SHIFT | (kFirstShared + line);
}

bool kvm_halts_for_good(int) { return false; }

uint64_t kvm_pc(int vcpu) { return get_one(vcpu, core(offsetof(kvm_regs, regs.pc))).value_or(0); }

// The virtual counter, which all vCPUs share.
std::optional<uint64_t> kvm_clock(int vcpu) { return get_one(vcpu, KVM_REG_ARM_TIMER_CNT); }

void kvm_set_clock(int vcpu, uint64_t clock) { static_cast<void>(set_one(vcpu, KVM_REG_ARM_TIMER_CNT, clock)); }

std::expected<LinuxEntry, std::string> load_linux(const LinuxImage& image, GuestMemory& memory) {
  return load_linux_aarch64(image, memory);
}

}  // namespace gcore::tools::vmm

#endif
