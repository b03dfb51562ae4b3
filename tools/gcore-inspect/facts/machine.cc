#include "tools/gcore-inspect/facts/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tools/gcore-inspect/inspect.h"
#include "writer/format/endian.h"

namespace gcore::tools::inspect {
namespace {

using Groups = std::vector<RegisterGroupNames>;

std::vector<std::string> numbered(const char* prefix, int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(fmt::format("{}{}", prefix, i));
  return names;
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// The bytes before the pc, as many of `into` as can be read up to there.
bool read_before(const reader::AddressSpace& space, uint64_t pc, std::span<std::byte> into) {
  return pc >= into.size() && space.read(reader::VirtAddr(pc - into.size()), into).bytes == into.size();
}

// ---- x86

// Highest bit first, as the manuals draw them. Intel SDM volume 3, sections 2.3, 2.5 and table 2-2.
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

std::span<const Bit> x86_bits(std::string_view name) {
  if (name == "rflags" || name == "efl") return kRflags;
  if (name == "cr0") return kCr0;
  if (name == "cr4") return kCr4;
  if (name == "efer") return kEfer;
  return {};
}

std::string x86_field(std::string_view name, uint64_t value) {
  const bool is_flags = name == "rflags" || name == "efl";
  return is_flags && (value >> 12 & 3) != 0 ? fmt::format("IOPL={}", value >> 12 & 3) : "";
}

std::string x86_mode(const reader::Cpu& cpu) {
  const auto cs = cpu.registers.get("cs");
  if (!cs) return "unknown";
  // Real mode has no privilege levels; the low bits of CS are part of an address there.
  if (const auto cr0 = cpu.registers.get("cr0"); cr0 && (*cr0 & 1) == 0) return "real mode";
  const unsigned level = *cs & 3;
  return fmt::format("{}, CPL {}", level == 3 ? "user" : "kernel", level);
}

/// HLT and MWAIT have no operands, but their bytes can be the tail of another instruction. So: HLT where an instruction
/// that sets or clears the interrupt flag stands before it, or where it is alone in a loop; MWAIT is three bytes.
std::optional<Waits> x86_waits(const reader::AddressSpace& space, uint64_t pc) {
  std::array<unsigned char, 5> code{};  // [pc - 3, pc + 2)
  if (!read_before(space, pc, std::as_writable_bytes(std::span(code).first(3)))) return std::nullopt;
  space.read(reader::VirtAddr(pc), std::as_writable_bytes(std::span(code).subspan(3)));
  const bool mwait = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xc9;
  const bool after_flag = code[1] == 0xfb || code[1] == 0xfa;                    // STI, CLI
  const bool in_loop = code[3] == 0xeb && (code[4] == 0xfd || code[4] == 0xfc);  // JMP back to it or to what precedes
  const bool halted = code[2] == 0xf4 && (after_flag || in_loop);
  return mwait || halted ? Waits::for_interrupt : Waits::no;
}

std::vector<std::string> upper_halves() {
  std::vector<std::string> names = numbered("ymm", 16);
  for (std::string& name : names) name += 'h';
  return names;
}

Groups x86_64_groups() {
  return {
      {"general",
       false,
       {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "rip", "rflags"}},
      {"segments", false, {"cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "kernel_gs_base"}},
      {"control", false, {"cr0", "cr2", "cr3", "cr4", "cr8", "efer", "xcr0"}},
      {"segment descriptors",
       true,
       {"cs_base", "cs_limit", "cs_flags", "ds_base", "ds_limit", "ds_flags", "es_base", "es_limit", "es_flags",
        "ss_base", "ss_limit", "ss_flags", "fs_limit", "fs_flags", "gs_limit", "gs_flags", "ldt_flags", "tr_flags"}},
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
}

Groups x86_groups() {
  return {
      {"general", false, {"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "exx", "eip", "efl"}},
      {"segments", false, {"cs", "ss", "ds", "es", "fs", "gs"}},
      {"control", false, {"cr0", "cr2", "cr3", "cr4", "efer"}},
  };
}

// ---- aarch64: Arm ARM C5.2, D19.2

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

std::span<const Bit> aarch64_bits(std::string_view name) {
  if (is_pstate(name)) return kPstate;
  if (name == "sctlr_el1" || name == "sctlr_el2") return kSctlr;
  if (name == "hcr_el2") return kHcr;
  return {};
}

std::string aarch64_field(std::string_view name, uint64_t value) {
  const bool is_aarch64 = is_pstate(name) && (value & 0x10) == 0;
  return is_aarch64 ? fmt::format("EL{}{}", value >> 2 & 3, (value & 1) != 0 ? "h" : "t") : "";
}

/// One that this program may not know by its name.
std::optional<uint64_t> extra_register(const reader::Cpu& cpu, std::string_view name) {
  if (const auto value = cpu.registers.get(name)) return value;
  const auto other =
      std::ranges::find(cpu.other_registers, name, [](const auto& one) { return std::string_view(one.first); });
  return other != cpu.other_registers.end() ? std::optional(other->second) : std::nullopt;
}

std::string aarch64_mode(const reader::Cpu& cpu) {
  const auto pstate = cpu.registers.get("pstate");
  if (!pstate) return "unknown";
  if ((*pstate & 0x10) != 0) return (*pstate & 0xf) == 0 ? "user, AArch32" : "AArch32";
  const unsigned level = *pstate >> 2 & 3;
  // With the virtualization host extensions (HCR_EL2.E2H) a whole kernel runs there, and not a hypervisor alone.
  if (level == 2 && (extra_register(cpu, "hcr_el2").value_or(0) >> 34 & 1) != 0) return "kernel, EL2 (VHE)";
  constexpr const char* kWho[] = {"user", "kernel", "hypervisor", "secure monitor"};
  return fmt::format("{}, EL{}", kWho[level], level);
}

std::optional<Waits> aarch64_waits(const reader::AddressSpace& space, uint64_t pc) {
  constexpr uint32_t kWfi = 0xd503207f, kWfe = 0xd503205f;
  std::array<std::byte, 4> code;
  if (!read_before(space, pc, code)) return std::nullopt;
  const auto instruction = format::load<uint32_t>(code.data(), format::ByteOrder::little);  // in either byte order
  return instruction == kWfi ? Waits::for_interrupt : instruction == kWfe ? Waits::for_event : Waits::no;
}

/// The registers that the machine has at EL2.
std::vector<std::string> of_el2() {
  std::vector<std::string> names;
  for (const auto& one : format::registers(format::Machine::aarch64))
    if (one.name.ends_with("_el2")) names.emplace_back(one.name);
  return names;
}

Groups aarch64_groups() {
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
}

constexpr ShownMachine kMachines[] = {
    {format::Machine::x86_64, x86_mode, x86_waits, x86_bits, x86_field, x86_64_groups},
    {format::Machine::x86, x86_mode, x86_waits, x86_bits, x86_field, x86_groups},
    {format::Machine::aarch64, aarch64_mode, aarch64_waits, aarch64_bits, aarch64_field, aarch64_groups},
};

}  // namespace

const ShownMachine& machine_of(format::Machine machine) {
  const auto found = std::ranges::find(kMachines, machine, &ShownMachine::machine);
  return found != std::end(kMachines) ? *found : kMachines[0];
}

std::string mode_name(const reader::Cpu& cpu) { return machine_of(cpu.registers.machine()).mode(cpu); }

std::string flag_names(format::Machine machine, std::string_view name, uint64_t value) {
  std::string names;
  const auto add = [&](std::string_view one) {
    if (!one.empty()) names += (names.empty() ? "" : " ") + std::string(one);
  };
  const ShownMachine& shown = machine_of(machine);
  for (const Bit& bit : shown.bits(name))
    if ((value >> bit.bit & 1) != 0) add(bit.name);
  add(shown.field(name, value));
  return names;
}

}  // namespace gcore::tools::inspect
