#include "reader/guest/linux/symbols/abbreviations.h"

#include <utility>

#include "reader/guest/linux/symbols/bytes.h"

namespace gcore::reader::linux_guest {
namespace {

// Tags, attributes, forms and encodings of DWARF 4 (section 7).
enum Tag : uint8_t {
  kArrayType = 0x01,
  kEnumerationType = 0x04,
  kFormalParameter = 0x05,
  kMember = 0x0d,
  kPointerType = 0x0f,
  kCompileUnit = 0x11,
  kStructureType = 0x13,
  kSubroutineType = 0x15,
  kTypedef = 0x16,
  kUnionType = 0x17,
  kUnspecifiedParameters = 0x18,
  kSubrangeType = 0x21,
  kBaseType = 0x24,
  kConstType = 0x26,
  kEnumerator = 0x28,
  kSubprogram = 0x2e,
  kVariable = 0x34,
  kVolatileType = 0x35,
  kRestrictType = 0x37,
};
enum Attribute : uint8_t {
  kLocation = 0x02,
  kName = 0x03,
  kByteSize = 0x0b,
  kBitSize = 0x0d,
  kLowPc = 0x11,
  kHighPc = 0x12,
  kLanguage = 0x13,
  kConstValue = 0x1c,
  kPrototyped = 0x27,
  kProducer = 0x25,
  kCount = 0x37,
  kMemberLocation = 0x38,
  kDeclaration = 0x3c,
  kEncoding = 0x3e,
  kExternal = 0x3f,
  kTypeOf = 0x49,
  kRanges = 0x55,
  kDataBitOffset = 0x6b,
};
enum Form : uint8_t {
  kAddr = 0x01,
  kData2 = 0x05,
  kData8 = 0x07,
  kData1 = 0x0b,
  kSdata = 0x0d,
  kStrp = 0x0e,
  kUdata = 0x0f,
  kRefAddr = 0x10,
  kRef4 = 0x13,
  kSecOffset = 0x17,
  kExprloc = 0x18,
  kFlagPresent = 0x19,
};

struct Abbreviation {
  Tag tag;
  bool has_children;
  std::vector<std::pair<Attribute, Form>> attributes;
};

Abbreviation abbreviation(Shape shape) {
  switch (shape) {
    case kUnit:
      return {kCompileUnit, true, {{kProducer, kStrp}, {kLanguage, kData2}, {kLowPc, kAddr}, {kRanges, kSecOffset}}};
    case kBase:
    case kFloat:
      return {kBaseType, false, {{kByteSize, kUdata}, {kEncoding, kData1}}};
    case kPointer:
      return {kPointerType, false, {{kByteSize, kData1}}};
    case kConst:
      return {kConstType, false, {}};
    case kVolatile:
      return {kVolatileType, false, {}};
    case kRestrict:
      return {kRestrictType, false, {}};
    case kTypedefShape:
      return {kTypedef, false, {}};
    case kArray:
      return {kArrayType, true, {}};
    case kCounted:
      return {kSubrangeType, false, {{kCount, kUdata}}};
    case kUncounted:
      return {kSubrangeType, false, {}};
    case kStruct:
      return {kStructureType, true, {{kByteSize, kUdata}}};
    case kEmptyStruct:
      return {kStructureType, false, {{kByteSize, kUdata}}};
    case kForwardStruct:
      return {kStructureType, false, {{kDeclaration, kFlagPresent}}};
    case kUnion:
      return {kUnionType, true, {{kByteSize, kUdata}}};
    case kEmptyUnion:
      return {kUnionType, false, {{kByteSize, kUdata}}};
    case kForwardUnion:
      return {kUnionType, false, {{kDeclaration, kFlagPresent}}};
    case kField:
      return {kMember, false, {{kMemberLocation, kUdata}}};
    case kBitField:
      return {kMember, false, {{kBitSize, kUdata}, {kDataBitOffset, kUdata}}};
    case kEnum:
      return {kEnumerationType, true, {{kByteSize, kUdata}}};
    case kEmptyEnum:
      return {kEnumerationType, false, {{kByteSize, kUdata}}};
    case kSignedValue:
      return {kEnumerator, false, {{kConstValue, kSdata}}};
    case kUnsignedValue:
      return {kEnumerator, false, {{kConstValue, kUdata}}};
    case kPrototype:
      return {kSubroutineType, true, {{kPrototyped, kFlagPresent}}};
    case kEmptyPrototype:
      return {kSubroutineType, false, {{kPrototyped, kFlagPresent}}};
    case kParameter:
      return {kFormalParameter, false, {}};
    case kMore:
      return {kUnspecifiedParameters, false, {}};
    case kFunction:
      return {kSubprogram,
              true,
              {{kExternal, kFlagPresent}, {kPrototyped, kFlagPresent}, {kLowPc, kAddr}, {kHighPc, kData8}}};
    case kEmptyFunction:
      return {kSubprogram,
              false,
              {{kExternal, kFlagPresent}, {kPrototyped, kFlagPresent}, {kLowPc, kAddr}, {kHighPc, kData8}}};
    case kVariableShape:
      return {kVariable, false, {{kExternal, kFlagPresent}, {kLocation, kExprloc}}};
    case kFileUnit:
      return {kCompileUnit, true, {{kProducer, kStrp}, {kLanguage, kData2}}};
    case kFileVariable:
      return {kVariable, false, {{kLocation, kExprloc}}};
    case kShapes:
      break;
  }
  return {};
}

}  // namespace

std::vector<std::byte> make_abbreviations(format::ByteOrder order) {
  Bytes out(order);
  for (uint8_t number = 0; number < kShapes; ++number) {
    const auto shape = static_cast<Shape>(number);
    const Abbreviation form = abbreviation(shape);
    for (uint8_t with = 0; with < 4; ++with) {
      out.uleb(abbreviation_code(shape, with));
      out.uleb(form.tag);
      out.u8(form.has_children ? 1 : 0);
      if (with & kNamed) out.uleb(kName), out.uleb(kStrp);
      if (with & kTyped) out.uleb(kTypeOf), out.uleb(shape == kFileVariable ? kRefAddr : kRef4);
      for (const auto& [attribute, as] : form.attributes) out.uleb(attribute), out.uleb(as);
      out.u8(0), out.u8(0);
    }
  }
  out.u8(0);
  return std::move(out.take());
}

}  // namespace gcore::reader::linux_guest
