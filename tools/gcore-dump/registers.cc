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

constexpr size_t kMostCpus = 65535;

/// Adds what `from` knows and `to` does not.
void supplement(RegisterFile& to, const RegisterFile& from) {
  for (size_t slot = 0; slot < format::registers(to.machine()).size(); ++slot)
    if (const auto value = from.get_slot(slot); value && !to.get_slot(slot)) to.set_slot(slot, *value);
}

std::expected<size_t, std::string> query_cpu_count(Qmp& qmp) {
  const auto answer = qmp.execute("query-cpus-fast");
  if (!answer) return std::unexpected(answer.error().text);
  const json::Array* cpus = answer->getAsArray();
  int64_t most = -1;
  for (const json::Value& cpu : cpus ? *cpus : json::Array())
    if (const json::Object* facts = cpu.getAsObject())
      most = std::max(most, facts->getInteger("cpu-index").value_or(-1));
  if (most < 0 || most >= static_cast<int64_t>(kMostCpus))
    return std::unexpected("query-cpus-fast: QEMU names no vCPU");
  return static_cast<size_t>(most) + 1;
}

std::expected<void, std::string> add_x86_registers(Qmp& qmp, CpuStates& states) {
  const auto text = qmp.human("info registers -a");
  if (!text) return std::unexpected(text.error().text);
  for (const auto& [index, registers] : parse_x86_registers(*text))
    if (index < states.cpus.size()) supplement(states.cpus[index], registers);
  for (size_t index = 0; index < states.cpus.size(); ++index) {
    // Without an argument it is the APIC of the vCPU that the monitor is set to.
    const auto apic = qmp.human("info lapic", static_cast<int>(index));
    if (!apic) continue;
    if (const auto cr8 = parse_cr8(*apic)) states.cpus[index].set("cr8", *cr8);
  }
  return {};
}

void add_aarch64_registers(Qmp& qmp, CpuStates& states) {
  const auto stub = read_stub_registers(qmp, Machine::aarch64, states.cpus.size());
  if (!stub) {
    states.notes.push_back("the dump has no system registers (TTBR1_EL1 and the like): " + stub.error());
    return;
  }
  for (size_t index = 0; index < states.cpus.size(); ++index) supplement(states.cpus[index], (*stub)[index]);
}

}  // namespace

QmpResult<Machine> query_machine(Qmp& qmp) {
  const auto answer = qmp.execute("query-target");
  if (!answer) return std::unexpected(answer.error());
  const json::Object* target = answer->getAsObject();
  const llvm::StringRef name = target ? target->getString("arch").value_or("") : "";
  if (name == "x86_64") return Machine::x86_64;
  if (name == "aarch64") return Machine::aarch64;
  return std::unexpected(QmpError{
      QmpError::Kind::refused, "QEMU runs a guest of machine \"" + name.str() + "\"; dumps are of x86_64 and aarch64"});
}

std::expected<CpuStates, std::string> read_registers(Qmp& qmp, Machine machine, const reader::Dump* notes,
                                                     uint64_t ram) {
  CpuStates states;
  const auto count = query_cpu_count(qmp);
  if (!count) return std::unexpected(count.error());
  states.cpus.assign(*count, RegisterFile(machine));
  Capture own;
  if (!notes) {
    auto captured = capture(qmp, ram, 4096, {});  // small: it needs no directory
    if (!captured) return std::unexpected(captured.error().text);
    own = std::move(*captured);
    notes = own.dump.get();
  }
  states.vmcoreinfo = notes->vmcoreinfo();
  if (notes->machine() == machine)
    for (const reader::Cpu& cpu : notes->cpus())
      if (cpu.index < states.cpus.size()) supplement(states.cpus[cpu.index], cpu.registers);
  if (machine == Machine::aarch64) {
    add_aarch64_registers(qmp, states);
  } else if (auto added = add_x86_registers(qmp, states); !added) {
    return std::unexpected(added.error());
  }
  return states;
}

}  // namespace gcore::tools::qemu
