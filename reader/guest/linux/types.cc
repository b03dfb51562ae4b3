#include "reader/guest/linux/types.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <mutex>
#include <utility>

#include "reader/guest/linux/find_btf.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kHeader = 24, kType = 12;
constexpr uint16_t kMagic = 0xeb9f;
constexpr uint32_t kMaxTypes = 1 << 22;
constexpr size_t kMaxDepth = 64;        // of typedefs, qualifiers and arrays in each other
constexpr size_t kMaxVisits = 1 << 16;  // members that are looked at for one path

using Kind = Type::Kind;

/// A BTF type's first 12 bytes.
struct Head {
  uint32_t name = 0, info = 0, size_or_type = 0;

  uint32_t count() const { return info & 0xffff; }
  uint32_t kind() const { return info >> 24 & 0x1f; }
  bool flag() const { return info >> 31 != 0; }
};

/// Bytes after the head; nothing for a kind that is not known.
std::optional<size_t> tail_size(const Head& head) {
  switch (static_cast<Kind>(head.kind())) {
    case Kind::integer:
    case Kind::variable:
    case Kind::declaration_tag:
      return 4;
    case Kind::array:
      return 12;
    case Kind::structure:
    case Kind::union_type:
    case Kind::data_section:
    case Kind::enumeration64:
      return size_t{12} * head.count();
    case Kind::enumeration:
    case Kind::function_prototype:
      return size_t{8} * head.count();
    case Kind::pointer:
    case Kind::forward:
    case Kind::typedef_type:
    case Kind::volatile_type:
    case Kind::const_type:
    case Kind::restrict_type:
    case Kind::function:
    case Kind::floating:
    case Kind::type_tag:
      return 0;
    case Kind::void_type:
      break;
  }
  return std::nullopt;
}

bool has_size(Kind kind) {
  return kind == Kind::integer || kind == Kind::structure || kind == Kind::union_type || kind == Kind::enumeration ||
         kind == Kind::enumeration64 || kind == Kind::floating || kind == Kind::data_section;
}

/// What a name may stand for in find_type().
bool is_named_type(Kind kind) { return (has_size(kind) && kind != Kind::data_section) || kind == Kind::typedef_type; }

/// What has the same members and size as the type that it is of.
bool is_transparent(Kind kind) {
  return kind == Kind::typedef_type || kind == Kind::const_type || kind == Kind::volatile_type ||
         kind == Kind::restrict_type || kind == Kind::type_tag;
}

std::unexpected<Error> malformed(std::string why) {
  return std::unexpected(Error{Error::Kind::malformed, "no types in BTF: " + std::move(why)});
}

/// Names with something each, in chains; the first of a name that was added comes first.
class NameIndex {
 public:
  struct Entry {
    std::string_view name;
    int64_t value;
    uint32_t next;
  };

  void add(std::string_view name, int64_t value) { entries_.push_back({name, value, kNone}); }
  void finish() {
    heads_.assign(std::bit_ceil(std::max<size_t>(entries_.size(), 16)), kNone);
    for (size_t i = entries_.size(); i-- > 0;)
      entries_[i].next = std::exchange(heads_[bucket(entries_[i].name)], static_cast<uint32_t>(i));
  }
  std::optional<int64_t> find(std::string_view name) const {
    for (uint32_t i = heads_[bucket(name)]; i != kNone; i = entries_[i].next)
      if (entries_[i].name == name) return entries_[i].value;
    return std::nullopt;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  size_t bucket(std::string_view name) const { return std::hash<std::string_view>()(name) & (heads_.size() - 1); }

  std::vector<Entry> entries_;
  std::vector<uint32_t> heads_;
};

}  // namespace

struct Types::State {
  std::vector<std::byte> bytes;
  const Types* base = nullptr;
  format::ByteOrder order = format::ByteOrder::little;
  size_t types_at = 0, strings_at = 0, strings_size = 0;
  uint32_t first_string = 0;  // offsets of strings below are the base's
  TypeId first = 1;
  std::vector<uint32_t> places;  // of each type, from types_at

  std::once_flag names_once, enumerators_once;
  NameIndex names, enumerators;

