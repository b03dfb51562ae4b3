// The client against servers that misbehave. (Against QEMU: the other tests here.)
#include "tools/gcore-dump/qmp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/dump/qmp_server.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using namespace std::chrono_literals;
using tools::qemu::Qmp;
using tools::qemu::QmpError;

std::string connect_error(const std::string& path, QmpError::Kind kind) {
  auto qmp = Qmp::connect(path, 300ms);
  if (qmp) return "connected";
  EXPECT_EQ(qmp.error().kind, kind);
  return qmp.error().text;
}

TEST(Qmp, SaysWhyItCannotConnect) {
  const TempDir folder;
  EXPECT_THAT(connect_error(folder.path("none"), QmpError::Kind::unavailable), testing::HasSubstr("no such file"));
  EXPECT_THAT(connect_error(folder.write("file", ""), QmpError::Kind::unavailable),
              testing::HasSubstr("nobody listens"));
  EXPECT_THAT(connect_error(std::string(200, 'x'), QmpError::Kind::unavailable), testing::HasSubstr("bytes"));
}

TEST(Qmp, PassesOverWhatWasMeantForAnotherClient) {
  const std::string left =
      "{\"return\": {}, \"id\": 1}\n{\"event\": \"RESUME\", \"timestamp\": {\"seconds\": 1, "
      "\"microseconds\": 2}}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n";
  QmpServer server({left + kGreeting, "{\"return\": {}, \"id\": 1}\n"});
  const auto qmp = Qmp::connect(server.path());
  ASSERT_TRUE(qmp) << qmp.error().text;
  EXPECT_EQ((*qmp)->version(), "7.2.22");
}

TEST(Qmp, RecognisesWhatIsNoQmpServer) {
  EXPECT_THAT(connect_error(QmpServer({"SSH-2.0-OpenSSH\r\n"}).path(), QmpError::Kind::protocol),
              testing::HasSubstr("not QMP"));
  EXPECT_THAT(connect_error(QmpServer({"[]\n"}).path(), QmpError::Kind::protocol), testing::HasSubstr("not QMP"));
  EXPECT_THAT(connect_error(QmpServer({"{\"x\": 1}\n"}).path(), QmpError::Kind::protocol),
              testing::HasSubstr("not QEMU's QMP"));
  EXPECT_THAT(connect_error(QmpServer({""}).path(), QmpError::Kind::closed), testing::HasSubstr("closed"));
}

TEST(Qmp, SaysThatQemuIsTooOld) {
  std::string old = kGreeting;
  old.replace(old.find("\"minor\": 2, \"major\": 7"), 22, "\"minor\": 5, \"major\": 2");
  EXPECT_EQ(connect_error(QmpServer({old}).path(), QmpError::Kind::too_old),
            "QEMU 2.5.22 is too old: gcore-dump needs 2.12 or later");
}

TEST(Qmp, EndsAWaitWhenItIsInterrupted) {
  QmpServer server({kGreeting, "{\"return\": {}, \"id\": 1}\n", "", "{\"return\": 3, \"id\": 3}\n"});
  auto qmp = Qmp::connect(server.path(), 5s);
  ASSERT_TRUE(qmp) << qmp.error().text;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  (*qmp)->set_interrupt(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), 1);
  const auto interrupted = (*qmp)->execute("slow", {}, 1h);
  ASSERT_FALSE(interrupted);
  EXPECT_EQ(interrupted.error().kind, QmpError::Kind::interrupted);
  (*qmp)->set_interrupt(-1);
  const auto next = (*qmp)->execute("next", {}, 5s);  // and what comes after it works
  ASSERT_TRUE(next) << next.error().text;
  EXPECT_EQ(next->getAsInteger(), 3);
  close(ends[0]);
  close(ends[1]);
}

TEST(Qmp, GivesUpOnAServerThatServesAnother) {
  QmpServer server({"", ""});  // waits for a line before it does anything
  EXPECT_THAT(connect_error(server.path(), QmpError::Kind::deadline), testing::HasSubstr("another client"));
}

TEST(Qmp, KeepsEventsAndTellsAnswersApart) {
  QmpServer server({kGreeting,
                    R"({"event": "STOP", "timestamp": {}})"
                    "\n{\"return\": {}, \"id\": 1}\n",
                    "{\"return\": 0, \"id\": 77}\n{\"event\": \"WATCHDOG\", \"data\": {\"action\": \"pause\"}}\n"
                    "{\"return\": {\"a\": 5}, \"id\": 2}\n",
                    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not today\"}, \"id\": 3}\n",
                    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}, \"id\": 4}\n"});
  auto qmp = Qmp::connect(server.path(), 5s);
  ASSERT_TRUE(qmp) << qmp.error().text;
  EXPECT_EQ((*qmp)->version(), "7.2.22");
  auto answer = (*qmp)->execute("x");
  ASSERT_TRUE(answer) << answer.error().text;
  EXPECT_EQ(answer->getAsObject()->getInteger("a"), 5);
  auto refused = (*qmp)->execute("y");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, QmpError::Kind::refused);
  EXPECT_EQ(refused.error().text, "y: not today");
  auto unknown = (*qmp)->execute("new-command");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().text, "new-command: no such command (QEMU 7.2.22 lacks it)");
  EXPECT_EQ((*qmp)->next_event()->name, "STOP");
  const auto event = (*qmp)->next_event();
  EXPECT_EQ(event->name, "WATCHDOG");
  EXPECT_EQ(event->data.getString("action"), "pause");
  EXPECT_FALSE((*qmp)->next_event());
  auto gone = (*qmp)->execute("z");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, QmpError::Kind::closed);
}

TEST(Qmp, LooksForEventsWithoutWaiting) {
  QmpServer server({kGreeting, "{\"return\": {}, \"id\": 1}\n", ""});
  auto qmp = Qmp::connect(server.path(), 5s);
  ASSERT_TRUE(qmp) << qmp.error().text;
  EXPECT_TRUE((*qmp)->receive());  // would hang
  EXPECT_FALSE((*qmp)->next_event());
}

}  // namespace
}  // namespace gcore::tests
