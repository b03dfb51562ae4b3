#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {

const char* dialect_name(reader::Dialect dialect) { return dialect == reader::Dialect::qnx ? "qnx" : "vmcore"; }

std::optional<uint64_t> program_counter(const reader::Cpu& cpu) {
  return cpu.registers.get(format::machine_info(cpu.registers.machine()).program_counter);
}
std::optional<uint64_t> stack_pointer(const reader::Cpu& cpu) {
  return cpu.registers.get(format::machine_info(cpu.registers.machine()).stack_pointer);
}

bool is_of_program(const format::RegisterInfo& info) {
  return info.core_offset >= 0 || info.name == "fs_base" || info.name == "gs_base";
}

std::vector<Gap> gaps(const reader::Dump& dump) {
  std::vector<Gap> found;
  reader::Missing last = reader::Missing::none;
  for (auto lost = dump.next_missing(reader::PhysAddr(0)); lost;) {
    const reader::PhysAddr end = lost->address + lost->size;
    if (!found.empty() && last == lost->why && found.back().address + found.back().size == lost->address)
      found.back().size += lost->size;
    else
      found.push_back({lost->address, lost->size, dump.describe(lost->why)});
    last = lost->why;
    if (end <= lost->address) break;  // the last byte of all
    lost = dump.next_missing(end);
  }
  return found;
}

bool at_fault(const reader::Dump& dump, const reader::Cpu& cpu) {
  return cpu.index == dump.faulting_cpu() && dump.signal() != 0;
}

std::string order_remark(const reader::Dump& dump) {
  const auto segments = dump.segments();
  size_t count = 0;
  std::string example;
  for (size_t i = 1; i < segments.size(); ++i)
    if (segments[i].index < segments[i - 1].index && ++count == 1)
      example = fmt::format("program header {} at {:#x}, {} at {:#x}", segments[i].index, segments[i].address.value,
                            segments[i - 1].index, segments[i - 1].address.value);
  if (count == 0) return "";
  return fmt::format("the segments are not in the order of their addresses in the file (the first such place: {})",
                     example);
}

std::vector<std::string> defects(const reader::Dump& dump) {
  std::vector<std::string> all(dump.warnings().begin(), dump.warnings().end());
  for (const reader::Cpu& cpu : dump.cpus())
    if (cpu.page_table && dump.segment_at(*cpu.page_table) == nullptr)
      all.push_back(fmt::format("vCPU {}: its page table at {:#x} is in no segment", cpu.index, cpu.page_table->value));
  if (!dump.info().complete) all.push_back("the dump is partial: its writer was interrupted");
  for (const uint32_t cpu : dump.info().left_out)
    all.push_back(fmt::format("the VMM's vCPU {} is not in the dump: its registers could not be read", cpu));
  return all;
}

std::string counted(uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string page_size_name(uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGT";
  for (size_t unit = kUnits.size(); unit > 0; --unit)
    if (const uint64_t size = uint64_t{1} << (10 * unit); bytes >= size && bytes % size == 0)
      return fmt::format("{}{}", bytes / size, kUnits[unit - 1]);
  return std::to_string(bytes);
}

std::string symbol_name(const Job& job, std::optional<uint64_t> address) {
  return job.symbols != nullptr && address ? job.symbols->name(*address) : "";
}

std::string warning_mark(const Job& job) { return job.colour ? "\x1b[33m!\x1b[0m" : "!"; }

std::string bold(const Job& job, std::string_view text) {
  return job.colour ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

}  // namespace gcore::tools::inspect
