// All that is known of a machine, in one record each.
//
// Adding a machine means: its ELF number and name (elf.h, Machine), its registers (register_tables.h), its record here,
// its page walk (reader/translate), its paging modes by register (reader/space/cpu_paging.cc), what a debugger is told
// of it (gdbstub/protocol/target_xml.cc and registers.cc), and what Linux does there in its own way
// (reader/guest/linux/machine.h). docs/architecture.md lists the files for riscv64. The fields, as a checklist:
//
//   name             as `uname -m` says; what messages, JSON and command lines call it
//   word_bytes       of a pointer in its ELF files and kernels
//   program_counter, stack_pointer, frame_pointer, flags
//                    their names in the register list
//   half_bit         of an address, in which half of the address space it is; 0 where there is one alone
//   root_registers   of each half, the lower one first: what people call the register of its root table
//   memory_start     the guest-physical address at which virtual machines have their memory by custom
//   dwarf_registers  those that call frame information speaks of, by DWARF's numbers of them, from 0 on
//   registers        all of them, those of the qnx dialect's CPU register set first (registers.h)
//   register_set_size  bytes of that set
//   prstatus         NT_PRSTATUS of the vmcore dialect: the Linux kernel's struct elf_prstatus of that machine
//   vmcore           whether the writer writes that dialect, and whether QEMU's own note goes with it
//   system_page_type QNX: what a system page says (sys/syspage.h)
//
// Paging modes and gdb's descriptions are not fields: the one is code, the other text that a debugger dictates; the
// writer needs neither.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "writer/format/elf.h"
#include "writer/format/registers.h"

namespace gcore::format {

/// NT_PRSTATUS: bytes of all of it, offsets of pr_pid and of the first register, bytes of a register, and the
/// registers' names in their order; "" is one that a guest's dump has no use for (orig_rax).
struct PrstatusLayout {
  size_t size, pid, registers, width;
  std::span<const std::string_view> order;
};

enum class VmcoreDialect : uint8_t { not_written, written, written_with_qemu_note };

struct MachineInfo {
  Machine machine;
  std::string_view name;
  uint8_t word_bytes;
  std::string_view program_counter, stack_pointer, frame_pointer, flags;
  uint8_t half_bit;
  std::span<const std::string_view> root_registers;
  uint64_t memory_start;
  std::span<const std::string_view> dwarf_registers;
  std::span<const RegisterInfo> registers;
  size_t register_set_size;
  PrstatusLayout prstatus;
  VmcoreDialect vmcore;
  uint16_t system_page_type;
};

/// The record of a machine.
const MachineInfo& machine_info(Machine machine);

/// All records.
std::span<const MachineInfo> machines();

/// The machine of that name; nothing when there is none.
std::optional<Machine> machine_of_name(std::string_view name);

/// Whether an address is in the upper of two halves of an address space, which is the kernel's.
bool is_in_upper_half(Machine machine, uint64_t address);

/// Whether the machine runs code of an ELF file for `e_machine`: its own, and of x86_64 also that of 32 bits.
bool runs_code_of(Machine machine, uint16_t e_machine);

/// The machine of an ELF file; nothing for one that is not known.
std::optional<Machine> machine_of_elf(uint16_t e_machine);

}  // namespace gcore::format
