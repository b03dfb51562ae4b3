#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/machine.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

constexpr size_t kLineWidth = 80, kGap = 2;

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
  for (const RegisterGroupNames& group : machine_of(cpu.registers.machine()).groups()) {
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
