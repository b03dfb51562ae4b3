// Types that contain themselves, which only BTF that lies has: debuggers would go round for ever. Private to the
// reader.
#pragma once

#include <cstdint>
#include <unordered_set>

#include "reader/guest/linux/types.h"

namespace gcore::reader::linux_guest {

/// References that are left out, so that every type ends: a struct within itself, a typedef of itself, a pointer to
/// itself without a name between. What a pointer to a struct, union or typedef leads to has a name at which a debugger
/// stops. Finds them in types.first_id() to end_id(); a base has none that leads back.
class EndlessTypes {
 public:
  explicit EndlessTypes(const Types& types);

  bool is_cut(TypeId from, TypeId to) const { return !cut_.empty() && cut_.contains(key(from, to)); }
  bool empty() const { return cut_.empty(); }

 private:
  static uint64_t key(TypeId from, TypeId to) { return uint64_t{from} << 32 | to; }

  std::unordered_set<uint64_t> cut_;
};

}  // namespace gcore::reader::linux_guest
