// The kinds of entries that debug_info.cc writes (DWARF 4, section 7.5.3). Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {

/// Abbreviations; a bit more says that an entry has a name, another that it has a type.
enum Shape : uint8_t {
  kUnit,
  kBase,
  kFloat,
  kPointer,
  kConst,
  kVolatile,
  kRestrict,
  kTypedefShape,
  kArray,
  kCounted,
  kUncounted,
  kStruct,
  kEmptyStruct,
  kForwardStruct,
  kUnion,
  kEmptyUnion,
  kForwardUnion,
  kField,
  kBitField,
  kEnum,
  kEmptyEnum,
  kSignedValue,
  kUnsignedValue,
  kPrototype,
  kEmptyPrototype,
  kParameter,
  kMore,
  kFunction,
  kEmptyFunction,
  kVariableShape,
  kFileUnit,      // of one source file
  kFileVariable,  // static in it; its type is in the first unit
  kShapes
};
enum : uint8_t { kNamed = 1, kTyped = 2 };

/// The number of an abbreviation.
constexpr uint64_t abbreviation_code(Shape shape, uint8_t with) { return uint64_t{1} + 4 * shape + with; }

/// .debug_abbrev: each shape with and without name and type.
std::vector<std::byte> make_abbreviations(format::ByteOrder order);

// Values of attributes: encodings of base types, the operation DW_OP_addr, a language.
inline constexpr uint8_t kBitsOfChar = 0x08, kSignedChar = 0x06, kBoolean = 0x02, kFloating = 0x04, kSigned = 0x05,
                         kUnsigned = 0x07, kAddressOperation = 0x03;
inline constexpr uint16_t kC11 = 0x1d;

}  // namespace gcore::reader::linux_guest
