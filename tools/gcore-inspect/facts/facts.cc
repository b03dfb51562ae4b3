#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

struct Bit {
  const char* name;
  unsigned bit;
};

// Highest bit first, as the manuals draw them. Intel SDM volume 3, sections 2.3, 2.5 and table 2-2; Arm ARM C5.2,
// D19.2.
constexpr Bit kRflags[] = {{"ID", 21}, {"VIP", 20}, {"VIF", 19}, {"AC", 18}, {"VM", 17}, {"RF", 16},
                           {"NT", 14}, {"OF", 11},  {"DF", 10},  {"IF", 9},  {"TF", 8},  {"SF", 7},
                           {"ZF", 6},  {"AF", 4},   {"PF", 2},   {"CF", 0}};
constexpr Bit kCr0[] = {{"PG", 31}, {"CD", 30}, {"NW", 29}, {"AM", 18}, {"WP", 16}, {"NE", 5},
                        {"ET", 4},  {"TS", 3},  {"EM", 2},  {"MP", 1},  {"PE", 0}};
constexpr Bit kCr4[] = {
    {"LAM_SUP", 28}, {"UINTR", 25},      {"PKS", 24},   {"CET", 23},      {"PKE", 22},  {"SMAP", 21}, {"SMEP", 20},
    {"KL", 19},      {"OSXSAVE", 18},    {"PCIDE", 17}, {"FSGSBASE", 16}, {"SMXE", 14}, {"VMXE", 13}, {"LA57", 12},
    {"UMIP", 11},    {"OSXMMEXCPT", 10}, {"OSFXSR", 9}, {"PCE", 8},       {"PGE", 7},   {"MCE", 6},   {"PAE", 5},
    {"PSE", 4},      {"DE", 3},          {"TSD", 2},    {"PVI", 1},       {"VME", 0}};
constexpr Bit kEfer[] = {{"TCE", 15}, {"FFXSR", 14}, {"LMSLE", 13}, {"SVME", 12},
                         {"NXE", 11}, {"LMA", 10},   {"LME", 8},    {"SCE", 0}};
constexpr Bit kPstate[] = {{"N", 31},  {"Z", 30}, {"C", 29}, {"V", 28}, {"PAN", 22}, {"SS", 21},
                           {"IL", 20}, {"D", 9},  {"A", 8},  {"I", 7},  {"F", 6}};
constexpr Bit kSctlr[] = {{"EE", 25}, {"E0E", 24}, {"WXN", 19}, {"I", 12}, {"SA0", 4},
                          {"SA", 3},  {"C", 2},    {"A", 1},    {"M", 0}};

// Arm ARM D19.2.48.
constexpr Bit kHcr[] = {{"FWB", 46},  {"NV2", 45},  {"AT", 44},   {"NV1", 43},  {"NV", 42},   {"API", 41},
                        {"APK", 40},  {"TERR", 36}, {"TLOR", 35}, {"E2H", 34},  {"ID", 33},   {"CD", 32},
                        {"RW", 31},   {"TRVM", 30}, {"HCD", 29},  {"TDZ", 28},  {"TGE", 27},  {"TVM", 26},
                        {"TTLB", 25}, {"TPU", 24},  {"TPCP", 23}, {"TSW", 22},  {"TACR", 21}, {"TIDCP", 20},
                        {"TSC", 19},  {"TID3", 18}, {"TID2", 17}, {"TID1", 16}, {"TID0", 15}, {"TWE", 14},
                        {"TWI", 13},  {"DC", 12},   {"FB", 9},    {"VSE", 8},   {"VI", 7},    {"VF", 6},
                        {"AMO", 5},   {"IMO", 4},   {"FMO", 3},   {"PTW", 2},   {"SWIO", 1},  {"VM", 0}};

bool is_pstate(std::string_view name) { return name == "pstate" || name == "spsr_el1" || name == "spsr_el2"; }

std::span<const Bit> bits_of(format::Machine machine, std::string_view name) {
  if (machine == format::Machine::aarch64) {
    if (is_pstate(name)) return kPstate;
    if (name == "sctlr_el1" || name == "sctlr_el2") return kSctlr;
    if (name == "hcr_el2") return kHcr;
    return {};
  }
  if (name == "rflags" || name == "efl") return kRflags;
  if (name == "cr0") return kCr0;
  if (name == "cr4") return kCr4;
  if (name == "efer") return kEfer;
  return {};
}

/// One that this program may not know by its name.
std::optional<uint64_t> extra_register(const reader::Cpu& cpu, std::string_view name) {
  if (const auto value = cpu.registers.get(name)) return value;
  const auto other =
      std::ranges::find(cpu.other_registers, name, [](const auto& one) { return std::string_view(one.first); });
  return other != cpu.other_registers.end() ? std::optional(other->second) : std::nullopt;
}

}  // namespace

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

std::string mode_name(const reader::Cpu& cpu) {
  if (cpu.registers.machine() == format::Machine::aarch64) {
    const auto pstate = cpu.registers.get("pstate");
    if (!pstate) return "unknown";
    if ((*pstate & 0x10) != 0) return (*pstate & 0xf) == 0 ? "user, AArch32" : "AArch32";
    const unsigned level = *pstate >> 2 & 3;
    // With the virtualization host extensions (HCR_EL2.E2H) a whole kernel runs there, and not a hypervisor alone.
    if (level == 2 && (extra_register(cpu, "hcr_el2").value_or(0) >> 34 & 1) != 0) return "kernel, EL2 (VHE)";
    constexpr const char* kWho[] = {"user", "kernel", "hypervisor", "secure monitor"};
    return fmt::format("{}, EL{}", kWho[level], level);
  }
  const auto cs = cpu.registers.get("cs");
  if (!cs) return "unknown";
  // Real mode has no privilege levels; the low bits of CS are part of an address there.
  if (const auto cr0 = cpu.registers.get("cr0"); cr0 && (*cr0 & 1) == 0) return "real mode";
  const unsigned level = *cs & 3;
  return fmt::format("{}, CPL {}", level == 3 ? "user" : "kernel", level);
}

std::string flag_names(format::Machine machine, std::string_view name, uint64_t value) {
  std::string names;
  const auto add = [&](std::string_view one) { names += (names.empty() ? "" : " ") + std::string(one); };
  for (const Bit& bit : bits_of(machine, name))
    if ((value >> bit.bit & 1) != 0) add(bit.name);
  if ((name == "rflags" || name == "efl") && (value >> 12 & 3) != 0) add(fmt::format("IOPL={}", value >> 12 & 3));
  if (machine == format::Machine::aarch64 && is_pstate(name) && (value & 0x10) == 0)
    add(fmt::format("EL{}{}", value >> 2 & 3, (value & 1) != 0 ? "h" : "t"));
  return names;
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
