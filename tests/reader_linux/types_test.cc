// BTF: of our own making, sound and not, and that of real kernels, whose VMCOREINFO says sizes and offsets too.
#include "reader/guest/linux/types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/btf_builder.h"
#include "tests/reader_linux/guests.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using reader::linux_guest::Member;
using reader::linux_guest::Type;
using reader::linux_guest::Types;
using Kind = Type::Kind;
using testing::HasSubstr;

Types parse(const BtfBuilder& builder, const Types* base = nullptr) {
  auto types = Types::parse(builder.bytes(), base);
  if (!types) throw std::runtime_error(types.error().text);
  return *std::move(types);
}

TEST(Types, OfEachKind) {
  BtfBuilder btf;
  const uint32_t number = btf.integer("int", 4, 1), boolean = btf.integer("_Bool", 1, 4);
  const uint32_t pointer = btf.add(2, "", number), array = btf.add(3, "", 0, {number, number, 5});
  const uint32_t values = btf.add(6, "color", 4, {btf.string("RED"), 1, btf.string("DARK"), 0xffffffff}, 2, true);
  const uint32_t forward = btf.add(7, "other", 0, {}, 0, true), name = btf.add(8, "my_t", array);
  const uint32_t prototype = btf.add(13, "", number, {btf.string("x"), pointer, 0, 0}, 2);
  const uint32_t function = btf.add(12, "call", prototype, {}, 1);
  const uint32_t variable = btf.add(14, "the_one", number, {1});
  const uint32_t section = btf.add(15, ".data..percpu", 100, {variable, 64, 4}, 1);
  const uint32_t real = btf.add(16, "double", 8), tag = btf.add(18, "user", number);
  const uint32_t mark = btf.add(17, "note", function, {0xffffffff});
  const uint32_t large = btf.add(19, "large", 8, {btf.string("HUGE_ONE"), 1, 0x80000000}, 1);
  const Types types = parse(btf);
  EXPECT_EQ(types.first_id(), 1U);
  EXPECT_EQ(types.end_id(), large + 1);

  EXPECT_EQ(types.type(0)->kind, Kind::void_type);
  EXPECT_EQ(types.type(large + 1), std::nullopt);
  EXPECT_TRUE(types.type(number)->is_signed);
  EXPECT_EQ(types.type(number)->bits, 32U);
  EXPECT_TRUE(types.type(boolean)->is_bool);
  EXPECT_EQ(types.type(pointer)->target, number);
  EXPECT_EQ(types.type(array)->count, 5U);
  EXPECT_EQ(types.type(values)->fields[1].value, -1);
  EXPECT_TRUE(types.type(forward)->is_union);
  EXPECT_EQ(types.type(prototype)->fields[0].name, "x");
  EXPECT_EQ(types.type(prototype)->fields[1].type, 0U);
  EXPECT_EQ(types.type(function)->name, "call");
  EXPECT_EQ(types.type(function)->linkage, 1);
  EXPECT_EQ(types.type(section)->fields[0].bit_offset, 64U);
  EXPECT_EQ(types.type(section)->fields[0].bit_size, 4U);
  EXPECT_EQ(types.type(real)->size, 8U);
  EXPECT_EQ(types.type(tag)->kind, Kind::type_tag);
  EXPECT_EQ(types.type(mark)->target, function);
  EXPECT_EQ(types.type(large)->fields[0].value, static_cast<int64_t>(0x8000000000000001));

  EXPECT_EQ(types.find_type("my_t"), name);
  EXPECT_EQ(types.find_type("other"), 0U);
  EXPECT_EQ(types.size_of("my_t"), 20U);
  EXPECT_EQ(types.size_of(pointer), 8U);
  EXPECT_EQ(types.size_of(variable), 4U);
  EXPECT_EQ(types.size_of(function), std::nullopt);
  EXPECT_EQ(types.enumerator("DARK"), -1);
  EXPECT_EQ(types.enumerator("HUGE_ONE"), static_cast<int64_t>(0x8000000000000001));
  EXPECT_EQ(types.enumerator("BLUE"), std::nullopt);
}