  uint32_t u32(size_t at) const { return format::load<uint32_t>(&bytes[at], order); }
  Head head_at(size_t at) const { return {u32(at), u32(at + 4), u32(at + 8)}; }
  const State* holder(TypeId id) const {
    if (id >= first) return id - first < places.size() ? this : nullptr;
    return base ? base->state_->holder(id) : nullptr;
  }
  Head head_of(TypeId id) const { return head_at(types_at + places[id - first]); }
  std::string_view string(uint32_t offset) const;
  std::vector<Type::Field> fields(const Head& head, size_t at) const;
  void fill(Type& type, const Head& head, size_t at) const;
  Expected<void> scan(size_t size);
  void index_names();
  void index_enumerators();
};

std::string_view Types::State::string(uint32_t offset) const {
  if (offset < first_string) return base->state_->string(offset);
  offset -= first_string;
  if (offset >= strings_size) return {};
  const auto* text = reinterpret_cast<const char*>(&bytes[strings_at + offset]);
  return {text, strnlen(text, strings_size - offset)};
}

/// Goes over all types once: where each stands.
Expected<void> Types::State::scan(size_t size) {
  places.reserve(size / 20);
  for (size_t at = 0; at < size;) {
    if (size - at < kType) return malformed(fmt::format("type {} ends after its data", first + places.size()));
    const Head head = head_at(types_at + at);
    const auto tail = tail_size(head);
    if (!tail) return malformed(fmt::format("type {} is of kind {}", first + places.size(), head.kind()));
    if (*tail > size - at - kType) return malformed(fmt::format("type {} ends after its data", first + places.size()));
    if (places.size() >= kMaxTypes) return malformed("more types than any kernel has");
    places.push_back(static_cast<uint32_t>(at));
    at += kType + *tail;
  }
  return {};
}

void Types::State::index_names() {
  for (size_t i = 0; i < places.size(); ++i) {
    const Head head = head_at(types_at + places[i]);
    if (head.name != 0 && is_named_type(static_cast<Kind>(head.kind())))
      names.add(string(head.name), static_cast<int64_t>(first + i));
  }
  names.finish();
}

void Types::State::index_enumerators() {
  for (const uint32_t place : places) {
    const size_t at = types_at + place;
    const Head head = head_at(at);
    const auto kind = static_cast<Kind>(head.kind());
    if (kind != Kind::enumeration && kind != Kind::enumeration64) continue;
    for (const Type::Field& field : fields(head, at + kType)) enumerators.add(field.name, field.value);
  }
  enumerators.finish();
}

std::vector<Type::Field> Types::State::fields(const Head& head, size_t at) const {
  std::vector<Type::Field> fields(head.count());
  for (Type::Field& field : fields) {
    switch (static_cast<Kind>(head.kind())) {
      case Kind::structure:
      case Kind::union_type: {
        const uint32_t offset = u32(at + 8);
        field = {string(u32(at)), u32(at + 4), head.flag() ? offset & 0xffffff : offset, head.flag() ? offset >> 24 : 0,
                 0};
        at += 12;
        break;
      }
      case Kind::enumeration: {
        const uint32_t value = u32(at + 4);
        field = {string(u32(at)), 0, 0, 0, head.flag() ? int64_t{static_cast<int32_t>(value)} : int64_t{value}};
        at += 8;
        break;
      }
      case Kind::enumeration64:
        field = {string(u32(at)), 0, 0, 0, static_cast<int64_t>(uint64_t{u32(at + 8)} << 32 | u32(at + 4))};
        at += 12;
        break;
      case Kind::function_prototype:
        field = {string(u32(at)), u32(at + 4), 0, 0, 0};
        at += 8;
        break;
      case Kind::data_section:
        field = {{}, u32(at), u32(at + 4), u32(at + 8), 0};
        at += 12;
        break;
      default:
        return {};
    }
  }
  return fields;
}

