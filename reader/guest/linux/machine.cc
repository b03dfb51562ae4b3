#include "reader/guest/linux/machine.h"

#include <array>

namespace gcore::reader::linux_guest {

const LinuxMachine* find_linux_machine(format::Machine machine) {
  static constexpr std::array kAll = {&kLinuxX86_64, &kLinuxAarch64};
  for (const LinuxMachine* one : kAll)
    if (one->machine == machine) return one;
  return nullptr;
}

const LinuxMachine& linux_machine(format::Machine machine) {
  const LinuxMachine* found = find_linux_machine(machine);
  return found != nullptr ? *found : kLinuxX86_64;  // Kernel::find() refuses the others
}

std::optional<bool> interrupts_off(const format::RegisterFile& registers) {
  const LinuxMachine& machine = linux_machine(registers.machine());
  const auto flags = registers.get(format::machine_info(registers.machine()).flags);
  return flags ? std::optional((*flags >> machine.interrupts_bit & 1) == (machine.interrupts_off_value ? 1 : 0))
               : std::nullopt;
}

}  // namespace gcore::reader::linux_guest
