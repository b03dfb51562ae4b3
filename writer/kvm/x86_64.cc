// x86_64: which of KVM's structures holds which register. Their layout is that of linux/kvm.h and, for XSAVE, of
// Intel's manual, volume 1, chapter 13.
#ifdef __x86_64__

#include <cpuid.h>
#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>

#include "writer/format/x87.h"
#include "writer/kvm/requests.h"

namespace gcore::writer::kvm {
namespace {

// A request's number holds the size of its structure. In C++ the headers of Linux 5.17 to 6.5 make a structure that
// ends in an array without a size larger than it is, and so KVM_GET_MSRS and KVM_GET_XSAVE are numbers that no kernel
// knows. Hence the sizes that they have in C.
constexpr size_t kXsaveSize = 4096;
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, uint64_t);
constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, std::byte[kXsaveSize]);
constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, std::byte[kXsaveSize]);  // of Linux 5.17

/// A register and where it is in one of the kernel's structures.
struct Field {
  const char* name;
  size_t offset;
  size_t bytes = 8;
};

template <size_t count>
void set_fields(Setter& registers, const Field (&fields)[count], const void* from) {
  for (const Field& field : fields) {
    uint64_t value = 0;
    std::memcpy(&value, static_cast<const std::byte*>(from) + field.offset, field.bytes);
    registers.set(field.name, value);
  }
}

constexpr Field kGeneral[] = {
    {"rax", offsetof(kvm_regs, rax)}, {"rbx", offsetof(kvm_regs, rbx)}, {"rcx", offsetof(kvm_regs, rcx)},
    {"rdx", offsetof(kvm_regs, rdx)}, {"rsi", offsetof(kvm_regs, rsi)}, {"rdi", offsetof(kvm_regs, rdi)},
    {"rsp", offsetof(kvm_regs, rsp)}, {"rbp", offsetof(kvm_regs, rbp)}, {"r8", offsetof(kvm_regs, r8)},
    {"r9", offsetof(kvm_regs, r9)},   {"r10", offsetof(kvm_regs, r10)}, {"r11", offsetof(kvm_regs, r11)},
    {"r12", offsetof(kvm_regs, r12)}, {"r13", offsetof(kvm_regs, r13)}, {"r14", offsetof(kvm_regs, r14)},
    {"r15", offsetof(kvm_regs, r15)}, {"rip", offsetof(kvm_regs, rip)}, {"rflags", offsetof(kvm_regs, rflags)},
};

constexpr Field kSystem[] = {
    {"cr0", offsetof(kvm_sregs, cr0)},
    {"cr2", offsetof(kvm_sregs, cr2)},
    {"cr3", offsetof(kvm_sregs, cr3)},
    {"cr4", offsetof(kvm_sregs, cr4)},
    {"cr8", offsetof(kvm_sregs, cr8)},
    {"efer", offsetof(kvm_sregs, efer)},
    {"apic_base", offsetof(kvm_sregs, apic_base)},
    {"gdt_base", offsetof(kvm_sregs, gdt.base)},
    {"gdt_limit", offsetof(kvm_sregs, gdt.limit), 2},
    {"idt_base", offsetof(kvm_sregs, idt.base)},
    {"idt_limit", offsetof(kvm_sregs, idt.limit), 2},
};

struct SegmentField {
  const char *selector, *base, *limit, *flags;
  size_t offset;
};

constexpr SegmentField kSegments[] = {
    {"cs", "cs_base", "cs_limit", "cs_flags", offsetof(kvm_sregs, cs)},
    {"ds", "ds_base", "ds_limit", "ds_flags", offsetof(kvm_sregs, ds)},
    {"es", "es_base", "es_limit", "es_flags", offsetof(kvm_sregs, es)},
    {"ss", "ss_base", "ss_limit", "ss_flags", offsetof(kvm_sregs, ss)},
    {"fs", "fs_base", "fs_limit", "fs_flags", offsetof(kvm_sregs, fs)},
    {"gs", "gs_base", "gs_limit", "gs_flags", offsetof(kvm_sregs, gs)},
    {"tr", "tr_base", "tr_limit", "tr_flags", offsetof(kvm_sregs, tr)},
    {"ldtr", "ldt_base", "ldt_limit", "ldt_flags", offsetof(kvm_sregs, ldt)},
};

constexpr Field kDebug[] = {
    {"dr0", offsetof(kvm_debugregs, db[0])}, {"dr1", offsetof(kvm_debugregs, db[1])},
    {"dr2", offsetof(kvm_debugregs, db[2])}, {"dr3", offsetof(kvm_debugregs, db[3])},
    {"dr6", offsetof(kvm_debugregs, dr6)},   {"dr7", offsetof(kvm_debugregs, dr7)},
};

struct Msr {
  const char* name;
  uint32_t index;
};

