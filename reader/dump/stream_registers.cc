#include "reader/dump/stream_registers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "writer/format/x87.h"

namespace gcore::reader {
namespace {

using format::Machine;
using format::RegisterFile;

/// A device's numbers, by path.
class Numbers {
 public:
  explicit Numbers(const DeviceState& device) {
    for (const DeviceField& field : device.fields) by_path_.emplace(field.path, field.number());
  }
  std::optional<uint64_t> get(const std::string& path) const {
    const auto found = by_path_.find(path);
    return found != by_path_.end() ? std::optional(found->second) : std::nullopt;
  }
  void put(RegisterFile& registers, std::string_view name, const std::string& path) const {
    if (const auto value = get(path)) registers.put(name, *value);
  }

 private:
  std::map<std::string, uint64_t> by_path_;
};

std::string at(const char* name, size_t index) { return std::string(name) + "[" + std::to_string(index) + "]"; }

// ---- x86_64: target/i386/machine.c ----

constexpr std::pair<const char*, const char*> kX86Fields[] = {
    {"rip", "env.eip"},
    {"rflags", "env.eflags"},
    {"cr0", "env.cr[0]"},
    {"cr2", "env.cr[2]"},
    {"cr3", "env.cr[3]"},
    {"cr4", "env.cr[4]"},
    {"dr0", "env.dr[0]"},
    {"dr1", "env.dr[1]"},
    {"dr2", "env.dr[2]"},
    {"dr3", "env.dr[3]"},
    {"dr6", "env.dr[6]"},
    {"dr7", "env.dr[7]"},
    {"efer", "env.efer"},
    {"star", "env.star"},
    {"lstar", "env.lstar"},
    {"cstar", "env.cstar"},
    {"fmask", "env.fmask"},
    {"kernel_gs_base", "env.kernelgsbase"},
    {"pat", "env.pat"},
    {"xcr0", "env.xcr0"},
    {"mxcsr", "env.mxcsr"},
    {"fctrl", "env.fpuc"},
    {"fstat", "env.fpus_vmstate"},
    {"sysenter_cs", "env.sysenter_cs"},
    {"sysenter_esp", "env.sysenter_esp"},
    {"sysenter_eip", "env.sysenter_eip"},
    {"gdt_base", "env.gdt.base"},
    {"gdt_limit", "env.gdt.limit"},
    {"idt_base", "env.idt.base"},
    {"idt_limit", "env.idt.limit"},
};

void put_segment(const Numbers& cpu, const std::string& path, const std::string& selector, const std::string& name,
                 RegisterFile& registers) {
  cpu.put(registers, selector, path + ".selector");
  cpu.put(registers, name + "_base", path + ".base");
  cpu.put(registers, name + "_limit", path + ".limit");
  cpu.put(registers, name + "_flags", path + ".flags");
}

void put_x87(const Numbers& cpu, RegisterFile& registers) {
  format::X87State fpu;
  fpu.abridged_tags = cpu.get("env.fptag_vmstate");
  for (size_t i = 0; i < 8; ++i) {
    fpu.mantissa[i] = cpu.get(at("env.fpregs", i) + ".tmp.tmp_mant");
    fpu.exponent[i] = cpu.get(at("env.fpregs", i) + ".tmp.tmp_exp").value_or(0);
  }
  format::put_x87(fpu, registers);
}

void put_x86(const Numbers& cpu, RegisterFile& registers) {
  constexpr const char* kGeneral[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  constexpr const char* kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  for (size_t i = 0; i < std::size(kGeneral); ++i) cpu.put(registers, kGeneral[i], at("env.regs", i));
  for (const auto& [name, path] : kX86Fields) cpu.put(registers, name, path);
  for (size_t i = 0; i < std::size(kSegments); ++i)
    put_segment(cpu, at("env.segs", i), kSegments[i], kSegments[i], registers);
  put_segment(cpu, "env.ldt", "ldtr", "ldt", registers);
  put_segment(cpu, "env.tr", "tr", "tr", registers);
  for (size_t i = 0; i < 16; ++i) {
    const std::string name = "xmm" + std::to_string(i), path = at("env.xmm_regs[0]", i);
    cpu.put(registers, name + ".lo", path + "._q_ZMMReg[0]");
    cpu.put(registers, name + ".hi", path + "._q_ZMMReg[1]");
  }
  put_x87(cpu, registers);
}

void put_apic(const Numbers& apic, RegisterFile& registers) {
  apic.put(registers, "apic_base", "apicbase");
  if (const auto priority = apic.get("tpr")) registers.put("cr8", *priority >> 4);
}

// ---- aarch64: target/arm/machine.c ----

/// KVM's number of a system register.
constexpr uint64_t system_register(uint64_t op0, uint64_t op1, uint64_t crn, uint64_t crm, uint64_t op2) {
  return 0x6030000000130000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
}

const std::map<uint64_t, const char*>& system_registers() {
  static const std::map<uint64_t, const char*> all{
      {system_register(3, 0, 0, 0, 0), "midr_el1"},         {system_register(3, 0, 0, 0, 5), "mpidr_el1"},
      {system_register(3, 0, 0, 7, 0), "id_aa64mmfr0_el1"}, {system_register(3, 0, 1, 0, 0), "sctlr_el1"},
      {system_register(3, 0, 1, 0, 2), "cpacr_el1"},        {system_register(3, 0, 2, 0, 0), "ttbr0_el1"},
      {system_register(3, 0, 2, 0, 1), "ttbr1_el1"},        {system_register(3, 0, 2, 0, 2), "tcr_el1"},
      {system_register(3, 0, 5, 2, 0), "esr_el1"},          {system_register(3, 0, 6, 0, 0), "far_el1"},
      {system_register(3, 0, 7, 4, 0), "par_el1"},          {system_register(3, 0, 10, 2, 0), "mair_el1"},
      {system_register(3, 0, 12, 0, 0), "vbar_el1"},        {system_register(3, 0, 13, 0, 1), "contextidr_el1"},
      {system_register(3, 0, 13, 0, 4), "tpidr_el1"},       {system_register(3, 3, 13, 0, 2), "tpidr_el0"},
      {system_register(3, 3, 13, 0, 3), "tpidrro_el0"},     {system_register(3, 4, 1, 0, 0), "sctlr_el2"},
      {system_register(3, 4, 1, 1, 0), "hcr_el2"},          {system_register(3, 4, 2, 0, 0), "ttbr0_el2"},
      {system_register(3, 4, 2, 0, 1), "ttbr1_el2"},        {system_register(3, 4, 2, 0, 2), "tcr_el2"},
      {system_register(3, 4, 2, 1, 0), "vttbr_el2"},        {system_register(3, 4, 2, 1, 2), "vtcr_el2"},
      {system_register(3, 4, 5, 2, 0), "esr_el2"},          {system_register(3, 4, 6, 0, 0), "far_el2"},
      {system_register(3, 4, 6, 0, 4), "hpfar_el2"},        {system_register(3, 4, 10, 2, 0), "mair_el2"},
      {system_register(3, 4, 12, 0, 0), "vbar_el2"},        {system_register(3, 4, 13, 0, 1), "contextidr_el2"},
      {system_register(3, 4, 13, 0, 2), "tpidr_el2"},
  };
  return all;
}

void put_system_registers(const Numbers& cpu, RegisterFile& registers) {
  const uint64_t count = std::min<uint64_t>(cpu.get("cpreg_vmstate_array_len").value_or(0), 4096);
  for (size_t i = 0; i < count; ++i) {
    const auto id = cpu.get(at("cpreg_vmstate_indexes", i)), value = cpu.get(at("cpreg_vmstate_values", i));
    if (!id || !value) return;
    if (const auto found = system_registers().find(*id); found != system_registers().end())
      registers.put(found->second, *value);
  }
}

/// Stack pointers of the exception levels; that of the one it is in is its own SP.
void put_stacks(const Numbers& cpu, RegisterFile& registers) {
  constexpr const char* kNames[] = {"sp_el0", "sp_el1", "sp_el2"};
  for (size_t level = 0; level < std::size(kNames); ++level) cpu.put(registers, kNames[level], at("env.sp_el", level));
  const auto state = registers.get("pstate"), sp = registers.get("sp");
  if (!state || !sp) return;
  const size_t level = (*state & 1) != 0 ? *state >> 2 & 3 : 0;
  if (level < std::size(kNames)) registers.put(kNames[level], *sp);
}

void put_aarch64(const Numbers& cpu, RegisterFile& registers) {
  constexpr uint64_t kStatus = 0xf800009f, kControl = 0x07f79f00;  // of the FPSCR that AArch32 has for both
  for (size_t i = 0; i < 31; ++i) cpu.put(registers, "x" + std::to_string(i), at("env.xregs", i));
  cpu.put(registers, "sp", "env.xregs[31]");
  cpu.put(registers, "elr", "env.pc");
  cpu.put(registers, "pstate", "cpsr");
  cpu.put(registers, "elr_el1", "env.elr_el[1]");
  cpu.put(registers, "elr_el2", "env.elr_el[2]");
  cpu.put(registers, "spsr_el1", "env.banked_spsr[1]");
  cpu.put(registers, "spsr_el2", "env.banked_spsr[6]");
  put_stacks(cpu, registers);
  put_system_registers(cpu, registers);
  for (size_t i = 0; i < 32; ++i) {
    const std::string path = "cpu/vfp:" + at("env.vfp.zregs", i) + ".d", name = "v" + std::to_string(i);
    cpu.put(registers, name + ".lo", path + "[0]");
    cpu.put(registers, name + ".hi", path + "[1]");
  }
  if (const auto both = cpu.get("cpu/vfp:fpscr")) {
    registers.put("fpsr", *both & kStatus);
    registers.put("fpcr", *both & kControl);
  }
}

}  // namespace

Expected<std::vector<Cpu>> stream_registers(const SavedGuest& guest, Machine machine) {
  const bool x86 = machine == Machine::x86_64;
  std::vector<Cpu> cpus;
  for (const DeviceState& device : guest.devices) {
    if (device.name != "cpu") continue;
    Cpu cpu{.number = device.instance, .registers = RegisterFile(machine)};
    const Numbers numbers(device);
    x86 ? put_x86(numbers, cpu.registers) : put_aarch64(numbers, cpu.registers);
    if (!cpu.registers.get(x86 ? "rip" : "elr"))
      return std::unexpected(
          Error{Error::Kind::unsupported,
                fmt::format("QEMU's state of a vCPU has not the fields that are known (version {})", device.version)});
    cpus.push_back(std::move(cpu));
  }
  for (const DeviceState& device : guest.devices) {
    const auto cpu = std::ranges::find(cpus, device.instance, &Cpu::number);
    if (device.name == "apic" && cpu != cpus.end()) put_apic(Numbers(device), cpu->registers);
  }
  if (cpus.empty()) return std::unexpected(Error{Error::Kind::malformed, "QEMU's stream has no vCPU"});
  std::ranges::sort(cpus, {}, &Cpu::number);
  for (size_t i = 0; i < cpus.size(); ++i) cpus[i].index = i;
  return cpus;
}

}  // namespace gcore::reader
