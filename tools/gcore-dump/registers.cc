#include "tools/gcore-dump/registers.h"

#include <algorithm>

#include "tools/gcore-dump/capture.h"
#include "tools/gcore-dump/gdb_registers.h"
#include "tools/gcore-dump/register_text.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;
using format::Machine;
using format::RegisterFile;

constexpr int64_t kHighestCpu = 65534;

/// Adds what `from` knows and `to` does not.
void supplement(RegisterFile& to, const RegisterFile& from) {
  for (size_t slot = 0; slot < format::registers(to.machine()).size(); ++slot)
    if (const auto value = from.get_slot(slot); value && !to.get_slot(slot)) to.set_slot(slot, *value);
}

QmpResult<json::Array> query_cpus(Qmp& qmp) {
  auto answer = qmp.execute("query-cpus-fast");
  if (!answer) return std::unexpected(answer.error());
  json::Array* cpus = answer->getAsArray();
  if (!cpus || cpus->empty()) return std::unexpected(QmpError{QmpError::Kind::refused, "QEMU's machine has no vCPU"});
  return std::move(*cpus);
}

/// The vCPUs that there are, without registers.
std::expected<std::vector<CpuStates::Cpu>, std::string> list_cpus(Qmp& qmp, Machine machine) {
  const auto answer = query_cpus(qmp);
  if (!answer) return std::unexpected(answer.error().text);
  std::vector<CpuStates::Cpu> cpus;
  for (const json::Value& cpu : *answer) {
    const json::Object* facts = cpu.getAsObject();
    const int64_t number = facts ? facts->getInteger("cpu-index").value_or(-1) : -1;
    if (number < 0 || number > kHighestCpu)
      return std::unexpected("query-cpus-fast: QEMU numbers a vCPU " + std::to_string(number));
    cpus.push_back({static_cast<size_t>(number), RegisterFile(machine)});
  }
  std::ranges::sort(cpus, {}, &CpuStates::Cpu::number);
  return cpus;
}

std::expected<void, std::string> add_x86_registers(Qmp& qmp, CpuStates& states) {
  const auto text = qmp.human("info registers -a");
  if (!text) return std::unexpected(text.error().text);
  const auto shown = parse_x86_registers(*text);
  for (auto& [number, registers] : states.cpus) {
    if (const auto found = shown.find(number); found != shown.end()) supplement(registers, found->second);
    // Without an argument it is the APIC of the vCPU that the monitor is set to.
    const auto apic = qmp.human("info lapic", static_cast<int>(number));
    if (!apic) continue;
    if (const auto cr8 = parse_cr8(*apic)) registers.put("cr8", *cr8);
  }
  return {};
}

void add_aarch64_registers(Qmp& qmp, CpuStates& states) {
  const auto stub = read_stub_registers(qmp, Machine::aarch64, states.cpus.back().number + 1);
  if (!stub) {
    states.notes.push_back("the dump has no system registers (TTBR1_EL1 and the like): " + stub.error());
    return;
  }
  for (auto& [number, registers] : states.cpus) supplement(registers, (*stub)[number]);
}

/// What QEMU's notes say of a vCPU. Those of an x86_64 guest that is not in long mode are of a 32-bit x86: the segments
/// and control registers in them are wanted; all else is in `info registers`.
RegisterFile of_notes(const reader::Cpu& cpu, Machine machine) {
  if (cpu.registers.machine() == machine) return cpu.registers;
  RegisterFile registers(machine);
  if (machine != Machine::x86_64 || cpu.registers.machine() != Machine::x86) return registers;
  for (const char* name : {"cs", "ss", "ds", "es", "fs", "gs", "cr0", "cr2", "cr3", "cr4"})
    if (const auto value = cpu.registers.get(name)) static_cast<void>(registers.set(name, *value));
  for (const auto& [name, value] : cpu.other_registers) static_cast<void>(registers.set(name, value));
  return registers;
}

/// A 64-bit ARM CPU has this property, true unless it is made a 32-bit one.
bool is_aarch64(Qmp& qmp, const json::Value& cpu) {
  const json::Object* facts = cpu.getAsObject();
  const std::string path = facts ? facts->getString("qom-path").value_or("").str() : "";
  const auto answer = qmp.execute("qom-get", json::Object{{"path", path}, {"property", "aarch64"}});
  return answer && answer->getAsBoolean().value_or(false);
}

}  // namespace

QmpResult<size_t> count_cpus(Qmp& qmp) {
  const auto cpus = query_cpus(qmp);
  if (!cpus) return std::unexpected(cpus.error());
  return cpus->size();
}

QmpResult<Machine> query_machine(Qmp& qmp) {
  const auto refused = [](std::string why) {
    return std::unexpected(QmpError{QmpError::Kind::refused, std::move(why)});
  };
  const auto answer = qmp.execute("query-target");
  if (!answer) return std::unexpected(answer.error());
  const json::Object* target = answer->getAsObject();
  const llvm::StringRef name = target ? target->getString("arch").value_or("") : "";
  const auto cpus = query_cpus(qmp);
  if (!cpus) return std::unexpected(cpus.error());
  if (name == "x86_64") return Machine::x86_64;
  if (name == "aarch64" && is_aarch64(qmp, cpus->front())) return Machine::aarch64;
  if (name == "aarch64" || name == "arm")
    return refused("the guest's CPU is a 32-bit ARM; dumps are of x86_64 and aarch64");
  return refused("QEMU runs a guest of machine \"" + name.str() + "\"; dumps are of x86_64 and aarch64" +
                 (name == "i386" ? " (QEMU's dump-guest-memory and gcore-convert make a qnx dump of it)" : ""));
}

std::expected<CpuStates, std::string> read_registers(Qmp& qmp, Machine machine, const reader::Dump* notes,
                                                     uint64_t ram) {
  CpuStates states;
  auto cpus = list_cpus(qmp, machine);
  if (!cpus) return std::unexpected(cpus.error());
  states.cpus = std::move(*cpus);
  Capture own;
  if (!notes) {
    auto captured = capture(qmp, ram, 4096, {});  // small: it needs no directory
    if (!captured) return std::unexpected(captured.error().text);
    own = std::move(*captured);
    notes = own.dump.get();
  }
  states.vmcoreinfo = notes->vmcoreinfo();
  for (const reader::Cpu& cpu : notes->cpus())
    if (const auto found = std::ranges::find(states.cpus, cpu.number, &CpuStates::Cpu::number);
        found != states.cpus.end())
      supplement(found->registers, of_notes(cpu, machine));
  if (machine == Machine::aarch64) {
    add_aarch64_registers(qmp, states);
  } else if (auto added = add_x86_registers(qmp, states); !added) {
    return std::unexpected(added.error());
  }
  return states;
}

}  // namespace gcore::tools::qemu
