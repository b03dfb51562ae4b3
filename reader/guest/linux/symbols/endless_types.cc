#include "reader/guest/linux/symbols/endless_types.h"

#include <utility>
#include <vector>

namespace gcore::reader::linux_guest {
namespace {

using Kind = Type::Kind;

/// Whether a pointer to this type shows a name, "const struct task_struct *", and goes no further.
bool ends_in_name(const Types& types, TypeId id) {
  constexpr int kMostQualifiers = 64;
  for (int depth = 0; depth < kMostQualifiers; ++depth) switch (types.kind(id).value_or(Kind::void_type)) {
      case Kind::structure:
      case Kind::union_type:
      case Kind::typedef_type:
        return true;
      case Kind::volatile_type:
      case Kind::const_type:
      case Kind::restrict_type:
      case Kind::type_tag:
        id = types.target(id);
        break;
      default:
        return false;
    }
  return false;
}

/// The types that a debugger goes on to where it shows this one.
std::vector<TypeId> parts_of(const Types& types, TypeId id) {
  std::vector<TypeId> parts;
  const Kind kind = types.kind(id).value_or(Kind::void_type);
  switch (kind) {
    case Kind::pointer:
      if (!ends_in_name(types, types.target(id))) parts.push_back(types.target(id));
      break;
    case Kind::array:
    case Kind::typedef_type:
    case Kind::volatile_type:
    case Kind::const_type:
    case Kind::restrict_type:
    case Kind::type_tag:
      parts.push_back(types.target(id));
      break;
    case Kind::structure:
    case Kind::union_type:
    case Kind::function_prototype:
      if (const auto type = types.type(id)) {
        if (kind == Kind::function_prototype) parts.push_back(type->target);
        for (const Type::Field& field : type->fields) parts.push_back(field.type);
      }
      break;
    default:
      break;
  }
  return parts;
}

}  // namespace

EndlessTypes::EndlessTypes(const Types& types) {
  enum State : uint8_t { unseen, open, done };
  struct Visit {
    TypeId id;
    std::vector<TypeId> parts;
    size_t next = 0;
  };
  std::vector<State> states(types.end_id() - types.first_id(), unseen);
  std::vector<Visit> path;
  const auto enter = [&](TypeId id) {
    states[id - types.first_id()] = open;
    path.push_back({id, parts_of(types, id)});
  };
  for (TypeId first = types.first_id(); first < types.end_id(); ++first) {
    if (states[first - types.first_id()] == unseen) enter(first);
    while (!path.empty()) {
      Visit& visit = path.back();
      if (visit.next == visit.parts.size()) {
        states[visit.id - types.first_id()] = done;
        path.pop_back();
        continue;
      }
      const TypeId part = visit.parts[visit.next++];
      if (part < types.first_id() || part >= types.end_id()) continue;
      const State state = states[part - types.first_id()];
      if (state == open) cut_.insert(key(visit.id, part));
      if (state == unseen) enter(part);
    }
  }
}

}  // namespace gcore::reader::linux_guest
