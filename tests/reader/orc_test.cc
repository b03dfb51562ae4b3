// ORC entries of all four formats. The bytes are put together here, by the layouts in the kernel's orc_types.h.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "reader/guest/linux/orc.h"

namespace gcore::reader::linux_guest {
namespace {

using Base = OrcRule::Base;
using Type = OrcRule::Type;
using Entry = std::array<std::byte, kOrcEntryBytes>;

Entry entry(int16_t sp_offset, int16_t bp_offset, uint16_t bits) {
  const auto byte = [](unsigned value) { return static_cast<std::byte>(value & 0xff); };
  const auto sp = static_cast<uint16_t>(sp_offset), bp = static_cast<uint16_t>(bp_offset);
  return {byte(sp), byte(sp >> 8), byte(bp), byte(bp >> 8), byte(bits), byte(bits >> 8)};
}

OrcRule decode(uint16_t bits, OrcFormat format) { return decode_orc(entry(0, 0, bits), format); }

TEST(Orc, OffsetsAreSigned) {
  const OrcRule rule = decode_orc(entry(16, -16, 0x0015), OrcFormat::v1);
  EXPECT_EQ(rule, (OrcRule{Type::call, Base::sp, Base::prev_sp, 16, -16, false}));
}

TEST(Orc, TypesOfEachFormat) {
  // sp_reg 5 (SP; of v4 3), bp_reg 0.
  EXPECT_EQ(decode(0x005, OrcFormat::v1).type, Type::call);
  EXPECT_EQ(decode(0x105, OrcFormat::v1).type, Type::regs);
  EXPECT_EQ(decode(0x205, OrcFormat::v1).type, Type::regs_partial);
  EXPECT_EQ(decode(0x305, OrcFormat::v1).type, Type::unknown);
  EXPECT_EQ(decode(0x000, OrcFormat::v1).type, Type::undefined);
  EXPECT_EQ(decode(0x400, OrcFormat::v1).type, Type::end_of_stack);
  EXPECT_EQ(decode(0x000, OrcFormat::v2).type, Type::undefined);
  EXPECT_EQ(decode(0x800, OrcFormat::v2).type, Type::end_of_stack);
  EXPECT_EQ(decode(0x505, OrcFormat::v2).type, Type::regs);
  for (const OrcFormat format : {OrcFormat::v3, OrcFormat::v4}) {
    EXPECT_EQ(decode(0x005, format).type, Type::undefined);
    EXPECT_EQ(decode(0x105, format).type, Type::end_of_stack);
    EXPECT_EQ(decode(0x205, format).type, Type::call);
    EXPECT_EQ(decode(0x305, format).type, Type::regs);
    EXPECT_EQ(decode(0x405, format).type, Type::regs_partial);
    EXPECT_EQ(decode(0x505, format).type, Type::unknown);
  }
}

TEST(Orc, SignalOfEachFormat) {
  EXPECT_FALSE(decode(0x005, OrcFormat::v1).signal);
  EXPECT_TRUE(decode(0x105, OrcFormat::v1).signal);  // registers imply it
  EXPECT_FALSE(decode(0x105, OrcFormat::v2).signal);
  EXPECT_TRUE(decode(0x405, OrcFormat::v2).signal);
  EXPECT_FALSE(decode(0x305, OrcFormat::v3).signal);
  EXPECT_TRUE(decode(0xb05, OrcFormat::v3).signal);
}

TEST(Orc, RegistersOfEachFormat) {
  const std::vector<Base> old{Base::undefined,   Base::prev_sp,     Base::dx,     Base::di,
                              Base::bp,          Base::sp,          Base::r10,    Base::r13,
                              Base::bp_indirect, Base::sp_indirect, Base::unknown};
  const std::vector<Base> v4{Base::undefined, Base::ax,          Base::dx,          Base::sp,
                             Base::bp,        Base::di,          Base::r10,         Base::r13,
                             Base::prev_sp,   Base::sp_indirect, Base::bp_indirect, Base::unknown};
  for (uint16_t i = 0; i < old.size(); ++i)
    for (const OrcFormat format : {OrcFormat::v1, OrcFormat::v2, OrcFormat::v3})
      EXPECT_EQ(decode(static_cast<uint16_t>(i << 4 | i), format).sp, old[i]) << i;
  for (uint16_t i = 0; i < v4.size(); ++i)
    EXPECT_EQ(decode(static_cast<uint16_t>(i << 4), OrcFormat::v4).bp, v4[i]) << i;
}

std::vector<std::byte> table(std::initializer_list<uint16_t> bits) {
  std::vector<std::byte> bytes;
  for (int repeat = 0; repeat < 10; ++repeat)
    for (const uint16_t each : bits)
      for (const std::byte byte : entry(8, -16, each)) bytes.push_back(byte);
  return bytes;
}

TEST(Orc, EntriesTellTheFormat) {
  // Functions with a frame, their ends, an interrupt's entry and where nobody called.
  EXPECT_EQ(orc_format_of_entries(table({0x005, 0x015, 0x014, 0x000, 0x105, 0x400})), OrcFormat::v1);
  EXPECT_EQ(orc_format_of_entries(table({0x005, 0x015, 0x014, 0x000, 0x505, 0x805})), OrcFormat::v2);
  EXPECT_EQ(orc_format_of_entries(table({0x205, 0x215, 0x214, 0x000, 0xb05, 0x100})), OrcFormat::v3);
  EXPECT_EQ(orc_format_of_entries(table({0x203, 0x283, 0x284, 0x000, 0xb03, 0x100})), OrcFormat::v4);
  EXPECT_EQ(orc_format_of_entries(table({0xfff, 0xf00, 0x7ff})), std::nullopt);
  EXPECT_EQ(orc_format_of_entries({}), std::nullopt);
}

TEST(Orc, HeadersTellTheFormat) {
  std::array<std::byte, kOrcHeaderBytes> header{};
  EXPECT_EQ(orc_format_of_header(header), std::nullopt);
  EXPECT_EQ(orc_format_of_header({}), std::nullopt);
  constexpr std::array<unsigned, kOrcHeaderBytes> kOf6_4 = {0xfe, 0x5d, 0x32, 0xbf, 0x58, 0x1b, 0xd6, 0x3b, 0x2c, 0xa9,
                                                            0xa5, 0xc6, 0x5b, 0xa5, 0xa6, 0x25, 0xea, 0xb3, 0xfe, 0x24};
  for (size_t i = 0; i < header.size(); ++i) header[i] = static_cast<std::byte>(kOf6_4[i]);
  EXPECT_EQ(orc_format_of_header(header), OrcFormat::v3);
  header[19] ^= std::byte{1};
  EXPECT_EQ(orc_format_of_header(header), std::nullopt);
}

}  // namespace
}  // namespace gcore::reader::linux_guest
