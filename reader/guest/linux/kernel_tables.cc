#include "reader/guest/linux/kernel_tables.h"

#include "reader/guest/linux/machine.h"

namespace gcore::reader {

std::optional<FoundTables> find_kernel_tables(const Dump& dump, GuestSearch search) {
  const auto* machine = linux_guest::find_linux_machine(dump.machine());
  if (machine == nullptr || (machine->is_placed_at_random && search == GuestSearch::quick)) return std::nullopt;
  return machine->find_tables(dump, search);
}

}  // namespace gcore::reader
