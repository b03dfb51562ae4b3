// A real gdb and the server with something between them: features that one of them lacks, and bytes that arrive
// otherwise than they were sent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

class ProxyTest : public testing::Test {
 protected:
  TempDir folder_;
  std::string dump_ = write_small_dump(folder_.path());
  std::string proxy_ = source_dir() + "/tests/gdbstub/proxy";
};

TEST_F(ProxyTest, GdbWorksWithoutEachFeature) {
  const char* cases[] = {"",
                         "--strip QStartNoAckMode --refuse QStartNoAckMode",
                         "--strip multiprocess",
                         "--strip vContSupported --refuse vCont",
                         "--strip vContSupported --refuse vCont?",
                         "--strip qXfer:features:read",
                         "--strip qXfer:threads:read",
                         "--strip qXfer:threads:read --refuse qfThreadInfo",
                         "--strip qXfer:exec-file:read --refuse vFile",
                         "--strip PacketSize",
                         "--strip error-message",
                         "--refuse qSupported",
                         "--refuse qSearch",
                         "--refuse qCRC",
                         "--refuse qAttached",
                         "--refuse qThreadExtraInfo",
                         "--refuse qOffsets --refuse qSymbol",
                         "--refuse Hc --refuse T"};
  const std::string symbols = write_small_symbols(folder_.path());
  for (const std::string options : cases) {
    SCOPED_TRACE("proxy " + options);
    const auto gdb =
        run_gdb({"set architecture i386:x86-64", "set remotetimeout 20",  // the proxy may be long in starting
                 "target remote | exec " + proxy_ + " " + options + " -- " + program("gcore-serve") + " --stdio " +
                     "--symbols " + symbols + " " + dump_,
                 "info threads", "info registers rip eflags gs", "x/s 0xffffffff80009000", "x/2xb 0x402000",
                 "monitor info version", "find /b 0xffffffff80000000, +0x10000, 'n', 'e', 'e', 'd', 'l', 'e'",
                 "info registers st0", "continue", "detach"},
                {symbols}, 30s);
    ASSERT_FALSE(gdb.timed_out) << gdb.output;
    ASSERT_EQ(gdb.of.size(), 12u) << gdb.output;
    EXPECT_THAT(gdb.of[3], HasSubstr("guest_loop"));
    EXPECT_THAT(gdb.of[4], testing::ContainsRegex("rip +0xffffffff80008000"));
    EXPECT_THAT(gdb.of[4], testing::ContainsRegex("eflags +0x246"));
    EXPECT_THAT(gdb.of[4], testing::ContainsRegex("gs +<unavailable>"));
    EXPECT_THAT(gdb.of[5], HasSubstr("needle in RAM"));
    EXPECT_THAT(gdb.of[6], HasSubstr("Cannot access memory at address 0x402000"));
    EXPECT_THAT(gdb.of[7], HasSubstr("gcore-serve "));
    EXPECT_THAT(gdb.of[8], HasSubstr("1 pattern found"));
    EXPECT_THAT(gdb.of[9], HasSubstr("<unavailable>"));
    EXPECT_THAT(gdb.of[10], HasSubstr("cannot run or step"));
    EXPECT_THAT(gdb.output, testing::Not(HasSubstr("packet is too long")));
  }
}

TEST_F(ProxyTest, TheServerOutlivesWhateverArrives) {
  const Completed done = run(
      {proxy_, "--mutate", "--dump", dump_, "--rounds", "4", "--seed", "20261123", "--", program("gcore-serve")}, 110s);
  EXPECT_FALSE(done.timed_out);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_THAT(done.out, testing::MatchesRegex("4 rounds, [1-9][0-9]* changes, .*the server in none\n"));
}

}  // namespace
}  // namespace gcore::tests
