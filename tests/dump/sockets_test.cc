// What is behind the sockets that QEMU has: gcore-dump must do no harm where it was sent to the wrong one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dump/gcore_dump.h"
#include "tools/gcore-dump/qmp.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using Client = tools::qemu::Qmp;

/// A guest that runs, with one of each.
class Sockets : public testing::Test {
 protected:
  Sockets()
      : machine_(kX86, kLoop,
                 with(kShared, {"-gdb", "unix:FOLDER/gdb,server=on,wait=off", "-monitor",
                                "unix:FOLDER/monitor,server=on,wait=off", "-qmp-pretty",
                                "unix:FOLDER/pretty,server=on,wait=off"})) {
    machine_.start();
  }
  std::string connect_error(const std::string& socket) {
    const auto client = Client::connect(machine_.folder().path(socket), 300ms);
    return client ? "connected" : client.error().text;
  }
  BareMachine machine_;
};

TEST_F(Sockets, OfTheGdbStubLeaveTheGuestRunning) {
  for (int round = 0; round < 2; ++round) {  // the second time the stub says unasked that it has stopped the guest
    EXPECT_THAT(connect_error("gdb"), HasSubstr("QEMU's gdb stub (-gdb, -s), not QMP"));
    EXPECT_TRUE(machine_.runs());
  }
}

TEST_F(Sockets, OfTheMonitorAreRefused) {
  EXPECT_THAT(connect_error("monitor"), HasSubstr("not QMP"));
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Sockets, OfQmpThatServeAnotherClientStayUsable) {
  {
    const auto first = Client::connect(machine_.socket());
    ASSERT_TRUE(first) << first.error().text;
    EXPECT_THAT(connect_error("qmp"), HasSubstr("another client is connected to it"));
    EXPECT_TRUE((*first)->execute("query-status"));
  }
  const auto next = Client::connect(machine_.socket());
  ASSERT_TRUE(next) << next.error().text;
  EXPECT_TRUE((*next)->execute("query-status"));
}

TEST_F(Sockets, OfQmpMayPrintPrettily) {
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine_.folder().path("pretty"), out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_EQ(done.err, "");
  EXPECT_TRUE(machine_.runs());
  EXPECT_THAT(open_dump(line(done.out))->info().program,
              testing::MatchesRegex("gcore-dump [0-9.]+ \\(QEMU [0-9.]+\\)"));
}

}  // namespace
}  // namespace gcore::tests
