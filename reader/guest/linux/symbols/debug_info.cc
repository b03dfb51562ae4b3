#include "reader/guest/linux/symbols/debug_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>

#include "reader/guest/linux/symbols/abbreviations.h"
#include "reader/guest/linux/symbols/bytes.h"
#include "reader/guest/linux/symbols/endless_types.h"
#include "reader/guest/linux/symbols/known_variables.h"

namespace gcore::reader::linux_guest {
namespace {

using Kind = Type::Kind;

constexpr std::string_view kProducerText = "gcore: made of the guest's kallsyms, BTF and unwind tables";

/// What refers to a type is written before it is known where that stands: places are noted, and filled in at the end.
class InfoWriter {
 public:
  InfoWriter(const DebugInfoSources& sources, uint64_t displacement, DebugInfo& result)
      : sources_(sources),
        code_(sources.code),
        displacement_(displacement),
        order_(sources.order),
        result_(result),
        info_(order_),
        ranges_(order_),
        strings_(order_) {}

  void write() {
    begin();
    if (sources_.types) {
      info_.reserve(size_t{40} * sources_.types->end_id());
      write_types(*sources_.types, own_);
      for (const auto& [module, split] : sources_.modules) {
        Places places{split->first_id(), {}};
        write_types(*split, places, module);
      }
      write_known_variables(*sources_.types);
    }
    info_.u8(0);
    info_.set_u32(0, info_.size() - 4);
    write_file_units();
    result_.info = std::move(info_.take());
    result_.strings = std::move(strings_.take());
    result_.ranges = std::move(ranges_.take());
    result_.abbreviations = make_abbreviations(order_);
  }

 private:
  /// Where the entries of types are, by id; 0: none.
  struct Places {
    TypeId first = 1;
    std::vector<uint32_t> at{};
  };

  void begin() {
    info_.u32(0);
    info_.u16(4);
    info_.u32(0);  // of .debug_abbrev
    info_.u8(8);
    open(kUnit, kNamed);
    name("vmlinux");
    name(kProducerText);
    info_.u16(kC11);
    info_.u64(0);
    info_.u32(0);
    for (const auto& [start, end] : code_) ranges_.u64(address(start)), ranges_.u64(address(end));
    ranges_.u64(0), ranges_.u64(0);
  }

  uint64_t address(uint64_t of) const { return linked_address(of, displacement_); }

  void open(Shape shape, uint8_t with) { info_.uleb(abbreviation_code(shape, with)); }
  void name(std::string_view text) { info_.u32(strings_.add(text)); }
  void refer(TypeId target) {
    fix_ups_.emplace_back(static_cast<uint32_t>(info_.size()), target);
    info_.u32(0);
  }
  /// An entry's head: name and type where it has them.
  void open(Shape shape, std::string_view text, TypeId target) {
    open(shape, static_cast<uint8_t>((text.empty() ? 0 : kNamed) | (target ? kTyped : 0)));
    if (!text.empty()) name(text);
    if (target) refer(target);
  }

  void write_types(const Types& types, Places& places, std::string_view module = {}) {
    places.first = types.first_id();
    places.at.assign(types.end_id() - types.first_id(), 0);
    types_ = &types;
    seen_.clear();
    const EndlessTypes endless(types);
    endless_ = &endless;
    result_.endless = result_.endless || !endless.empty();
    for (TypeId id = types.first_id(); id < types.end_id() && !is_full(); ++id) {
      const auto type = types.type(id);
      id_ = id;
      const auto at = static_cast<uint32_t>(info_.size());
      if (type->kind == Kind::function)
        write_function(*type, module);
      else if (type->kind == Kind::variable)
        write_variable(type->name, type->target);
      else if (write_type(*type))
        places.at[id - places.first] = at, ++result_.types;
    }
    for (const auto& [at, target] : fix_ups_) info_.set_u32(at, place_of(places, target));
    fix_ups_.clear();
  }

  /// A type that is none (a function's, a variable's id) is shown as the unit's first entry would be: never; references
  /// to one lead to the entry that stands for void.
  uint32_t place_of(const Places& places, TypeId id) {
    const Places& holder = id >= places.first ? places : own_;
    if (id >= holder.first && id - holder.first < holder.at.size() && holder.at[id - holder.first] != 0)
      return holder.at[id - holder.first];
    return broken();
  }
  /// Where BTF lies: a type without anything.
  uint32_t broken() {
    if (broken_ == 0) {
      broken_ = static_cast<uint32_t>(info_.size());
      open(kForwardStruct, kNamed);
      name("gcore_unknown_type");
    }
    return broken_;
  }

  /// What the type that is being written refers to: what DWARF has no entry for is passed over. 0: void.
  TypeId target_of(TypeId id) const {
    TypeId from = id_;
    for (int depth = 0; depth < 64; ++depth) {
      if (endless_->is_cut(from, id)) return types_->end_id();  // which leads to broken()
      const auto kind = types_->kind(id);
      if (!kind) return 0;
      if (*kind != Kind::type_tag) return id;
      from = id;
      id = types_->target(id);
    }
    return 0;
  }

