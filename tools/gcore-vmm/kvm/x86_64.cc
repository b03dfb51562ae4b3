// x86_64 on KVM. Registers are those of the AMD64 manual, volume 2; how Linux wants to be started is in linux_boot.h.
#ifdef __x86_64__

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "tools/gcore-vmm/boot.h"
#include "tools/gcore-vmm/kvm/machine.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kTssAddress = 0xfffbd000, kIdentityMapAddress = 0xfffbc000;  // 4 pages that the kernel wants
constexpr uint64_t kCr0 = 0x80010033;                                           // PG WP NE ET MP PE
constexpr uint64_t kCr4 = 0x620;                                                // OSXMMEXCPT OSFXSR PAE
constexpr uint64_t kEfer = 0x500;                                               // LMA LME
constexpr uint64_t kInterruptFlag = 1 << 9;

// A request's number holds the size of its structure, which some of the kernel's headers get wrong in C++ where the
// structure ends in an array without a size: the sizes are those in C.
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, uint64_t);

/// kvm_cpuid2 with its entries.
class CpuidTable {
 public:
  explicit CpuidTable(uint32_t room) : words_((sizeof(Head) + room * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t)) {
    head()->count = room;
  }
  void* data() { return words_.data(); }
  std::span<kvm_cpuid_entry2> entries() {
    return {reinterpret_cast<kvm_cpuid_entry2*>(words_.data() + 1), head()->count};
  }

 private:
  struct Head {
    uint32_t count, padding;
  };
  Head* head() { return reinterpret_cast<Head*>(words_.data()); }
  std::vector<uint64_t> words_;
};

/// All that KVM supports, as this vCPU sees it: its number, how many there are, that it is in a VM, and (for a kernel)
/// the timer that its local APIC has.
void adapt_cpuid(std::span<kvm_cpuid_entry2> entries, uint32_t cpu, uint32_t cpus, bool kernel) {
  uint32_t bits = 0;
  while ((1U << bits) < cpus) ++bits;
  for (kvm_cpuid_entry2& entry : entries) {
    switch (entry.function) {
      case 1: {
        constexpr uint32_t kInVm = 1U << 31, kDeadlineTimer = 1 << 24, kManyThreads = 1 << 28;
        entry.ebx = (entry.ebx & 0xffff) | cpus << 16 | cpu << 24;
        entry.ecx |= kInVm | (kernel ? kDeadlineTimer : 0);
        if (cpus > 1) entry.edx |= kManyThreads;
        break;
      }
      case 4:  // every vCPU is a core of one package
        if (entry.eax != 0) entry.eax = (entry.eax & 0x3fff) | ((1U << bits) - 1) << 26;
        break;
      case 0xb:
      case 0x1f:  // level 0: one thread a core; level 1: the cores
        entry.eax = entry.index == 0 ? 0 : bits;
        entry.ebx = entry.index == 0 ? 1 : cpus;
        entry.ecx = entry.index < 2 ? entry.index | (entry.index + 1) << 8 : entry.index;
        if (entry.index >= 2) entry.eax = entry.ebx = 0;
        entry.edx = cpu;
        break;
      case 0x80000008:  // cores of the package, as AMD says it
        entry.ecx = (entry.ecx & ~0xf0ffU) | bits << 12 | (cpus - 1);
        break;
      case 0x8000001e:
        entry.eax = cpu;
        entry.ebx = cpu;
        break;
      default:
        break;
    }
  }
}

Done set_cpuid(const KvmVm& vm, int vcpu, const BootState& state, bool kernel) {
  for (uint32_t room = 128;; room *= 2) {
    CpuidTable table(room);
    if (ioctl(vm.kvm, kGetSupportedCpuid, table.data()) != 0) {
      if (errno == E2BIG && room < 4096) continue;
      return kvm_failed("KVM_GET_SUPPORTED_CPUID");
    }
    adapt_cpuid(table.entries(), static_cast<uint32_t>(state.cpu), static_cast<uint32_t>(state.cpu_count), kernel);
    if (ioctl(vcpu, kSetCpuid2, table.data()) != 0) return kvm_failed("KVM_SET_CPUID2");
    return {};
  }
}

/// The local APIC passes on the 8259's interrupt (LINT0) and NMI (LINT1), as after a PC's firmware.
Done set_local_apic(int vcpu) {
  constexpr size_t kLint0 = 0x350, kLint1 = 0x360;
  constexpr uint32_t kExternal = 0x700, kNmi = 0x400;
  kvm_lapic_state apic{};
  if (ioctl(vcpu, KVM_GET_LAPIC, &apic) != 0) return kvm_failed("KVM_GET_LAPIC");
  std::memcpy(apic.regs + kLint0, &kExternal, sizeof kExternal);
  std::memcpy(apic.regs + kLint1, &kNmi, sizeof kNmi);
  if (ioctl(vcpu, KVM_SET_LAPIC, &apic) != 0) return kvm_failed("KVM_SET_LAPIC");
  return {};
}

