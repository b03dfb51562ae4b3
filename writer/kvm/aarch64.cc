// aarch64: the kernel's number of each register (Documentation/virt/kvm/api.rst, "4.68 KVM_SET_ONE_REG").
#ifdef __aarch64__

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "writer/kvm/requests.h"

namespace gcore::writer::kvm {
namespace {

constexpr uint64_t kPstateSp = 1, kPstateLevel = 0xc;

constexpr uint64_t core(size_t offset, uint64_t size = KVM_REG_SIZE_U64) {
  return KVM_REG_ARM64 | size | KVM_REG_ARM_CORE | (offset / sizeof(uint32_t));
}
constexpr uint64_t system_register(uint64_t op0, uint64_t op1, uint64_t crn, uint64_t crm, uint64_t op2) {
  return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
}

struct Numbered {
  const char* name;
  uint64_t number;
};

// What the kernel calls regs.sp is SP_EL0.
constexpr Numbered kCore[] = {
    {"elr", core(offsetof(kvm_regs, regs.pc))},     {"pstate", core(offsetof(kvm_regs, regs.pstate))},
    {"sp_el0", core(offsetof(kvm_regs, regs.sp))},  {"sp_el1", core(offsetof(kvm_regs, sp_el1))},
    {"elr_el1", core(offsetof(kvm_regs, elr_el1))}, {"spsr_el1", core(offsetof(kvm_regs, spsr[KVM_SPSR_EL1]))},
};

constexpr Numbered kSystem[] = {
    {"sctlr_el1", system_register(3, 0, 1, 0, 0)},        {"tcr_el1", system_register(3, 0, 2, 0, 2)},
    {"ttbr0_el1", system_register(3, 0, 2, 0, 0)},        {"ttbr1_el1", system_register(3, 0, 2, 0, 1)},
    {"mair_el1", system_register(3, 0, 10, 2, 0)},        {"vbar_el1", system_register(3, 0, 12, 0, 0)},
    {"esr_el1", system_register(3, 0, 5, 2, 0)},          {"far_el1", system_register(3, 0, 6, 0, 0)},
    {"tpidr_el0", system_register(3, 3, 13, 0, 2)},       {"tpidrro_el0", system_register(3, 3, 13, 0, 3)},
    {"tpidr_el1", system_register(3, 0, 13, 0, 4)},       {"contextidr_el1", system_register(3, 0, 13, 0, 1)},
    {"mpidr_el1", system_register(3, 0, 0, 0, 5)},        {"midr_el1", system_register(3, 0, 0, 0, 0)},
    {"cpacr_el1", system_register(3, 0, 1, 0, 2)},        {"par_el1", system_register(3, 0, 7, 4, 0)},
    {"id_aa64mmfr0_el1", system_register(3, 0, 0, 7, 0)},
};

constexpr Numbered kEl2[] = {
    {"hcr_el2", system_register(3, 4, 1, 1, 0)},         {"sctlr_el2", system_register(3, 4, 1, 0, 0)},
    {"tcr_el2", system_register(3, 4, 2, 0, 2)},         {"ttbr0_el2", system_register(3, 4, 2, 0, 0)},
    {"ttbr1_el2", system_register(3, 4, 2, 0, 1)},       {"vttbr_el2", system_register(3, 4, 2, 1, 0)},
    {"vtcr_el2", system_register(3, 4, 2, 1, 2)},        {"mair_el2", system_register(3, 4, 10, 2, 0)},
    {"vbar_el2", system_register(3, 4, 12, 0, 0)},       {"esr_el2", system_register(3, 4, 5, 2, 0)},
    {"far_el2", system_register(3, 4, 6, 0, 0)},         {"hpfar_el2", system_register(3, 4, 6, 0, 4)},
    {"elr_el2", system_register(3, 4, 4, 0, 1)},         {"spsr_el2", system_register(3, 4, 4, 0, 0)},
    {"sp_el2", system_register(3, 6, 4, 1, 0)},          {"tpidr_el2", system_register(3, 4, 13, 0, 2)},
    {"contextidr_el2", system_register(3, 4, 13, 0, 1)},
};

/// 0, or the errno of the refusal. `to` has room for what the number says.
int get_one(const Requests& requests, uint64_t number, void* to) {
  kvm_one_reg request{number, reinterpret_cast<uint64_t>(to)};
  return requests.attempt(KVM_GET_ONE_REG, &request) < 0 ? errno : 0;
}

bool read_one(Requests& requests, Setter& registers, const char* name, uint64_t number) {
  uint64_t value = 0;  // 4 bytes of it for the registers of 4 bytes: both are little-endian
  const int error = get_one(requests, number, &value);
  if (error == 0) {
    registers.set(name, value);
  } else {
    requests.refused(name, "KVM_GET_ONE_REG", error);
  }
  return error == 0;
}

/// A vCPU with SVE has V registers only as the low halves of Z registers, which come in slices of 2048 bits.
void read_vectors(Requests& requests, Setter& registers) {
  for (size_t i = 0; i < 32; ++i) {
    uint64_t value[2048 / 64] = {};
    const std::string name = "v" + std::to_string(i);
    const size_t offset = offsetof(kvm_regs, fp_regs.vregs) + 16 * i;
    int error = get_one(requests, core(offset, KVM_REG_SIZE_U128), value);
    if (error != 0)
      error = get_one(requests, KVM_REG_ARM64 | KVM_REG_ARM64_SVE | KVM_REG_SIZE_U2048 | uint64_t{i} << 5, value);
    if (error != 0) {
      requests.refused(name, "KVM_GET_ONE_REG", error);
      continue;
    }
    registers.set(name + ".lo", value[0]);
    registers.set(name + ".hi", value[1]);
  }
  read_one(requests, registers, "fpsr", core(offsetof(kvm_regs, fp_regs.fpsr), KVM_REG_SIZE_U32));
  read_one(requests, registers, "fpcr", core(offsetof(kvm_regs, fp_regs.fpcr), KVM_REG_SIZE_U32));
}

/// The stack pointer that is in use: SP_EL0, or that of the exception level.
const char* stack_pointer(uint64_t pstate) {
  if ((pstate & kPstateLevel) == 0 || (pstate & kPstateSp) == 0) return "sp_el0";
  return (pstate & kPstateLevel) == 0x8 ? "sp_el2" : "sp_el1";
}

}  // namespace

void read_machine(Requests& requests, VcpuReport& report, Setter& registers) {
  report.ok = true;
  for (size_t i = 0; i <= 30; ++i) {
    const std::string name = "x" + std::to_string(i);
    report.ok = read_one(requests, registers, name.c_str(), core(offsetof(kvm_regs, regs.regs) + 8 * i)) && report.ok;
  }
  for (const Numbered& one : kCore) read_one(requests, registers, one.name, one.number);
  report.ok = report.ok && registers.get("elr") && registers.get("pstate");
  for (const Numbered& one : kSystem) read_one(requests, registers, one.name, one.number);
  uint64_t hcr = 0;
  const int error = get_one(requests, kEl2[0].number, &hcr);
  if (error != ENOENT && error != EINVAL)
    for (const Numbered& one : kEl2) read_one(requests, registers, one.name, one.number);
  if (const auto pstate = registers.get("pstate"))
    if (const auto sp = registers.get(stack_pointer(*pstate))) registers.set("sp", *sp);
  read_vectors(requests, registers);
}

}  // namespace gcore::writer::kvm

#endif