TEST(Types, MembersAreFoundAlongPaths) {
  BtfBuilder btf;
  const uint32_t number = btf.integer("int", 4);
  const uint32_t inner = btf.structure("inner", 8, {{"a", number, 0}, {"b", number, 32}});
  const uint32_t name = btf.add(8, "inner_t", btf.add(10, "", inner));
  const uint32_t hidden = btf.structure("", 8, {{"u", number, 0}, {"deep", name, 0}}, false, 5);
  const uint32_t bits = btf.structure("", 4, {{"", number, 3U << 24}, {"flag", number, 2U << 24 | 11}}, true);
  btf.structure("outer", 32,
                {{"first", number, 0}, {"", hidden, 64}, {"", bits, 128}, {"pointer", btf.add(2, "", inner), 192}});
  const Types types = parse(btf);
  EXPECT_EQ(types.offset("outer", "first"), 0U);
  EXPECT_EQ(types.offset("outer", "u"), 8U);
  EXPECT_EQ(types.offset("outer", "deep.b"), 12U);
  EXPECT_EQ(types.member("outer", "deep")->size, 8U);
  EXPECT_EQ(types.offset("inner_t", "b"), 4U);
  const auto flag = types.member("outer", "flag");
  ASSERT_TRUE(flag);
  EXPECT_EQ(flag->offset, 17U);
  EXPECT_EQ(flag->bit_offset, 3U);
  EXPECT_EQ(flag->bit_size, 2U);
  EXPECT_EQ(flag->size, 1U);
  EXPECT_EQ(types.offset("outer", "pointer.a"), std::nullopt);
  EXPECT_EQ(types.offset("outer", "nothing"), std::nullopt);
  EXPECT_EQ(types.offset("outer", ""), std::nullopt);
  EXPECT_EQ(types.offset("outer", "deep."), std::nullopt);
  EXPECT_EQ(types.offset("nobody", "u"), std::nullopt);
  constexpr std::string_view kPaths[]{"gone", "u", "first"};
  EXPECT_EQ(types.any_member("outer", kPaths)->offset, 8U);
}

TEST(Types, OfModulesGoOnWhereTheirBaseEnds) {
  BtfBuilder kernel;
  const uint32_t number = kernel.integer("int", 4);
  const Types base = parse(kernel);
  BtfBuilder module(base.end_id(), kernel.strings_end());
  module.structure("own", 8, {{"field", number, 32}});
  const Types types = parse(module, &base);
  EXPECT_EQ(types.first_id(), 2U);
  EXPECT_EQ(types.offset("own", "field"), 4U);
  EXPECT_EQ(types.member("own", "field")->size, 4U);
  EXPECT_EQ(types.find_type("int"), number);
  EXPECT_EQ(types.type(number)->name, "int");
  EXPECT_EQ(types.type(2)->name, "own");
  EXPECT_EQ(base.find_type("own"), 0U);
}

TEST(Types, ThatLieAreBounded) {
  BtfBuilder btf;
  const uint32_t self = btf.add(8, "self", 1);
  const uint32_t tower = btf.add(3, "", 0, {self, self, 7});
  uint32_t huge = btf.integer("int", 4);
  for (int i = 0; i < 10; i++) huge = btf.add(3, "", 0, {huge, huge, 0xffffffff});
  // Each holds the one before it twice, without a name: 2^40 ways.
  uint32_t twice = btf.structure("", 4, {});
  for (int i = 0; i < 40; i++) twice = btf.structure("", 4, {{"", twice, 0}, {"", twice, 0}});
  const uint32_t wide = btf.structure("wide", 4, {{"", twice, 0}, {"", btf.strings_end() + 7, 0}});
  const uint32_t itself = btf.structure("itself", 4, {{"", wide + 1, 0}});
  const Types types = parse(btf);
  EXPECT_EQ(types.size_of(self), std::nullopt);
  EXPECT_EQ(types.size_of(tower), std::nullopt);
  EXPECT_EQ(types.size_of(huge), std::nullopt);
  EXPECT_EQ(types.offset("wide", "x"), std::nullopt);
  EXPECT_EQ(types.member(itself, "x"), std::nullopt);
  EXPECT_EQ(types.offset("self", "x"), std::nullopt);
}

