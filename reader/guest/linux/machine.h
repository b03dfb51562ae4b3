// What a Linux kernel does in its own way on a machine, in one record each. Private to the reader.
//
// Adding a machine means: a folder beside x86_64 and aarch64 with its record, how its stacks are followed and how its
// root tables are found, and a line in machine.cc. What a symbol file of its kernels needs is in symbols/machine.h.
// The fields below are the checklist.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"
#include "reader/guest/linux/kernel_tables.h"
#include "reader/guest/linux/mapped_image.h"
#include "reader/guest/linux/unwind.h"
#include "reader/translate/translator.h"
#include "writer/format/machine.h"

namespace gcore::reader::linux_guest {

class Kernel;
class KernelMemory;

struct LinuxMachine {
  format::Machine machine;

  // ---- Where the kernel is

  /// Of an address without its tag: a kernel's addresses have ones from this bit on.
  unsigned kernel_bits_from;
  /// Where every kernel of the machine is linked to; nothing where that depends on its configuration.
  std::optional<uint64_t> link_address;
  /// The symbol at which its image begins: what GuestSystem::image_address is the address of.
  std::string_view image_symbol;
  /// The image, where every kernel has it in one place; null where it is anywhere.
  MappedImage (*fixed_image)(const translate::Translator&);
  /// Registers that lead into the image while the kernel runs, or did before a program ran; where it is anywhere.
  std::span<const std::string_view> registers_into_image;
  /// Whether find_tables() finds nothing unless it looks at all of memory.
  bool is_placed_at_random;
  /// The kernel's root tables, by what they are; see find_kernel_tables().
  std::optional<FoundTables> (*find_tables)(const Dump&, GuestSearch);

  // ---- What a vCPU does

  /// Whether these registers are of user mode.
  bool (*is_user_mode)(const format::RegisterFile&);
  /// Whether a vCPU with these registers runs no kernel of 64 bits: it is in firmware, or was not started yet.
  bool (*is_outside_kernel)(const format::RegisterFile&);
  /// The bit of the flags (format::MachineInfo::flags) that is about interrupts, and its value where they are off.
  unsigned interrupts_bit;
  bool interrupts_off_value;
  /// Registers that lead to the CPU's own memory while the kernel runs, in the order in which they are believed;
  /// whether they hold its address, or what is added to a per-CPU symbol's address.
  std::span<const std::string_view> per_cpu_registers;
  bool per_cpu_is_address;
  /// The task that a vCPU runs, by the CPU's own memory or registers. Not checked; nothing where neither says it.
  std::optional<VirtAddr> (*current_task)(const Kernel&, size_t vcpu);

  // ---- Tasks that do not run

  /// Where in task_struct its registers are kept, or, `saved_on_stack`, the stack pointer at which they stand; and
  /// which they are, of 8 bytes each, in their order. On the stack, the stack pointer of the task is after them.
  std::string_view saved_registers_at;
  bool saved_on_stack;
  std::span<const std::string_view> saved_registers;
  /// What the kernel stored when it was last entered from user mode: struct pt_regs at the top of the task's stack.
  /// Nothing where that is not there, or is not of user mode.
  std::optional<format::RegisterFile> (*user_registers)(const Kernel&, VirtAddr top_of_stack);

  // ---- Code

  /// See unwind().
  Stack (*unwind)(const Kernel&, const format::RegisterFile&, size_t max_frames);
  /// Whether its kernels have ORC tables.
  bool has_orc;
  /// Registers that may hold the lock in a function that waits for one: the first argument's, and those that are saved.
  std::span<const std::string_view> registers_of_lock;
  /// Whether the code of the function names this address.
  bool (*names_address)(VirtAddr function, std::span<const std::byte> code, VirtAddr address);
};

/// The record of a machine; null where nothing is known of its kernels' insides.
const LinuxMachine* find_linux_machine(format::Machine machine);

/// Of a machine on which a Kernel was found.
const LinuxMachine& linux_machine(format::Machine machine);

/// Whether the kernel cannot be interrupted on a CPU with these registers; nothing where the flags are not known.
std::optional<bool> interrupts_off(const format::RegisterFile& registers);

// The records, each in a file of its machine.
extern const LinuxMachine kLinuxX86_64, kLinuxAarch64;

}  // namespace gcore::reader::linux_guest
