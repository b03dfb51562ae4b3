#include "writer/naming.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "writer/sink.h"

namespace gcore::writer {
namespace {

constexpr time_t kTime = 1503317179;  // 2017-08-21 12:06:19 UTC

class Naming : public testing::Test {
 protected:
  void SetUp() override { use_zone("UTC"); }
  void TearDown() override { use_zone("UTC"); }
  static void use_zone(const char* zone) {
    setenv("TZ", zone, 1);
    tzset();
  }
};

TEST_F(Naming, HasPrefixDateAndTime) { EXPECT_EQ(dump_stem("qnx7", kTime), "qnx7-20170821-120619"); }

TEST_F(Naming, UsesLocalTime) {
  use_zone("XXX-03:30");
  EXPECT_EQ(dump_stem("qnx7", kTime), "qnx7-20170821-153619");
}

TEST_F(Naming, DefaultPrefix) { EXPECT_EQ(dump_stem("", kTime), "qvm-guest-20170821-120619"); }

TEST_F(Naming, NoNameLeavesTheDirectory) {
  EXPECT_EQ(dump_stem("../../etc/x", kTime), ".._.._etc_x-20170821-120619");
  EXPECT_EQ(dump_stem(std::string_view("a\0b\nc", 5), kTime), "a_b_c-20170821-120619");
}

TEST_F(Naming, LongPrefixStillMakesAFileName) {
  EXPECT_EQ(dump_stem(std::string(199, 'x') + "\xc3\xbc", kTime), std::string(199, 'x') + "-20170821-120619")
      << "no half of a character";
  EXPECT_EQ(dump_stem("M\xc3\xbcller", kTime), "M\xc3\xbcller-20170821-120619");
  const FileName name{dump_stem(std::string(5000, 'x'), kTime), dump_extension(Compression::zstd)};
  EXPECT_LE((candidate(name, 9) + ".partial").size(), 255U);
}

TEST_F(Naming, NumberGoesBeforeTheExtension) {
  const FileName name{"qnx7-20170821-120619", ".gcore"};
  EXPECT_EQ(candidate(name, 0), "qnx7-20170821-120619.gcore");
  EXPECT_EQ(candidate(name, 2), "qnx7-20170821-120619-2.gcore");
}

TEST_F(Naming, CompressionIsInTheExtension) {
  EXPECT_STREQ(dump_extension(Compression::gzip), ".gcore.gz");
  EXPECT_STREQ(dump_extension(Compression::zstd), ".gcore.zst");
}

TEST_F(Naming, NamesAreTakenApart) {
  const auto whole = parse_dump_name("a-b-20170821-120619-9.gcore.zst");
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->prefix, "a-b");
  EXPECT_EQ(whole->date, "20170821-120619");
  EXPECT_EQ(whole->number, 9);
  EXPECT_FALSE(whole->is_partial);
  const auto partial = parse_dump_name("vm-20170821-120619.gcore.partial");
  ASSERT_TRUE(partial);
  EXPECT_EQ(partial->prefix, "vm");
  EXPECT_EQ(partial->number, 0);
  EXPECT_TRUE(partial->is_partial);
  for (const char* other : {"vm.gcore", "-20170821-120619.gcore", "vm-20170821-120619", "vm-2017082x-120619.gcore",
                            "vm-20170821-120619-0.gcore", "vm-20170821-120619.partial", ""})
    EXPECT_FALSE(parse_dump_name(other)) << other;
}

TEST_F(Naming, EveryNameThatIsGivenIsTakenApart) {
  for (const char* system : {"vm", "", "a/b", "20170821-120619", "-", "x.gcore"})
    for (const Compression compression : {Compression::none, Compression::gzip, Compression::zstd})
      for (int number = 0; number < kCandidates; ++number) {
        const FileName name{dump_stem(system, kTime), dump_extension(compression)};
        const std::string text = candidate(name, number);
        const auto parts = parse_dump_name(text);
        ASSERT_TRUE(parts) << text;
        EXPECT_EQ(parts->prefix, dump_prefix(system)) << text;
        EXPECT_EQ(parts->number, number) << text;
      }
}

}  // namespace
}  // namespace gcore::writer