constexpr Msr kMsrs[] = {
    {"star", 0xc0000081},    {"lstar", 0xc0000082},  {"cstar", 0xc0000083},
    {"fmask", 0xc0000084},   {"sysenter_cs", 0x174}, {"sysenter_esp", 0x175},
    {"sysenter_eip", 0x176}, {"pat", 0x277},         {"kernel_gs_base", 0xc0000102},
};

/// The second word of the segment's descriptor, without base and limit.
uint32_t descriptor_flags(const kvm_segment& segment) {
  if (segment.unusable != 0) return 0;
  return uint32_t{segment.type} << 8 | uint32_t{segment.s} << 12 | uint32_t{segment.dpl} << 13 |
         uint32_t{segment.present} << 15 | uint32_t{segment.avl} << 20 | uint32_t{segment.l} << 21 |
         uint32_t{segment.db} << 22 | uint32_t{segment.g} << 23;
}

void set_segments(Setter& registers, const kvm_sregs& system) {
  for (const SegmentField& field : kSegments) {
    kvm_segment segment;
    std::memcpy(&segment, reinterpret_cast<const std::byte*>(&system) + field.offset, sizeof segment);
    registers.set(field.selector, segment.selector);
    registers.set(field.base, segment.base);
    registers.set(field.limit, segment.limit);
    registers.set(field.flags, descriptor_flags(segment));
  }
}

// KVM_GET_MSRS reads in order and ends at the first that it refuses: go on after that one.
void read_msrs(Requests& requests, Setter& registers) {
  struct {  // kvm_msrs, which ends in an array without a size
    uint32_t count, padding;
    kvm_msr_entry entries[std::size(kMsrs)];
  } list;
  for (size_t first = 0; first < std::size(kMsrs);) {
    const size_t wanted = std::size(kMsrs) - first;
    list = {};
    list.count = static_cast<uint32_t>(wanted);
    for (size_t i = 0; i < wanted; ++i) list.entries[i].index = kMsrs[first + i].index;
    const int result = requests.attempt(kGetMsrs, &list);
    const int error = result < 0 ? errno : EINVAL;
    const size_t got = std::min(static_cast<size_t>(std::max(result, 0)), wanted);
    for (size_t i = 0; i < got; ++i) registers.set(kMsrs[first + i].name, list.entries[i].data);
    first += got;
    if (got == wanted) break;
    requests.refused(kMsrs[first++].name, "KVM_GET_MSRS", error);
  }
}

/// The registers of the x87 stack as they lie in memory: 16 bytes each, ten of them used, ST0 first.
struct X87Stack {
  std::array<uint64_t, 8> low{};
  std::array<uint16_t, 8> high{};
  explicit X87Stack(const void* from) {
    for (size_t i = 0; i < 8; ++i) {
      std::memcpy(&low[i], static_cast<const std::byte*>(from) + 16 * i, 8);
      std::memcpy(&high[i], static_cast<const std::byte*>(from) + 16 * i + 8, 2);
    }
  }
};

/// Of the abridged tag word of FXSAVE (a bit a register, set when it is not empty) the full one: two bits a register.
/// Both count physical registers; ST0 is the one that TOP, bits 11 to 13 of the status word, names.
uint16_t full_tag(uint8_t abridged, uint16_t status, const X87Stack& stack) {
  const unsigned top = status >> 11 & 7;
  unsigned tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    const unsigned st = (physical - top) & 7;
    const unsigned tag = (abridged >> physical & 1) != 0 ? format::x87_tag(stack.low[st], stack.high[st]) : 3;
    tags |= tag << (2 * physical);
  }
  return static_cast<uint16_t>(tags);
}

void set_stack(Setter& registers, const X87Stack& stack) {
  char name[] = "st0.lo";
  for (size_t i = 0; i < 8; ++i) {
    name[2] = static_cast<char>('0' + i);
    std::memcpy(name + 4, "lo", 2);
    registers.set(name, stack.low[i]);
    std::memcpy(name + 4, "hi", 2);
    registers.set(name, stack.high[i]);
  }
}

/// 16 vector registers of 16 bytes: "xmm0.lo", or with suffix "h" the upper halves "ymm0h.lo".
void set_vectors(Setter& registers, const char* prefix, const char* suffix, const std::byte* from) {
  for (size_t i = 0; i < 16; ++i) {
    const std::string name = prefix + std::to_string(i) + suffix;
    uint64_t halves[2] = {};
    if (from != nullptr) std::memcpy(halves, from + 16 * i, sizeof halves);
    registers.set(name + ".lo", halves[0]);
    registers.set(name + ".hi", halves[1]);
  }
}

constexpr uint16_t kInitialControl = 0x37f;
constexpr uint64_t kX87 = 1, kSse = 2, kAvx = 4;  // bits of XCR0 and XSTATE_BV
constexpr size_t kStackOffset = 32, kXmmOffset = 160, kPresentOffset = 512;

template <class T>
T at(const std::byte* area, size_t offset) {
  T value;
  std::memcpy(&value, area + offset, sizeof value);
  return value;
}

