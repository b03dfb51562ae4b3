#include "writer/format/registers.h"

#include <cassert>

namespace gcore::format {

std::optional<size_t> find_register(Machine machine, std::string_view name) {
  const auto all = registers(machine);
  for (size_t slot = 0; slot < all.size(); ++slot)
    if (all[slot].name == name) return slot;
  return std::nullopt;
}

bool RegisterFile::set(std::string_view name, uint64_t value) {
  const auto slot = find_register(machine_, name);
  if (!slot) return false;
  set_slot(*slot, value);
  return true;
}

void RegisterFile::put(std::string_view name, uint64_t value) {
  const auto slot = find_register(machine_, name);
  assert(slot);
  if (slot) set_slot(*slot, value);
}

std::optional<uint64_t> RegisterFile::get(std::string_view name) const {
  const auto slot = find_register(machine_, name);
  return slot ? get_slot(*slot) : std::nullopt;
}

}  // namespace gcore::format