void Types::State::fill(Type& type, const Head& head, size_t at) const {
  type.kind = static_cast<Kind>(head.kind());
  type.name = string(head.name);
  if (has_size(type.kind))
    type.size = head.size_or_type;
  else if (type.kind != Kind::array && type.kind != Kind::forward)
    type.target = head.size_or_type;
  switch (type.kind) {
    case Kind::integer: {
      const uint32_t encoding = u32(at);
      type.is_signed = (encoding >> 24 & 1) != 0;
      type.is_char = (encoding >> 24 & 2) != 0;
      type.is_bool = (encoding >> 24 & 4) != 0;
      type.bits = encoding & 0xff;
      break;
    }
    case Kind::array:
      type.target = u32(at), type.index_type = u32(at + 4), type.count = u32(at + 8);
      break;
    case Kind::enumeration:
    case Kind::enumeration64:
      type.is_signed = head.flag();  // kernels before 6.0 do not say it
      break;
    case Kind::forward:
      type.is_union = head.flag();
      break;
    case Kind::function:
      type.linkage = static_cast<uint8_t>(head.count());
      break;
    case Kind::variable:
      type.linkage = static_cast<uint8_t>(u32(at));
      break;
    default:
      break;
  }
  if (type.kind != Kind::function) type.fields = fields(head, at);
}

Types::Types(std::unique_ptr<State> state) : state_(std::move(state)) {}
Types::Types(Types&&) noexcept = default;
Types& Types::operator=(Types&&) noexcept = default;
Types::~Types() = default;

Expected<Types> Types::find(const KernelMemory& memory, const Names& names) {
  auto bytes = find_btf(memory, names);
  if (!bytes) return std::unexpected(bytes.error());
  return parse(*std::move(bytes), nullptr);
}

Expected<Types> Types::parse(std::vector<std::byte> btf, const Types* base) {
  auto state = std::make_unique<State>();
  state->bytes = std::move(btf);
  state->base = base;
  if (base) {
    state->first = base->end_id();
    state->first_string = base->state_->first_string + static_cast<uint32_t>(base->state_->strings_size);
  }
  const size_t size = state->bytes.size();
  if (size < kHeader) return malformed(fmt::format("{} bytes are too few for its header", size));
  const auto magic = format::load<uint16_t>(state->bytes.data(), format::ByteOrder::little);
  if (magic != kMagic && magic != format::byte_swap(kMagic))
    return malformed(fmt::format("it begins with {:#06x}, not with {:#06x}", magic, kMagic));
  if (magic != kMagic) state->order = format::ByteOrder::big;
  if (state->bytes[2] != std::byte{1})
    return malformed(fmt::format("it is of version {}", std::to_integer<int>(state->bytes[2])));
  const uint64_t header = state->u32(4), types = state->u32(8), types_size = state->u32(12), strings = state->u32(16),
                 strings_size = state->u32(20);
  if (header < kHeader || header > size || types > size - header || types_size > size - header - types ||
      strings > size - header || strings_size > size - header - strings)
    return malformed(fmt::format(
        "its header (of {} bytes; types at {}, {} bytes; strings at {}, {} bytes) does not fit into its {} bytes",
        header, types, types_size, strings, strings_size, size));
  state->types_at = header + types;
  state->strings_at = header + strings;
  state->strings_size = strings_size;
  if (auto scanned = state->scan(types_size); !scanned) return std::unexpected(scanned.error());
  return Types(std::move(state));
}

TypeId Types::first_id() const { return state_->first; }
TypeId Types::end_id() const { return state_->first + static_cast<TypeId>(state_->places.size()); }

std::optional<Type> Types::type(TypeId id) const {
  Type type;
  if (id == 0) return type;
  const State* holder = state_->holder(id);
  if (!holder) return std::nullopt;
  const size_t at = holder->types_at + holder->places[id - holder->first];
  holder->fill(type, holder->head_at(at), at + kType);
  return type;
}

TypeId Types::find_type(std::string_view name) const {
  if (state_->base)
    if (const TypeId id = state_->base->find_type(name)) return id;
  std::call_once(state_->names_once, [this] { state_->index_names(); });
  return static_cast<TypeId>(state_->names.find(name).value_or(0));
}

std::optional<int64_t> Types::enumerator(std::string_view name) const {
  if (state_->base)
    if (const auto value = state_->base->enumerator(name)) return value;
  std::call_once(state_->enumerators_once, [this] { state_->index_enumerators(); });
  return state_->enumerators.find(name);
}

