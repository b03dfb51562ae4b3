#include "writer/format/machine.h"

#include "writer/format/register_tables.h"
#include "writer/format/vmcore_notes.h"

namespace gcore::format {
namespace {

constexpr std::string_view kPrstatusX86_64[] = {
    "r15", "r14", "r13", "r12", "rbp",    "rbx", "r11", "r10",     "r9",      "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "",    "rip", "cs",  "rflags", "rsp", "ss",  "fs_base", "gs_base", "ds", "es",  "fs",  "gs"};
constexpr std::string_view kPrstatusX86[] = {"ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es",
                                             "fs",  "gs",  "",    "eip", "cs",  "efl", "esp", "ss"};
constexpr std::string_view kPrstatusAarch64[] = {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",    "x7",  "x8",
                                                 "x9",  "x10", "x11", "x12", "x13", "x14", "x15",   "x16", "x17",
                                                 "x18", "x19", "x20", "x21", "x22", "x23", "x24",   "x25", "x26",
                                                 "x27", "x28", "x29", "x30", "sp",  "elr", "pstate"};

// System V ABI for x86-64 (figure 3.36) and for i386 (table 2.14), DWARF for the Arm 64-bit architecture (AADWARF64,
// section 4.1). The last one is where the return address is tracked.
constexpr std::string_view kDwarfX86_64[] = {"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8",
                                             "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rip"};
constexpr std::string_view kDwarfX86[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"};
constexpr std::string_view kDwarfAarch64[] = {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",
                                              "x9",  "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                                              "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
                                              "x27", "x28", "x29", "x30", "sp",  "elr"};

constexpr std::string_view kRootX86[] = {"cr3"};
constexpr std::string_view kRootsAarch64[] = {"ttbr0", "ttbr1"};

static_assert(std::size(kPrstatusX86_64) * 8 == offsetof(PrstatusX86_64, fpvalid) - offsetof(PrstatusX86_64, r15));
static_assert(std::size(kPrstatusAarch64) * 8 == offsetof(PrstatusAarch64, fpvalid) - offsetof(PrstatusAarch64, x));

constexpr MachineInfo kMachines[] = {
    {.machine = Machine::x86_64,
     .name = machine_name(Machine::x86_64),
     .word_bytes = 8,
     .program_counter = "rip",
     .stack_pointer = "rsp",
     .frame_pointer = "rbp",
     .flags = "rflags",
     .half_bit = 63,
     .root_registers = kRootX86,
     .memory_start = 0,
     .dwarf_registers = kDwarfX86_64,
     .registers = kX86_64,
     .register_set_size = 160,
     .prstatus = {sizeof(PrstatusX86_64), offsetof(PrstatusHead, pid), sizeof(PrstatusHead), 8, kPrstatusX86_64},
     .vmcore = VmcoreDialect::written_with_qemu_note,
     .system_page_type = 0x100},
    {.machine = Machine::aarch64,
     .name = machine_name(Machine::aarch64),
     .word_bytes = 8,
     .program_counter = "elr",
     .stack_pointer = "sp",
     .frame_pointer = "x29",
     .flags = "pstate",
     .half_bit = 55,
     .root_registers = kRootsAarch64,
     .memory_start = 0x40000000,  // as QEMU's "virt" has it
     .dwarf_registers = kDwarfAarch64,
     .registers = kAarch64,
     .register_set_size = 272,
     .prstatus = {sizeof(PrstatusAarch64), offsetof(PrstatusHead, pid), sizeof(PrstatusHead), 8, kPrstatusAarch64},
     .vmcore = VmcoreDialect::written,
     .system_page_type = 0x101},
    {.machine = Machine::x86,
     .name = machine_name(Machine::x86),
     .word_bytes = 4,
     .program_counter = "eip",
     .stack_pointer = "esp",
     .frame_pointer = "ebp",
     .flags = "efl",
     .half_bit = 0,
     .root_registers = kRootX86,
     .memory_start = 0,
     .dwarf_registers = kDwarfX86,
     .registers = kX86,
     .register_set_size = 52,
     .prstatus = {144, 24, 72, 4, kPrstatusX86},
     .vmcore = VmcoreDialect::not_written,
     .system_page_type = 0},
};

constexpr uint16_t kEm486 = 6;  // the 80486 once, later Intel's MCUs

}  // namespace

const MachineInfo& machine_info(Machine machine) {
  for (const MachineInfo& info : kMachines)
    if (info.machine == machine) return info;
  return kMachines[0];  // an enumeration that is none of its values
}

std::span<const MachineInfo> machines() { return kMachines; }

std::optional<Machine> machine_of_elf(uint16_t e_machine) {
  if (e_machine == kEm486) return Machine::x86;
  for (const MachineInfo& info : kMachines)
    if (static_cast<uint16_t>(info.machine) == e_machine) return info.machine;
  return std::nullopt;
}

std::optional<Machine> machine_of_name(std::string_view name) {
  for (const MachineInfo& info : kMachines)
    if (info.name == name) return info.machine;
  return std::nullopt;
}

bool is_in_upper_half(Machine machine, uint64_t address) {
  const uint8_t bit = machine_info(machine).half_bit;
  return bit != 0 && (address >> bit & 1) != 0;
}

bool runs_code_of(Machine machine, uint16_t e_machine) {
  const auto of = machine_of_elf(e_machine);
  return of && (*of == machine || (machine == Machine::x86_64 && *of == Machine::x86));
}

std::span<const RegisterInfo> registers(Machine machine) {
  // A caller in C can pass any number.
  if (!machine_of_elf(static_cast<uint16_t>(machine))) return {};
  return machine_info(machine).registers;
}

size_t cpu_register_set_size(Machine machine) { return machine_info(machine).register_set_size; }

}  // namespace gcore::format
