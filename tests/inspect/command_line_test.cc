// What gcore-inspect makes of its command line: results, exit statuses, and one line for each mistake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/inspect/sample.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(CommandLine, HelpIsAResult) {
  const Completed help = Inspect()({"--help"});
  EXPECT_EQ(help.status, (ExitStatus{0, 0}));
  EXPECT_EQ(help.err, "");
  EXPECT_EQ(help.out, golden("help.txt", help.out));
}

TEST(CommandLine, VersionSaysWhatItWasBuiltWith) {
  const Completed version = Inspect()({"--version"});
  EXPECT_EQ(version.status, (ExitStatus{0, 0}));
  std::string libraries;
  for (const char* name :
       {"Boost", "LLVM", "fmt", "zlib", "zstd", "liblzma", "bzip2", "lzo", "snappy", "libkdumpfile", "xxHash"})
    libraries += std::string(", ") + name + " [0-9][0-9.]*";
  EXPECT_THAT(version.out, testing::MatchesRegex("gcore-inspect [0-9.]+\nbuilt with (GCC|Clang) [0-9.]+[^\n]*" +
                                                 libraries + "\n(revision [0-9a-f]+(-modified)?\n)?"));
}

struct Wrong {
  const char* name;
  std::vector<std::string> arguments;
  int status;
  const char* says;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }

class WrongCommandLine : public testing::TestWithParam<Wrong> {};

TEST_P(WrongCommandLine, IsToldInOneLine) {
  const Completed done = Inspect()(GetParam().arguments);
  EXPECT_EQ(done.status, (ExitStatus{GetParam().status, 0}));
  EXPECT_EQ(done.out, "");
  EXPECT_THAT(done.err, StartsWith("gcore-inspect: "));
  EXPECT_THAT(done.err, HasSubstr(GetParam().says));
  EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
  EXPECT_EQ(done.err.find("ee gcore-inspect --help") != std::string::npos, GetParam().status == 2) << done.err;
}

const char* const kDump = "sample.gcore";

INSTANTIATE_TEST_SUITE_P(
    All, WrongCommandLine,
    testing::Values(
        Wrong{"no_dump", {}, 2, "which dump?"}, Wrong{"two_dumps", {kDump, "b"}, 2, "'b' is one argument too many"},
        Wrong{"misspelt", {kDump, "--registars"}, 2, "did you mean --registers?"},
        Wrong{"abbreviated", {kDump, "--seg"}, 2, "did you mean --segments?"},
        Wrong{"unknown", {kDump, "--frobnicate"}, 2, "there is no option --frobnicate;"},
        Wrong{"unknown_short", {kDump, "-q"}, 2, "there is no option -q;"},
        Wrong{"twice", {kDump, "--json", "--json"}, 2, "--json is given twice"},
        Wrong{"two_modes", {kDump, "--json", "--segments"}, 2, "--json and --segments cannot be given together"},
        Wrong{"flag_with_argument", {kDump, "--json=1"}, 2, "--json takes nothing or =lines"},
        Wrong{"no_argument", {kDump, "--translate"}, 2, "--translate needs an argument: ADDR"},
        Wrong{"no_number", {kDump, "--translate", "12xyz"}, 2, "'12xyz' is not a number"},
        Wrong{"no_0x", {kDump, "--translate", "ffff800000000000"}, 2, "did you mean 0xffff800000000000?"},
        Wrong{"too_big", {kDump, "--translate", "0x10000000000000000"}, 2, "does not fit in 64 bits"},
        Wrong{"no_length", {kDump, "--read", "0x1000"}, 2, "'0x1000' is not ADDR:LEN"},
        Wrong{"bad_length", {kDump, "--read", "0x1000:4Q"}, 2, "'4Q' is not a size"},
        Wrong{"past_the_end", {kDump, "--read", "0xfffffffffffffff0:17"}, 2, "passes the end of the address space"},
        Wrong{"odd_digits", {kDump, "--find", "0x123"}, 2, "two hexadecimal digits"},
        Wrong{"zeros", {kDump, "--find", "0x0000"}, 2, "--stats"}, Wrong{"empty", {kDump, "--find", ""}, 2, "--find"},
        Wrong{"lonely_phys", {kDump, "--phys"}, 2, "--phys needs --read"},
        Wrong{"lonely_raw", {kDump, "--stats", "--raw"}, 2, "--raw needs --read"},
        Wrong{"lonely_vcpu", {kDump, "--vcpu", "1"}, 2, "--vcpu needs --translate"},
        Wrong{"vcpu_and_phys", {kDump, "--read", "0:1", "--phys", "--vcpu", "1"}, 2, "--vcpu and --phys"},
        Wrong{"vcpu_no_number", {kDump, "--map", "--vcpu", "one"}, 2, "--vcpu: 'one' is not a number"},
        Wrong{"no_such_vcpu", {kDump, "--registers", "2"}, 1, "sample.gcore has 2 vCPUs, counted from 0"},
        Wrong{"huge_vcpu", {kDump, "--map", "--vcpu", "0xffffffffffffffff"}, 1, "sample.gcore has 2 vCPUs"},
        Wrong{"no_such_file", {"absent.gcore"}, 1, "absent.gcore"}, Wrong{"folder", {"."}, 1, "."}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(CommandLine, ANumberAfterRegistersIsItsArgumentAndADumpIsNot) {
  const Inspect inspect;
  EXPECT_EQ(inspect({"--registers", kDump}).out, inspect({kDump, "--registers"}).out);
  EXPECT_EQ(inspect({"--registers", "1", kDump}).out, inspect({kDump, "--registers=0x1"}).out);
  EXPECT_EQ(inspect({kDump, "--registers", "--vcpu", "1"}).out, inspect({kDump, "--registers", "1"}).out);
}

TEST(CommandLine, ReadsStandardInput) {
  const Inspect inspect;
  const std::string dump = read_file(inspect.folder().path(kDump));
  const Completed piped = inspect({"-", "--segments"}, dump);
  EXPECT_EQ(piped.status, (ExitStatus{0, 0})) << piped.err;
  EXPECT_EQ(piped.out, inspect({kDump, "--segments"}).out);
}

// Standard output that cannot take the result is a failure, not a short result.
TEST(CommandLine, FullDiskIsAFailure) {
  const Inspect inspect;
  const Completed done =
      run({"/bin/sh", "-c", "\"$0\" \"$1\" --json >/dev/full", program("gcore-inspect"), inspect.folder().path(kDump)});
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_THAT(done.err, HasSubstr("write to standard output: No space left on device"));
}

TEST(CommandLine, AReaderThatLeavesEndsItQuietly) {
  const Inspect inspect;
  const Completed done = run({"/bin/bash", "-c", "\"$0\" \"$1\" --read 0:64K --phys --raw | head -c 1 | wc -c",
                              program("gcore-inspect"), inspect.folder().path(kDump)});
  EXPECT_EQ(done.out, "1\n");
  EXPECT_EQ(done.err, "");
}

TEST(CommandLine, NoColoursInAPipe) { EXPECT_THAT(Inspect()({kDump}).out, Not(HasSubstr("\x1b"))); }

}  // namespace
}  // namespace gcore::tests
