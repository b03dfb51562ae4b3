// Hostile BTF, and split BTF upon it: parsing, every type, members along paths.
//
// Input: where the second one begins (u16), then the bytes of the first and of the second.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "reader/guest/linux/types.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader::linux_guest;  // NOLINT: a program of one file
using gcore::tests::copy;
using gcore::tests::require;

void look_at(const Types& types) {
  require(types.first_id() <= types.end_id());
  for (TypeId id = 0; id < types.end_id(); ++id) {
    const auto type = types.type(id);
    require(type.has_value() == types.kind(id).has_value());
    if (!type) continue;
    require(type->kind == *types.kind(id));
    static_cast<void>(types.size_of(id));
    require(type->target == types.target(id));
    if (type->name.empty()) continue;
    const TypeId first = types.find_type(type->name);
    require(first < types.end_id());
    for (const Type::Field& field : std::span(type->fields).first(std::min<size_t>(type->fields.size(), 8))) {
      const std::string path = std::string(field.name) + "." + std::string(field.name);
      static_cast<void>(types.member(type->name, field.name));
      static_cast<void>(types.member(type->name, path));
      static_cast<void>(types.enumerator(field.name));
    }
  }
  require(!types.type(types.end_id()) && !types.type(UINT32_MAX));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return -1;
  uint16_t where;
  std::memcpy(&where, data, sizeof where);
  const std::span bytes(data + 2, size - 2);
  const size_t second = std::min<size_t>(where, bytes.size());
  const auto base = Types::parse(copy(bytes.first(second)), nullptr);
  if (!base) {
    require(!base.error().text.empty());
  } else {
    look_at(*base);
  }
  const auto split = Types::parse(copy(bytes.subspan(second)), base ? &*base : nullptr);
  if (split) look_at(*split);
  return 0;
}
