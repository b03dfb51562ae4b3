// The unwind tables of a running x86_64 kernel and its modules. Kernel::unwind_tables() finds and keeps them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/modules.h"
#include "reader/guest/linux/orc.h"

namespace gcore::reader::linux_guest {

class Kernel;

struct UnwindTables {
  struct Table {
    std::string module{};                   // empty: the kernel's own
    std::vector<Module::Region> regions{};  // where the module has code; of the kernel: none, its table has it
    OrcTable orc;
  };
  std::vector<Table> tables{};          // the kernel's first, where it was found
  std::vector<std::string> problems{};  // why a table is not there, a sentence each without a full stop

  /// The rule for the instruction at this address. Code that was freed after boot has its rules still.
  std::optional<OrcRule> find(VirtAddr pc) const;
};

/// By the names __start_orc_unwind and so on, and what the modules say of theirs. Empty on other machines.
UnwindTables find_unwind_tables(const Kernel& kernel);

}  // namespace gcore::reader::linux_guest