TEST(Types, ErrorsSayWhatIsWrong) {
  const auto error = [](std::vector<std::byte> bytes) {
    const auto types = Types::parse(std::move(bytes), nullptr);
    return types ? "" : types.error().text;
  };
  EXPECT_THAT(error({}), HasSubstr("0 bytes are too few"));
  BtfBuilder btf;
  btf.integer("int", 4);
  auto bytes = btf.bytes();
  auto wrong = bytes;
  wrong[0] = std::byte{0x7f};
  EXPECT_THAT(error(wrong), HasSubstr("begins with 0xeb7f"));
  wrong = bytes, wrong[12] = std::byte{0xff};
  EXPECT_THAT(error(wrong), HasSubstr("does not fit"));
  wrong = bytes, wrong[24 + 7] = std::byte{30};
  EXPECT_THAT(error(wrong), HasSubstr("type 1 is of kind 30"));
  wrong = bytes, wrong[24 + 7] = std::byte{3};
  EXPECT_THAT(error(wrong), HasSubstr("type 1 ends after its data"));
  wrong = bytes, wrong[2] = std::byte{9};
  EXPECT_THAT(error(wrong), HasSubstr("version 9"));
}

class TypesOfGuest : public testing::TestWithParam<Guest> {};

TEST_P(TypesOfGuest, AreAsVmcoreinfoSays) {
  const auto dump = open_dump(linux_oracle(GetParam().recipe()));
  const auto guest = reader::Guest(*dump).system();
  const auto kernel = reader::linux_guest::Kernel::find(*dump, guest);
  ASSERT_TRUE(kernel) << kernel.error().text;
  ASSERT_TRUE((*kernel)->types()) << (*kernel)->types().error().text;
  const Types& types = *(*kernel)->types();
  EXPECT_GT(types.end_id(), GetParam().is_small() ? 10000U : 60000U);
  const Regex line(R"((SIZE|OFFSET|NUMBER)\(([a-z_]+)(?:\.([a-z_.]+))?\)=([0-9]+))");
  size_t compared = 0;
  for (const RegexMatch& told : regex_search_all(guest.vmcoreinfo, line)) {
    const std::string kind = told[1], type = told[2], path = told[3];
    if (kind == "NUMBER" || types.find_type(type) == 0 || type == "mem_section") continue;
    const auto found = kind == "SIZE" ? types.size_of(type) : types.offset(type, path);
    EXPECT_EQ(found, std::stoull(told[4])) << told[0];
    compared++;
  }
  EXPECT_GT(compared, 25U);
  EXPECT_EQ(types.enumerator("PIDTYPE_PGID"), 2);
  EXPECT_EQ(types.size_of("pid_t"), 4U);
}

TEST_P(TypesOfGuest, AreBoundedWhereverBytesAreWrong) {
  const auto dump = open_dump(linux_oracle(GetParam().recipe()));
  const auto kernel = reader::linux_guest::Kernel::find(*dump, reader::Guest(*dump).system());
  ASSERT_TRUE(kernel && (*kernel)->types());
  const auto sound = (*kernel)->types()->bytes();
  std::mt19937 random(1);
  size_t parsed = 0;
  for (int round = 0; round < 40; round++) {
    std::vector<std::byte> bytes(sound.begin(), sound.end());
    // Few of them, and not in kinds, so that some of it still parses.
    for (int i = 0; i < 6; i++) bytes[24 + random() % (bytes.size() - 24) / 4 * 4] = static_cast<std::byte>(random());
    const auto types = Types::parse(std::move(bytes), nullptr);
    if (!types) continue;
    parsed++;
    for (uint32_t id = 0; id < types->end_id(); id += 1 + static_cast<uint32_t>(random() % 50)) {
      types->size_of(id);
      types->type(id);
      types->member(id, "no.such.member");
    }
  }
  EXPECT_GT(parsed, 0U);
}

INSTANTIATE_TEST_SUITE_P(Each, TypesOfGuest, testing::ValuesIn(kGuests), guest_name);

}  // namespace
}  // namespace gcore::tests