  bool is_full() {
    result_.too_much = result_.too_much || info_.size() > kMaxDebugInfo;
    return result_.too_much;
  }

  bool write_type(const Type& type) {
    switch (type.kind) {
      case Kind::integer:
        open(kBase, type.name.empty() ? "integer" : type.name, 0);
        info_.uleb(type.size);
        info_.u8(type.is_bool ? kBoolean
                 : type.size == 1 && type.name.contains("char")
                     ? (type.is_signed || type.name == "char" ? kSignedChar : kBitsOfChar)
                 : type.is_signed ? kSigned
                                  : kUnsigned);
        return true;
      case Kind::floating:
        open(kFloat, type.name.empty() ? "floating" : type.name, 0);
        info_.uleb(type.size), info_.u8(kFloating);
        return true;
      case Kind::pointer:
        open(kPointer, {}, target_of(type.target));
        info_.u8(8);
        return true;
      case Kind::const_type:
        return open(kConst, {}, target_of(type.target)), true;
      case Kind::volatile_type:
        return open(kVolatile, {}, target_of(type.target)), true;
      case Kind::restrict_type:
        return open(kRestrict, {}, target_of(type.target)), true;
      case Kind::typedef_type:
        return open(kTypedefShape, type.name, target_of(type.target)), true;
      case Kind::array:
        return write_array(target_of(type.target), type.count), true;
      case Kind::structure:
      case Kind::union_type:
        return write_struct(type), true;
      case Kind::forward:
        return open(type.is_union ? kForwardUnion : kForwardStruct, type.name, 0), true;
      case Kind::enumeration:
      case Kind::enumeration64:
        return write_enumeration(type), true;
      case Kind::function_prototype:
        open(type.fields.empty() ? kEmptyPrototype : kPrototype, {}, target_of(type.target));
        write_parameters(type);
        return true;
      case Kind::void_type:
      case Kind::function:
      case Kind::variable:
      case Kind::data_section:
      case Kind::declaration_tag:
      case Kind::type_tag:
        break;
    }
    return false;
  }

  void write_array(TypeId element, uint64_t count) {
    open(kArray, {}, element);
    open(count ? kCounted : kUncounted, 0);
    if (count) info_.uleb(count);
    info_.u8(0);
  }

  void write_struct(const Type& type) {
    const bool is_union = type.kind == Kind::union_type, empty = type.fields.empty();
    open(is_union ? empty ? kEmptyUnion : kUnion : empty ? kEmptyStruct : kStruct, type.name, 0);
    info_.uleb(type.size);
    if (empty) return;
    for (const Type::Field& field : type.fields) {
      const TypeId target = target_of(field.type);
      open(field.bit_size ? kBitField : kField, field.name, target);
      if (field.bit_size)
        info_.uleb(field.bit_size), info_.uleb(field.bit_offset);
      else
        info_.uleb(field.bit_offset / 8);
    }
    info_.u8(0);
  }

  void write_enumeration(const Type& type) {
    open(type.fields.empty() ? kEmptyEnum : kEnum, type.name, 0);
    info_.uleb(type.size);
    if (type.fields.empty()) return;
    const bool is_signed =
        std::ranges::any_of(type.fields, [](const auto& field) { return field.value < 0; }) && type.is_signed;
    for (const Type::Field& field : type.fields) {
      open(is_signed ? kSignedValue : kUnsignedValue, field.name, 0);
      if (is_signed)
        info_.sleb(field.value);
      else
        info_.uleb(static_cast<uint64_t>(field.value));
    }
    info_.u8(0);
  }

  void write_parameters(const Type& prototype) {
    if (prototype.fields.empty()) return;
    for (const Type::Field& field : prototype.fields) {
      const TypeId target = target_of(field.type);
      if (field.type == 0)
        open(kMore, 0);  // "...", which BTF has as a parameter of no type
      else
        open(kParameter, field.name, target);
    }
    info_.u8(0);
  }

  /// Where there is one symbol of that name: BTF does not say which of several statics it speaks of.
  std::optional<Symbol> only_symbol(std::string_view name, std::string_view module) const {
    std::optional<Symbol> found;
    for (const Symbol& symbol : sources_.symbols(name)) {
      if (symbol.module != module) continue;
      if (found) return std::nullopt;
      found = symbol;
    }
    return found;
  }

  void write_function(const Type& function, std::string_view module) {
    if (!seen_.insert(function.name).second) return;  // the first one has had its chance
    const auto prototype = types_->type(function.target);
    const auto symbol = only_symbol(function.name, module);
    if (!prototype || prototype->kind != Kind::function_prototype || !symbol || symbol->size == 0) return;
    const auto holds = [&](const auto& piece) {
      const uint64_t start = symbol->address.value;
      return start >= piece.first && start < piece.second && symbol->size <= piece.second - start;
    };
    if (std::ranges::none_of(code_, holds) || !take(symbol->address.value, symbol->size)) return;
    open(prototype->fields.empty() ? kEmptyFunction : kFunction, function.name, target_of(prototype->target));
    info_.u64(address(symbol->address.value));
    info_.u64(symbol->size);
    write_parameters(*prototype);
    ++result_.functions;
  }

