#include "reader/dump/paging_registers.h"

namespace gcore::reader {

std::optional<uint64_t> register_of(const Cpu& cpu, std::string_view name) {
  if (const auto value = cpu.registers.get(name)) return value;
  for (const auto& [other, value] : cpu.other_registers)
    if (other == name) return value;
  return std::nullopt;
}

void take_registers(const Cpu& cpu, translate::X86Registers& registers) {
  registers.cr0 = register_of(cpu, "cr0");
  registers.cr3 = register_of(cpu, "cr3");
  registers.cr4 = register_of(cpu, "cr4");
  registers.efer = register_of(cpu, "efer");
}

void take_registers(const Cpu& cpu, translate::Aarch64Registers& registers) {
  if (const auto tcr = register_of(cpu, "tcr_el1")) registers.tcr = tcr;
  registers.sctlr = register_of(cpu, "sctlr_el1");
  registers.ttbr0 = register_of(cpu, "ttbr0_el1");
  registers.ttbr1 = register_of(cpu, "ttbr1_el1");
  registers.id_aa64mmfr0 = register_of(cpu, "id_aa64mmfr0_el1");
  registers.pstate = register_of(cpu, "pstate");
  registers.hcr_el2 = register_of(cpu, "hcr_el2");
  registers.sctlr_el2 = register_of(cpu, "sctlr_el2");
  registers.tcr_el2 = register_of(cpu, "tcr_el2");
  registers.ttbr0_el2 = register_of(cpu, "ttbr0_el2");
  registers.ttbr1_el2 = register_of(cpu, "ttbr1_el2");
}

}  // namespace gcore::reader