std::optional<uint64_t> Types::size_of(TypeId id) const {
  uint64_t count = 1;
  for (size_t depth = 0; depth < kMaxDepth; ++depth) {
    const State* holder = id == 0 ? nullptr : state_->holder(id);
    if (!holder) return std::nullopt;
    const Head head = holder->head_of(id);
    const auto kind = static_cast<Kind>(head.kind());
    uint64_t size = head.size_or_type;
    if (kind == Kind::pointer) size = 8;
    if (has_size(kind) || kind == Kind::pointer)
      return __builtin_mul_overflow(size, count, &size) ? std::nullopt : std::optional(size);
    if (kind == Kind::array) {
      const size_t at = holder->types_at + holder->places[id - holder->first] + kType;
      if (__builtin_mul_overflow(count, uint64_t{holder->u32(at + 8)}, &count)) return std::nullopt;
      id = holder->u32(at);
    } else if (is_transparent(kind) || kind == Kind::variable) {
      id = head.size_or_type;
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> Types::size_of(std::string_view name) const { return size_of(find_type(name)); }

namespace {

/// Looks for members, through anonymous ones.
class MemberSearch {
 public:
  explicit MemberSearch(const Types& types) : types_(types) {}

  struct Found {
    uint64_t bits;
    Type::Field field;
  };

  std::optional<Found> find(TypeId id, std::string_view name, uint64_t bits, size_t depth = 0) {
    const auto type = types_.type(resolve(id));
    if (!type || (type->kind != Kind::structure && type->kind != Kind::union_type)) return std::nullopt;
    for (const Type::Field& field : type->fields) {
      if (++visits_ > kMaxVisits) return std::nullopt;
      if (field.name == name) return Found{bits + field.bit_offset, field};
    }
    if (depth >= kMaxDepth) return std::nullopt;
    for (const Type::Field& field : type->fields) {
      if (!field.name.empty() || field.bit_size != 0) continue;
      if (auto found = find(field.type, name, bits + field.bit_offset, depth + 1)) return found;
      if (visits_ > kMaxVisits) return std::nullopt;
    }
    return std::nullopt;
  }

 private:
  TypeId resolve(TypeId id) const {
    for (size_t depth = 0; depth < kMaxDepth; ++depth) {
      const auto kind = types_.kind(id);
      if (!kind || !is_transparent(*kind)) return id;
      id = types_.target(id);
    }
    return 0;
  }

  const Types& types_;
  size_t visits_ = 0;
};

}  // namespace

std::optional<Type::Kind> Types::kind(TypeId id) const {
  if (id == 0) return Kind::void_type;
  const State* holder = state_->holder(id);
  return holder ? std::optional(static_cast<Kind>(holder->head_of(id).kind())) : std::nullopt;
}

TypeId Types::target(TypeId id) const {
  const State* holder = id == 0 ? nullptr : state_->holder(id);
  if (!holder) return 0;
  const Head head = holder->head_of(id);
  const auto kind = static_cast<Kind>(head.kind());
  if (kind == Kind::array) return holder->u32(holder->types_at + holder->places[id - holder->first] + kType);
  return has_size(kind) || kind == Kind::forward ? 0 : head.size_or_type;
}

std::optional<Member> Types::member(TypeId type, std::string_view path) const {
  MemberSearch search(*this);
  uint64_t bits = 0;
  Type::Field last;
  while (true) {
    const size_t point = path.find('.');
    const std::string_view name = path.substr(0, point);
    const auto found = name.empty() ? std::nullopt : search.find(type, name, bits);
    if (!found) return std::nullopt;
    bits = found->bits, last = found->field, type = last.type;
    if (point == std::string_view::npos) break;
    path.remove_prefix(point + 1);
  }
  Member member{bits / 8, 0, 0, 0, type};
  if (last.bit_size != 0) {
    member.bit_offset = static_cast<uint32_t>(bits % 8), member.bit_size = last.bit_size;
    member.size = (member.bit_offset + member.bit_size + 7) / 8;
  } else {
    member.size = size_of(type).value_or(0);
  }
  return member;
}

std::optional<Member> Types::member(std::string_view type, std::string_view path) const {
  const TypeId id = find_type(type);
  return id ? member(id, path) : std::nullopt;
}

std::optional<Member> Types::any_member(std::string_view type, std::span<const std::string_view> paths) const {
  const TypeId id = find_type(type);
  for (const std::string_view path : paths)
    if (const auto found = member(id, path)) return found;
  return std::nullopt;
}

std::optional<uint64_t> Types::offset(std::string_view type, std::string_view path) const {
  return member(type, path).transform([](const Member& member) { return member.offset; });
}

std::span<const std::byte> Types::bytes() const { return state_->bytes; }

}  // namespace gcore::reader::linux_guest