// A part whose bit in XSTATE_BV is clear is in its initial state, whatever the bytes say. MXCSR has no bit.
void set_xsave(Setter& registers, const std::byte* area) {
  const uint64_t present = at<uint64_t>(area, kPresentOffset);
  constexpr std::byte kEmpty[8 * 16] = {};
  const bool x87 = (present & kX87) != 0;
  const X87Stack stack(x87 ? area + kStackOffset : kEmpty);
  const uint16_t status = x87 ? at<uint16_t>(area, 2) : 0;
  registers.set("fctrl", x87 ? at<uint16_t>(area, 0) : kInitialControl);
  registers.set("fstat", status);
  registers.set("ftag", full_tag(x87 ? at<uint8_t>(area, 4) : 0, status, stack));
  registers.set("fop", x87 ? at<uint16_t>(area, 6) : 0);
  registers.set("fip", x87 ? at<uint64_t>(area, 8) : 0);
  registers.set("fdp", x87 ? at<uint64_t>(area, 16) : 0);
  registers.set("mxcsr", at<uint32_t>(area, 24));
  set_stack(registers, stack);
  set_vectors(registers, "xmm", "", (present & kSse) != 0 ? area + kXmmOffset : nullptr);
  if ((present & kAvx) == 0) {
    if ((registers.get("xcr0").value_or(0) & kAvx) != 0) set_vectors(registers, "ymm", "h", nullptr);
    return;
  }
  unsigned size = 0, offset = 0, unused = 0;
  if (__get_cpuid_count(0xd, 2, &size, &offset, &unused, &unused) != 0 && size >= 256)
    set_vectors(registers, "ymm", "h", area + offset);
}

/// Bytes that XSAVE takes at most on this processor.
size_t xsave_size() {
  unsigned unused = 0, size = 0;
  if (__get_cpuid_count(0xd, 0, &unused, &unused, &size, &unused) == 0) return kXsaveSize;
  return std::max<size_t>(size, kXsaveSize);
}

// KVM_GET_XSAVE has room for 4096 bytes and is refused where the guest may use more (AMX): KVM_GET_XSAVE2 then. Before
// both there was KVM_GET_FPU.
void read_floating_point(Requests& requests, Setter& registers) {
  const size_t size = xsave_size();
  const std::unique_ptr<std::byte[]> area(new (std::nothrow) std::byte[size]());
  int error = ENOMEM;
  if (area != nullptr) {
    if (requests.attempt(kGetXsave, area.get()) >= 0) return set_xsave(registers, area.get());
    error = errno;
    if (requests.attempt(kGetXsave2, area.get()) >= 0) return set_xsave(registers, area.get());
  }
  requests.refused("ymm0h to ymm15h", "KVM_GET_XSAVE", error);
  kvm_fpu fpu{};
  if (!requests.get(KVM_GET_FPU, &fpu, "KVM_GET_FPU", "fctrl to mxcsr, st0 to st7, xmm0 to xmm15")) return;
  const X87Stack stack(fpu.fpr);
  registers.set("fctrl", fpu.fcw);
  registers.set("fstat", fpu.fsw);
  registers.set("ftag", full_tag(fpu.ftwx, fpu.fsw, stack));
  registers.set("fop", fpu.last_opcode);
  registers.set("fip", fpu.last_ip);
  registers.set("fdp", fpu.last_dp);
  registers.set("mxcsr", fpu.mxcsr);
  set_stack(registers, stack);
  set_vectors(registers, "xmm", "", reinterpret_cast<const std::byte*>(fpu.xmm));
}

}  // namespace

void read_machine(Requests& requests, VcpuReport& report, Setter& registers) {
  kvm_regs general{};
  report.ok = requests.get(KVM_GET_REGS, &general, "KVM_GET_REGS", "rax to r15, rip, rflags");
  if (report.ok) set_fields(registers, kGeneral, &general);
  kvm_sregs system{};
  if (requests.get(KVM_GET_SREGS, &system, "KVM_GET_SREGS", "cr0 to cr8, efer, apic_base, segments, gdt, idt")) {
    set_fields(registers, kSystem, &system);
    set_segments(registers, system);
  }
  read_msrs(requests, registers);
  kvm_debugregs debug{};
  if (requests.get(KVM_GET_DEBUGREGS, &debug, "KVM_GET_DEBUGREGS", "dr0 to dr7")) set_fields(registers, kDebug, &debug);
  kvm_xcrs extended{};
  if (requests.get(KVM_GET_XCRS, &extended, "KVM_GET_XCRS", "xcr0"))
    for (uint32_t i = 0; i < extended.nr_xcrs && i < KVM_MAX_XCRS; ++i)
      if (extended.xcrs[i].xcr == 0) registers.set("xcr0", extended.xcrs[i].value);
  read_floating_point(requests, registers);
}

}  // namespace gcore::writer::kvm

#endif
