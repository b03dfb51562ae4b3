// What the programs share: numbers, sizes, guesses, text for a terminal.
#include <gtest/gtest.h>

#include "tools/common/program.h"

namespace gcore::tools {
namespace {

TEST(ParseNumber, TakesDecimalAndHexadecimal) {
  EXPECT_EQ(parse_number("0"), 0u);
  EXPECT_EQ(parse_number("123"), 123u);
  EXPECT_EQ(parse_number("0x7b"), 123u);
  EXPECT_EQ(parse_number("0XFFFFFFFFFFFFFFFF"), UINT64_MAX);
  EXPECT_EQ(parse_number("18446744073709551615"), UINT64_MAX);
}

TEST(ParseNumber, RefusesEverythingElse) {
  for (const char* text : {"", "0x", "x", "12z", " 1", "1 ", "+1", "-1", "0x-1", "1.5", "0b1", "0xg"})
    EXPECT_FALSE(parse_number(text)) << text;
  EXPECT_NE(parse_number("18446744073709551616").error().find("64 bits"), std::string::npos);
  EXPECT_NE(parse_number("0x10000000000000000").error().find("64 bits"), std::string::npos);
  EXPECT_NE(parse_number("ffff8000").error().find("did you mean 0xffff8000?"), std::string::npos);
}

TEST(ParseSize, KnowsPowersOf1024) {
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("4K"), 4096u);
  EXPECT_EQ(parse_size("0x10k"), 16384u);
  EXPECT_EQ(parse_size("3M"), 3u << 20);
  EXPECT_EQ(parse_size("2G"), uint64_t{2} << 30);
  EXPECT_EQ(parse_size("16777215T"), uint64_t{16777215} << 40);
  for (const char* text : {"", "K", "4KB", "4 K", "-1K", "16777216T", "1E"}) EXPECT_FALSE(parse_size(text)) << text;
}

TEST(DidYouMean, FindsTheNearest) {
  const std::vector<std::string> known = {"registers", "segments", "read", "raw", "vcpu"};
  EXPECT_EQ(did_you_mean("registars", known), "registers");
  EXPECT_EQ(did_you_mean("segmnets", known), "segments");
  EXPECT_EQ(did_you_mean("seg", known), "segments");
  EXPECT_EQ(did_you_mean("vpcu", known), "vcpu");
  EXPECT_EQ(did_you_mean("colour", known), std::nullopt);
  EXPECT_EQ(did_you_mean("", known), std::nullopt);
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("plain, größer, 日本"), "plain, größer, 日本");
  EXPECT_EQ(printable("a\x1b[31mb\n\x7f"), "a\\x1b[31mb\\x0a\\x7f");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // a control character in UTF-8
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(HumanSize, RoundsToOneDigit) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size((1u << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_size(uint64_t{3} << 29), "1.5 GiB");
  EXPECT_EQ(human_size(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace gcore::tools
