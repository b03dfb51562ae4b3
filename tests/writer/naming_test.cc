#include "writer/naming.h"

#include <gtest/gtest.h>

#include <cstdlib>

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

}  // namespace
}  // namespace gcore::writer