/// Fast string instructions, which Linux warns about when they are off.
void set_misc_enable(int vcpu) {
  struct {
    uint32_t count, padding;
    kvm_msr_entry entry;
  } list{1, 0, {0x1a0, 0, 1}};
  ioctl(vcpu, kSetMsrs, &list);
}

kvm_segment flat(uint16_t selector, uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = segment.s = segment.g = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  return segment;
}

/// 64-bit mode with paging, flat segments, no IDT.
Done set_long_mode(int vcpu, uint64_t cr3, uint64_t gdt, uint16_t gdt_limit) {
  constexpr uint16_t kCode = 0x10, kData = 0x18;
  constexpr uint8_t kExecuteRead = 0xb, kReadWrite = 3;  // accessed
  kvm_sregs system{};
  if (ioctl(vcpu, KVM_GET_SREGS, &system) != 0) return kvm_failed("KVM_GET_SREGS");
  system.cr0 = kCr0;
  system.cr3 = cr3;
  system.cr4 = kCr4;
  system.efer = kEfer;
  system.cs = flat(kCode, kExecuteRead, true);
  system.ds = system.es = system.ss = system.fs = system.gs = flat(kData, kReadWrite, false);
  system.gdt.base = gdt;
  system.gdt.limit = gdt_limit;
  system.idt.base = system.idt.limit = 0;
  if (ioctl(vcpu, KVM_SET_SREGS, &system) != 0) return kvm_failed("KVM_SET_SREGS");
  return {};
}

}  // namespace

Done kvm_set_up_vm(KvmVm& vm, bool kernel) {
  uint64_t identity_map = kIdentityMapAddress;
  if (ioctl(vm.vm, KVM_SET_TSS_ADDR, kTssAddress) != 0) return kvm_failed("KVM_SET_TSS_ADDR");
  if (ioctl(vm.vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) != 0) return kvm_failed("KVM_SET_IDENTITY_MAP_ADDR");
  if (!kernel) return {};
  if (ioctl(vm.vm, KVM_CREATE_IRQCHIP, 0) != 0) return kvm_failed("KVM_CREATE_IRQCHIP");
  kvm_pit_config timer{};
  timer.flags = KVM_PIT_SPEAKER_DUMMY;
  if (ioctl(vm.vm, KVM_CREATE_PIT2, &timer) != 0) return kvm_failed("KVM_CREATE_PIT2");
  return {};
}

Done kvm_finish_vm(KvmVm&, bool) { return {}; }

Done kvm_set_up_vcpu(const KvmVm& vm, int vcpu, const BootState& state, const std::optional<LinuxEntry>& linux_entry) {
  if (auto done = set_cpuid(vm, vcpu, state, linux_entry.has_value()); !done) return done;
  if (linux_entry) {
    set_misc_enable(vcpu);
    if (auto done = set_local_apic(vcpu); !done) return done;
    if (state.cpu != 0) return {};  // it waits for INIT and SIPI
  }
  constexpr uint16_t kGdtLimit = 31;
  if (auto done = linux_entry ? set_long_mode(vcpu, kLinuxPageTables, kLinuxGdt, kGdtLimit)
                              : set_long_mode(vcpu, state.ram_address + GCORE_BOOT_PML4, 0, 0);
      !done)
    return done;
  kvm_regs general{};
  general.rflags = 2;
  if (linux_entry) {
    general.rip = linux_entry->pc;
    general.rsi = linux_entry->parameters;
  } else {
    general.rip = state.entry;
    general.rdi = state.cpu;
    general.rsi = state.cpu_count;
    general.rdx = state.ram_address;
    general.rcx = state.ram_size;
    general.r8 = state.cmdline_address;
  }
  if (ioctl(vcpu, KVM_SET_REGS, &general) != 0) return kvm_failed("KVM_SET_REGS");
  return {};
}

uint32_t kvm_interrupt(unsigned line) { return line; }

bool kvm_halts_for_good(int vcpu) {
  kvm_regs general{};
  return ioctl(vcpu, KVM_GET_REGS, &general) != 0 || (general.rflags & kInterruptFlag) == 0;
}

uint64_t kvm_pc(int vcpu) {
  kvm_regs general{};
  ioctl(vcpu, KVM_GET_REGS, &general);
  return general.rip;
}

std::optional<uint64_t> kvm_clock(int) { return std::nullopt; }
void kvm_set_clock(int, uint64_t) {}

std::expected<LinuxEntry, std::string> load_linux(const LinuxImage& image, GuestMemory& memory) {
  return load_linux_x86_64(image, memory);
}

}  // namespace gcore::tools::vmm

#endif
