// The types of a Linux kernel, from its BTF (include/uapi/linux/btf.h), and split BTF of its modules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"

namespace gcore::reader::linux_guest {

/// An id of BTF; 0 is void.
using TypeId = uint32_t;

/// Where a member is in a struct, through anonymous structs and unions and along a path of names.
struct Member {
  uint64_t offset = 0;  // bytes from the start of the outermost struct (of a bit field: of the byte where it starts)
  uint64_t size = 0;    // bytes; of an array: all of it
  uint32_t bit_offset = 0, bit_size = 0;  // of a bit field within that byte; else 0
  TypeId type = 0;
};

/// One BTF type as it stands in the data, for whoever goes over all of them.
struct Type {
  enum class Kind : uint8_t {
    void_type,
    integer,
    pointer,
    array,
    structure,
    union_type,
    enumeration,
    forward,
    typedef_type,
    volatile_type,
    const_type,
    restrict_type,
    function,
    function_prototype,
    variable,
    data_section,
    floating,
    declaration_tag,
    type_tag,
    enumeration64,
  };
  struct Field {  // member of a struct or union; enumerator; parameter; variable of a section
    std::string_view name;
    TypeId type = 0;
    uint64_t bit_offset = 0;  // struct, union; of a section's variable: the offset in bytes
    uint32_t bit_size = 0;    // bit field: its width; else 0. Of a section's variable: bytes
    int64_t value = 0;        // enumerator
  };
  Kind kind = Kind::void_type;
  std::string_view name;
  uint64_t size = 0;      // bytes, where the kind has a size
  TypeId target = 0;      // what a pointer, typedef, qualifier, array, function, variable is of; return type
  TypeId index_type = 0;  // of an array
  uint64_t count = 0;     // elements of an array
  bool is_signed = false, is_bool = false, is_char = false;  // integer; enumeration: is_signed
  bool is_union = false;                                     // forward
  uint8_t linkage = 0;                                       // function, variable
  uint32_t bits = 0;                                         // integer: bits that mean something
  std::vector<Field> fields{};
};

class Types {
 public:
  /// The kernel's own BTF, which stands between __start_BTF and __stop_BTF. Error: not_present, malformed.
  static Expected<Types> find(const KernelMemory& memory, const Names& names);
  /// Of bytes; `base` (may be null) for split BTF, which must outlive the result. Bounded on any bytes.
  static Expected<Types> parse(std::vector<std::byte> btf, const Types* base);

  Types(Types&&) noexcept;
  Types& operator=(Types&&) noexcept;
  ~Types();

  /// Ids from first_id() up to below end_id() are its own; those of the base come before.
  TypeId first_id() const;
  TypeId end_id() const;
  /// Nothing for an id that is not there. Views live as long as the Types.
  std::optional<Type> type(TypeId id) const;
  /// The same of less: its kind; what it is of (Type::target). Fast, where type() makes a list of fields.
  std::optional<Type::Kind> kind(TypeId id) const;
  TypeId target(TypeId id) const;

  /// The first struct, union, enum, typedef, integer of that name ("task_struct", "pid_t"); 0 when there is none.
  TypeId find_type(std::string_view name) const;
  /// Bytes; nothing for what has no size.
  std::optional<uint64_t> size_of(TypeId id) const;
  std::optional<uint64_t> size_of(std::string_view name) const;

  /// `path` is names with points: member("task_struct", "thread.sp"). Passes through typedefs, qualifiers, anonymous
  /// members and embedded structs, never through a pointer.
  std::optional<Member> member(std::string_view type, std::string_view path) const;
  std::optional<Member> member(TypeId type, std::string_view path) const;
  /// The first of these paths that there is: kernels rename members ("__state", "state").
  std::optional<Member> any_member(std::string_view type, std::span<const std::string_view> paths) const;
  std::optional<uint64_t> offset(std::string_view type, std::string_view path) const;

  /// The value of an enumerator of any enum; nothing when there is none of that name.
  std::optional<int64_t> enumerator(std::string_view name) const;

  /// The raw bytes, for whoever writes them on.
  std::span<const std::byte> bytes() const;

 private:
  struct State;
  explicit Types(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader::linux_guest