  /// False where another function has some of it.
  bool take(uint64_t start, uint64_t size) {
    const auto after = functions_.lower_bound(start);
    if (after != functions_.end() && after->first - start < size) return false;
    if (after != functions_.begin() && start - std::prev(after)->first < std::prev(after)->second) return false;
    functions_.emplace_hint(after, start, size);
    return true;
  }

  /// The kernel's first of that name.
  std::optional<Symbol> first_symbol(std::string_view name) const {
    const auto all = sources_.symbols(name);
    return all.empty() ? std::nullopt : std::optional(all.front());
  }

  bool write_variable(std::string_view text, TypeId type) {
    if (variables_.contains(std::string(text))) return false;
    const auto symbol = first_symbol(text);
    if (!symbol || !variables_.insert(std::string(text)).second) return false;
    open(kVariableShape, text, target_of(type));
    info_.uleb(9), info_.u8(kAddressOperation), info_.u64(address(symbol->address.value));
    ++result_.variables;
    return true;
  }

  void write_known_variables(const Types& types) {
    types_ = &types;
    std::map<std::string_view, uint32_t> made;  // pointers and arrays that BTF may not have, by how they are written
    for (const auto& [text, type] : kKnownVariables) {
      const auto symbol = first_symbol(text);
      if (!symbol || variables_.contains(std::string(text))) continue;
      auto place = made.find(type);
      if (place == made.end()) place = made.emplace(type, write_type_of(types, type)).first;
      if (place->second == 0) continue;
      variables_.insert(std::string(text));
      for (const FileVariable& variable : kFileVariables)
        if (variable.name == text) in_files_.push_back({variable, place->second, symbol->address.value});
      open(kVariableShape, kNamed | kTyped);
      name(text);
      info_.u32(place->second);
      info_.uleb(9), info_.u8(kAddressOperation), info_.u64(address(symbol->address.value));
      ++result_.variables;
    }
  }

  /// A unit for each variable that scripts name together with its source file.
  void write_file_units() {
    for (const InFile& variable : in_files_) {
      const size_t start = info_.size();
      info_.u32(0), info_.u16(4), info_.u32(0), info_.u8(8);
      open(kFileUnit, kNamed);
      name(variable.of.file), name(kProducerText);
      info_.u16(kC11);
      open(kFileVariable, kNamed | kTyped);
      name(variable.of.name);
      info_.u32(variable.type);
      info_.uleb(9), info_.u8(kAddressOperation), info_.u64(address(variable.address));
      info_.u8(0);
      info_.set_u32(start, info_.size() - start - 4);
    }
  }

  /// 0 where BTF lacks it.
  uint32_t write_type_of(const Types& types, std::string_view text) {
    const size_t end = text.find_first_of("*[");
    std::string_view base = text.substr(0, end);
    for (const std::string_view word : {"struct ", "union ", "enum "})
      if (base.starts_with(word)) base.remove_prefix(word.size());
    // BTF calls it as the compiler does.
    if (base == "unsigned long" && !types.find_type(base)) base = "long unsigned int";
    const TypeId id = base == "void" ? 0 : types.find_type(base);
    if (id == 0 && base != "void") return 0;
    uint32_t place = id ? own_.at[id - own_.first] : 0;
    for (const char sign : end == std::string_view::npos ? std::string_view() : text.substr(end)) {
      if (sign == ']') continue;
      const auto here = static_cast<uint32_t>(info_.size());
      open(sign == '*' ? kPointer : kArray, place ? kTyped : 0);
      if (place) info_.u32(place);
      if (sign == '*')
        info_.u8(8);
      else
        open(kUncounted, 0), info_.u8(0);
      place = here;
    }
    return place;
  }

  struct InFile {
    FileVariable of;
    uint32_t type = 0;  // where its entry is
    uint64_t address = 0;
  };

  const DebugInfoSources& sources_;
  const std::vector<std::pair<uint64_t, uint64_t>>& code_;
  const uint64_t displacement_;
  format::ByteOrder order_;
  DebugInfo& result_;
  Bytes info_, ranges_;
  StringTable strings_;
  const Types* types_ = nullptr;
  Places own_;
  std::vector<std::pair<uint32_t, TypeId>> fix_ups_;
  const EndlessTypes* endless_ = nullptr;
  std::unordered_set<std::string_view> seen_;  // functions of this BTF
  TypeId id_ = 0;                              // of the type that is being written
  std::map<uint64_t, uint64_t> functions_;     // start, size
  std::unordered_set<std::string> variables_;
  std::vector<InFile> in_files_;
  uint32_t broken_ = 0;
};

}  // namespace

DebugInfo make_debug_info(const DebugInfoSources& sources, uint64_t displacement) {
  DebugInfo result;
  InfoWriter(sources, displacement, result).write();
  return result;
}

}  // namespace gcore::reader::linux_guest
