// Compares every register of each vCPU in a dump with what the guest registers_MACHINE.S has set.
//
//   registers_check DUMP [emulated]     a line for each register that differs; exit 0 when none does
//
// emulated: KVM itself ran in QEMU. Its SVM (7.2) does not intercept XSETBV, so KVM never learns what its guest set.
//
// It knows the guest's values, and shares no table of registers with the writer.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <string>

#include "reader/dump/dump.h"

namespace gcore::tests {
namespace {

using Expectations = std::map<std::string, uint64_t>;

uint64_t result(const reader::Dump& dump, size_t cpu, uint64_t offset, size_t size = 8) {
  constexpr uint64_t kResults = 0x200000;
  uint64_t value = 0;
  std::byte bytes[8] = {};
  const uint64_t base = dump.machine() == format::Machine::aarch64 ? 0x40000000 : 0;
  const auto read = dump.read(reader::PhysAddr(base + kResults + cpu * 0x1000 + offset), {bytes, size});
  if (read.bytes != size) std::printf("vCPU %zu: its results cannot be read\n", cpu);
  std::memcpy(&value, bytes, size);
  return value;
}

Expectations general_x86_64(size_t cpu) {
  return {
      {"rax", 0x0101010101010101}, {"rbx", 0x0202020202020202},       {"rcx", 0x0303030303030303},
      {"rdx", 0x0404040404040404}, {"rsi", 0x0505050505050505},       {"rdi", 0x0606060606060606},
      {"rbp", 0x0707070707070707}, {"rsp", 0x00007fffabcd1230},       {"r8", 0x0808080808080808},
      {"r9", 0x0909090909090909},  {"r10", 0x1010101010101010},       {"r11", 0x1111111111111111},
      {"r12", 0x1212121212121212}, {"r13", 0x1313131313131313},       {"r14", 0x1414141414141414},
      {"rip", 0x106000},           {"r15", 0x1515151500000000 | cpu}, {"rflags", 0xcd7},
  };
}

// clang-format off
Expectations system_x86_64(const reader::Dump& dump, size_t cpu) {
  return {
      {"cs", 0x08}, {"ss", 0x10}, {"ds", 0x18}, {"es", 0x20}, {"fs", 0x28}, {"gs", 0x30}, {"ldtr", 0x38},
      {"tr", 0x48 + 16 * cpu},
      // Limits are in bytes; flags are the descriptor's second word without base and limit.
      {"cs_base", 0}, {"cs_limit", 0xffffffff}, {"cs_flags", 0x00a09b00},
      {"ss_base", 0}, {"ss_limit", 0xffffffff}, {"ss_flags", 0x00c09300},
      {"ds_base", 0}, {"ds_limit", 0xffffffff}, {"ds_flags", 0x00d09300},
      {"es_base", 0}, {"es_limit", 0xffffffff}, {"es_flags", 0x00c09100},
      {"fs_base", 0x0000111122223333}, {"fs_limit", 0x12345}, {"fs_flags", 0x00409300},
      {"gs_base", 0xffff888811112222}, {"gs_limit", 0x54321}, {"gs_flags", 0x00409300},
      {"tr_base", 0x103000}, {"tr_limit", 0x67}, {"tr_flags", 0x8b00},
      {"ldt_base", 0x104000}, {"ldt_limit", 0x2f}, {"ldt_flags", 0x8200},
      {"gdt_base", 0x101000}, {"gdt_limit", 0x87}, {"idt_base", 0x102000}, {"idt_limit", 0x3ff},
      {"kernel_gs_base", 0xffff999933334444}, {"star", 0x0023001000000000}, {"lstar", 0xffffffff81234567},
      {"cstar", 0xffffffff89abcdef}, {"fmask", 0x47700}, {"sysenter_cs", 0x10}, {"sysenter_esp", 0x11112222},
      {"sysenter_eip", 0x33334444}, {"pat", 0x0007010600070106},
      {"cr2", 0x0000123456789abc}, {"cr8", 5},
      {"dr0", 0x0000111100001111}, {"dr1", 0x0000222200002222}, {"dr2", 0x0000333300003333},
      {"dr3", 0x0000444400004444}, {"dr6", 0xffff0ff5}, {"dr7", 0x33330400},
      // By the guest's own reading.
      {"cr0", result(dump, cpu, 0x00)}, {"cr3", result(dump, cpu, 0x08)}, {"cr4", result(dump, cpu, 0x10)},
      {"efer", result(dump, cpu, 0x18)}, {"apic_base", result(dump, cpu, 0x20)},
  };
}
// clang-format on

// Physical x87 registers 7 to 4: pi, zero, infinite, denormal; the others are empty. So TOP is 4, and the full tag word
// has, from register 7 down, valid 00, zero 01, special 10, special 10, and 11 four times.
Expectations floating_point_x86_64(const reader::Dump& dump, size_t cpu) {
  Expectations want{
      {"fctrl", 0x0f7f},
      {"fstat", 0x2000},
      {"ftag", 0x1aff},
      {"mxcsr", 0x9fc0},
      {"st0.lo", 0x123},
      {"st0.hi", 0},
      {"st1.lo", 0x8000000000000000},
      {"st1.hi", 0x7fff},
      {"st2.lo", 0},
      {"st2.hi", 0},
      {"st3.lo", 0xc90fdaa22168c235},
      {"st3.hi", 0x4000},
  };
  for (const int i : {4, 5, 6, 7}) want["st" + std::to_string(i) + ".lo"] = want["st" + std::to_string(i) + ".hi"] = 0;
  // What FXSAVE has in the guest.
  want["fop"] = result(dump, cpu, 0x206, 2);
  want["fip"] = result(dump, cpu, 0x208);
  want["fdp"] = result(dump, cpu, 0x210);
  const uint64_t enabled = result(dump, cpu, 0x28);
  if (enabled != 0) want["xcr0"] = enabled;
  for (uint64_t n = 0; n < 16; ++n) {
    const std::string number = std::to_string(n);
    want["xmm" + number + ".lo"] = 0x0101010101010101 * (n + 1);
    want["xmm" + number + ".hi"] = 0xf0e0d0c0b0a09000 + n;
    if ((enabled & 4) == 0) continue;
    want["ymm" + number + "h.lo"] = 0x1111000000000000 + n;
    want["ymm" + number + "h.hi"] = 0x2222000000000000 + n;
  }
  return want;
}

Expectations aarch64(const reader::Dump& dump, size_t cpu) {
  Expectations want{
      {"sp", 0x5100510051005100},
      {"sp_el1", 0x5100510051005100},
      {"sp_el0", 0x5000500050005000},
      {"elr", 0x40106000},
      {"pstate", 0x600003c5},
      {"elr_el1", 0x4e1100004e110000},
      {"spsr_el1", 0x200003c4},
      {"vbar_el1", 0x40107800},
      {"tpidr_el0", 0x7d00000000000001},
      {"tpidrro_el0", 0x7d00000000000002},
      {"tpidr_el1", 0x7d00000000000003},
      {"far_el1", 0xfa00000000000004},
      {"contextidr_el1", 0xc0d1},
      {"ttbr0_el1", 0x0005000040108000},
      {"ttbr1_el1", 0x0006000040109000},
      {"mair_el1", 0x00000000ff440400},
      {"esr_el1", 0x56000007},
      {"fpsr", 0x08000010},
      {"fpcr", 0x00c00000},
  };
  for (uint64_t n = 0; n <= 30; ++n) want["x" + std::to_string(n)] = 0x0101010101010101 * (n + 1);
  want["x30"] ^= cpu << 56;
  for (uint64_t n = 0; n < 32; ++n) {
    want["v" + std::to_string(n) + ".lo"] = 0xa0a0a0a0a0a00000 + n;
    want["v" + std::to_string(n) + ".hi"] = 0xb0b0b0b0b0b00000 + n;
  }
  const char* read_by_guest[] = {"sctlr_el1", "tcr_el1", "mpidr_el1",       "midr_el1",
                                 "cpacr_el1", "par_el1", "id_aa64mmfr0_el1"};
  uint64_t offset = 0;
  for (const char* name : read_by_guest) want[name] = result(dump, cpu, 8 * offset++);
  return want;
}

int compare(const reader::Cpu& cpu, const Expectations& want) {
  int wrong = 0;
  for (const auto& [name, value] : want) {
    const auto got = cpu.registers.get(name);
    if (got == value) continue;
    ++wrong;
    if (got) {
      std::printf("vCPU %zu: %s is 0x%llx, and should be 0x%llx\n", cpu.index, name.c_str(),
                  static_cast<unsigned long long>(*got), static_cast<unsigned long long>(value));
    } else {
      std::printf("vCPU %zu: %s is absent\n", cpu.index, name.c_str());
    }
  }
  // And no register that nobody has set.
  for (const auto& one : format::registers(cpu.registers.machine())) {
    const std::string name(one.name);
    if (!cpu.registers.get(name) || want.contains(name)) continue;
    std::printf("vCPU %zu: %s is there, and nobody knows why\n", cpu.index, name.c_str());
    ++wrong;
  }
  return wrong;
}

int check(const char* path, bool emulated) {
  const auto dump = reader::Dump::open(path);
  if (!dump) {
    std::printf("%s: %s\n", path, dump.error().text.c_str());
    return 1;
  }
  int wrong = (*dump)->cpus().empty() ? 1 : 0;
  size_t compared = 0;
  for (const reader::Cpu& cpu : (*dump)->cpus()) {
    Expectations want;
    if ((*dump)->machine() == format::Machine::aarch64) {
      want = aarch64(**dump, cpu.index);
    } else {
      want = general_x86_64(cpu.index);
      want.merge(system_x86_64(**dump, cpu.index));
      want.merge(floating_point_x86_64(**dump, cpu.index));
      if (emulated) want["xcr0"] = 1;
    }
    compared += want.size();
    wrong += compare(cpu, want);
  }
  std::printf("%zu registers of %zu vCPUs, %d wrong\n", compared, (*dump)->cpus().size(), wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace gcore::tests

int main(int argc, char** argv) {
  if (argc == 2 || (argc == 3 && std::strcmp(argv[2], "emulated") == 0)) return gcore::tests::check(argv[1], argc == 3);
  std::fprintf(stderr, "usage: registers_check DUMP [emulated]\n");
  return 2;
}
