#include "reader/guest/linux/symbols/machine.h"

#include <algorithm>
#include <iterator>

#include "reader/guest/linux/symbols/aarch64_frames.h"
#include "reader/guest/linux/symbols/orc_frames.h"

namespace gcore::reader::linux_guest {
namespace {

/// System V ABI for x86-64, 4.4.1.
std::optional<Relocation> x86_64_relocation(uint32_t kind) {
  switch (kind) {
    case 1:  // R_X86_64_64
      return Relocation{8, false};
    case 2:  // R_X86_64_PC32
      return Relocation{4, true};
    case 10:  // R_X86_64_32
    case 11:  // R_X86_64_32S
      return Relocation{4, false};
    case 24:  // R_X86_64_PC64
      return Relocation{8, true};
    default:
      return std::nullopt;
  }
}

/// ELF for the Arm 64-bit architecture, 5.7.
std::optional<Relocation> aarch64_relocation(uint32_t kind) {
  switch (kind) {
    case 257:  // R_AARCH64_ABS64
      return Relocation{8, false};
    case 258:  // R_AARCH64_ABS32
      return Relocation{4, false};
    case 260:  // R_AARCH64_PREL64
      return Relocation{8, true};
    case 261:  // R_AARCH64_PREL32
      return Relocation{4, true};
    default:
      return std::nullopt;
  }
}

constexpr SymbolMachine kMachines[] = {
    {format::Machine::x86_64, x86_64_relocation, write_orc_frames},
    {format::Machine::aarch64, aarch64_relocation, write_aarch64_frames},
};

}  // namespace

const SymbolMachine* find_symbol_machine(format::Machine machine) {
  const auto found = std::ranges::find(kMachines, machine, &SymbolMachine::machine);
  return found != std::end(kMachines) ? &*found : nullptr;
}

}  // namespace gcore::reader::linux_guest
