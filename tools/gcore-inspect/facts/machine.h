// What is shown of a machine, in one record each. Adding a machine means a record in machine.cc; the fields are the
// checklist.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/space/address_space.h"
#include "tools/gcore-inspect/facts/guest.h"

namespace gcore::tools::inspect {

struct Bit {
  const char* name;
  unsigned bit;
};

/// A row of registers that belong together. One that is wider than 64 bits is named without its .lo and .hi.
struct RegisterGroupNames {
  const char* title;
  bool fpu;  // for `--registers all`
  std::vector<std::string> names;
  bool optional = false;  // a machine may have none of them
};

struct ShownMachine {
  format::Machine machine;
  /// The vCPU's privilege in words, which begin with "user" for programs; "unknown" where the dump does not tell.
  std::string (*mode)(const reader::Cpu&);
  /// What an instruction before the pc waits for. Nothing when it cannot be read.
  std::optional<Waits> (*waits)(const reader::AddressSpace&, uint64_t pc);
  /// The bits of a register that have names, the highest first; and what a field of several bits holds, or "".
  std::span<const Bit> (*bits)(std::string_view name);
  std::string (*field)(std::string_view name, uint64_t value);
  /// How its registers are grouped.
  std::vector<RegisterGroupNames> (*groups)();
};

const ShownMachine& machine_of(format::Machine machine);

}  // namespace gcore::tools::inspect
