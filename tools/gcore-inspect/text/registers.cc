#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kLineWidth = 80, kGap = 2;

/// A row of registers that belong together. "x0..x30" stands for x0, x1, ...; FPU groups are for `--registers all`.
struct Group {
  const char* title;
  bool fpu;
  std::vector<std::string> names;
  bool optional = false;  // a machine may have none of them
};

std::vector<std::string> numbered(const char* prefix, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(fmt::format("{}{}", prefix, i));
  return names;
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<std::string> upper_halves() {
  std::vector<std::string> names = numbered("ymm", 16);
  for (std::string& name : names) name += 'h';
  return names;
}

/// The registers that the machine has at EL2.
std::vector<std::string> of_el2() {
  std::vector<std::string> names;
  for (const auto& one : format::registers(format::Machine::aarch64))
    if (one.name.ends_with("_el2")) names.emplace_back(one.name);
  return names;
}

/// Registers wider than 64 bits are named without their .lo and .hi here.
std::vector<Group> groups(format::Machine machine) {
  switch (machine) {
    case format::Machine::x86_64:
      return {
          {"general",
           false,
           {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15", "rip", "rflags"}},
          {"segments", false, {"cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "kernel_gs_base"}},
          {"control", false, {"cr0", "cr2", "cr3", "cr4", "cr8", "efer", "xcr0"}},
          {"segment descriptors",
           true,
           {"cs_base", "cs_limit", "cs_flags", "ds_base", "ds_limit", "ds_flags", "es_base", "es_limit", "es_flags",
            "ss_base", "ss_limit", "ss_flags", "fs_limit", "fs_flags", "gs_limit", "gs_flags", "ldt_flags",
            "tr_flags"}},
          {"tables",
           false,
           {"gdt_base", "gdt_limit", "idt_base", "idt_limit", "ldt_base", "ldt_limit", "ldtr", "tr_base", "tr_limit",
            "tr"}},
          {"model-specific",
           false,
           {"star", "lstar", "cstar", "fmask", "sysenter_cs", "sysenter_esp", "sysenter_eip", "apic_base", "pat"}},
          {"debug", false, {"dr0", "dr1", "dr2", "dr3", "dr6", "dr7"}},
          {"x87", true, joined({"fctrl", "fstat", "ftag", "fop", "fip", "fdp"}, numbered("st", 8))},
          {"SSE", true, joined({"mxcsr"}, numbered("xmm", 16))},
          {"AVX", true, upper_halves(), true},
      };
    case format::Machine::aarch64:
      return {
          {"general", false, joined(numbered("x", 31), {"sp", "elr", "pstate"})},
          {"translation", false, {"sctlr_el1", "tcr_el1", "ttbr0_el1", "ttbr1_el1", "mair_el1", "id_aa64mmfr0_el1"}},
          {"exceptions", false, {"vbar_el1", "esr_el1", "far_el1", "elr_el1", "spsr_el1", "par_el1"}},
          {"other",
           false,
           {"sp_el0", "sp_el1", "tpidr_el0", "tpidr_el1", "tpidrro_el0", "contextidr_el1", "mpidr_el1", "midr_el1",
            "cpacr_el1"}},
          {"EL2", false, of_el2(), true},
          {"vector", true, joined({"fpsr", "fpcr"}, numbered("v", 32))},
      };
    case format::Machine::x86:
      return {
          {"general", false, {"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "exx", "eip", "efl"}},
          {"segments", false, {"cs", "ss", "ds", "es", "fs", "gs"}},
          {"control", false, {"cr0", "cr2", "cr3", "cr4", "efer"}},
      };
  }
  return {};
}

RegisterRow show(const format::RegisterFile& file, const std::string& name) {
  const auto all = format::registers(file.machine());
  if (const auto slot = format::find_register(file.machine(), name)) {
    const auto value = file.get_slot(*slot);
    if (!value) return {};
    return {name, fmt::format("0x{:0{}x}", *value, all[*slot].bytes * 2), flag_names(file.machine(), name, *value)};
  }
  const auto high = format::find_register(file.machine(), name + ".hi");
  const auto low = format::find_register(file.machine(), name + ".lo");
  if (!high || !low || !file.get_slot(*high) || !file.get_slot(*low)) return {};
  return {name, fmt::format("0x{:0{}x}{:016x}", *file.get_slot(*high), all[*high].bytes * 2, *file.get_slot(*low)), ""};
}

void print_group(const RegisterGroup& group) {
  size_t name_width = 0, value_width = 0, flagged_width = 0;
  std::vector<const RegisterRow*> plain, flagged;
  for (const RegisterRow& row : group.rows) {
    if (row.flags.empty()) {
      name_width = std::max(name_width, row.name.size());
      value_width = std::max(value_width, row.value.size());
    } else {
      flagged_width = std::max(flagged_width, row.name.size());
    }
    (row.flags.empty() ? plain : flagged).push_back(&row);
  }
  std::puts(fmt::format("  {}", group.title).c_str());
  const size_t cell = name_width + 1 + value_width + kGap;
  const size_t columns = std::max<size_t>(1, (kLineWidth - 4 + kGap) / cell);
  std::string line;
  for (size_t i = 0; i < plain.size(); ++i) {
    line += fmt::format("{:<{}} {:<{}}", plain[i]->name, name_width, plain[i]->value, value_width + kGap);
    if (i + 1 < plain.size() && (i + 1) % columns != 0) continue;
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(("    " + line).c_str());
    line.clear();
  }
  for (const RegisterRow* row : flagged)
    std::puts(fmt::format("    {:<{}} {}  {}", row->name, flagged_width, row->value, row->flags).c_str());
}

void print_list(const char* title, const std::vector<std::string>& words) {
  std::string line = fmt::format("  {}:", title);
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string word = words[i] + (i + 1 < words.size() ? "," : "");
    if (line.size() + 1 + word.size() > kLineWidth) {
      std::puts(line.c_str());
      line = "   ";
    }
    line += " " + word;
  }
  std::puts(line.c_str());
}

void print_cpu(const Job& job, const reader::Cpu& cpu, bool all) {
  const auto space = job.guest.space_of_cpu(cpu.index);
  std::string heading = fmt::format("vCPU {}: {}; {}", cpu.index, state_name(job.guest, cpu),
                                    space ? space->describe() : "address space unknown");
  if (at_fault(job.dump, cpu)) heading += fmt::format("; at fault (signal {})", job.dump.signal());
  std::puts(bold(job, heading).c_str());
  if (!cpu.process_name.empty()) std::puts(fmt::format("  process {}", printable(cpu.process_name)).c_str());
  if (const std::string at = symbol_name(job, program_counter(cpu)); !at.empty())
    std::puts(fmt::format("  in {}", at).c_str());
  std::vector<std::string> absent;
  for (const RegisterGroup& group : register_groups(cpu, all, absent)) print_group(group);
  if (!absent.empty()) print_list("not in the dump", absent);
}

}  // namespace

std::vector<RegisterGroup> register_groups(const reader::Cpu& cpu, bool all, std::vector<std::string>& absent) {
  std::vector<RegisterGroup> found;
  for (const Group& group : groups(cpu.registers.machine())) {
    if (group.fpu && !all) continue;
    RegisterGroup shown{group.title, group.fpu, {}};
    std::vector<std::string> not_there;
    for (const std::string& name : group.names) {
      RegisterRow row = show(cpu.registers, name);
      if (row.value.empty())
        not_there.push_back(name);
      else
        shown.rows.push_back(std::move(row));
    }
    if (!shown.rows.empty() || !group.optional) absent.insert(absent.end(), not_there.begin(), not_there.end());
    if (!shown.rows.empty()) found.push_back(std::move(shown));
  }
  RegisterGroup other{"of names unknown to this program", false, {}};
  for (const auto& [name, value] : cpu.other_registers)
    other.rows.push_back({printable(name), fmt::format("{:#018x}", value), ""});
  if (!other.rows.empty()) found.push_back(std::move(other));
  return found;
}

int print_registers(const Job& job, bool all) {
  if (job.dump.cpus().empty()) return job.program.fail("show registers", job.dump.path() + " has no vCPU");
  bool first = true;
  for (const reader::Cpu& cpu : job.dump.cpus()) {
    if (job.cpu && cpu.index != *job.cpu) continue;
    if (!first) std::puts("");
    first = false;
    print_cpu(job, cpu, all);
  }
  return kExitDone;
}

}  // namespace gcore::tools::inspect
