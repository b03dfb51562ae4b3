// gcore-dump --watch against QEMU machines that run no operating system.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <llvm/Support/JSON.h>

#include <filesystem>
#include <sstream>

#include "tests/dump/gcore_dump.h"
#include "tests/dump/qmp_server.h"
#include "tests/support/regex.h"
#include "tools/gcore-dump/qemu_actions.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TEST(GcoreDumpWatch, DumpsOnSigusr2) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-name", "engine"}));
  machine.start();
  const TempDir out;
  Process watcher = watch(machine.socket(), {"--pid-file", out.path("pid"), "--keep", "2", out.path()});
  EXPECT_EQ(read_file(out.path("pid")), std::to_string(watcher.pid()) + "\n");
  std::vector<std::string> dumps;
  for (int i = 0; i < 3; ++i) {
    watcher.signal(SIGUSR2);
    const auto path = watcher.wait_for_line(Process::Stream::out, "engine-.*gcore");
    ASSERT_TRUE(path) << watcher.err();
    dumps.push_back(*path);
    EXPECT_TRUE(machine.runs());
  }
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_THAT(out.entries(), SizeIs(2));  // the newest two; the pid file is gone
  EXPECT_THAT(open_dump(dumps.back())->info_json(), HasSubstr("SIGUSR2"));
}

TEST(GcoreDumpWatch, DumpsOnceWhenTheGuestPanics) {
  BareMachine machine(kX86, kPanic, with(kShared, {"-device", "pvpanic", "-action", "panic=pause"}));
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  machine.start();
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  EXPECT_THAT(machine.status(), HasSubstr("guest-panicked"));  // as configured
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_THAT(out.entries(), SizeIs(1));
  const auto dump = open_dump(*path);
  EXPECT_THAT(dump->info_json(), HasSubstr("GUEST_PANICKED"));
  EXPECT_EQ(dump->signal(), 6);
  EXPECT_EQ(dump->cpus()[0].registers.get("rdx").value_or(0) & 0xffff, 0x505u);
}

TEST(GcoreDumpWatch, DumpsOnceWhenTheWatchdogExpires) {
  BareMachine machine(kX86, kWatchdog, with(kShared, {"-device", "ib700", "-action", "watchdog=none"}));
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  machine.start();
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  EXPECT_TRUE(machine.runs());  // as configured
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_THAT(out.entries(), SizeIs(1));
  EXPECT_THAT(open_dump(*path)->info_json(), HasSubstr("WATCHDOG"));
}

TEST(GcoreDumpWatch, EndsWithQemu) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  // Past its questions: QEMU 7.2 may hang in its end (monitor_cleanup) when one comes just then.
  watcher.signal(SIGUSR2);
  ASSERT_TRUE(watcher.wait_for_line(Process::Stream::out, "gcore")) << watcher.err();
  machine.process().signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_THAT(watcher.err(), HasSubstr("has ended"));
}

TEST(Watching, APauseThatTheWatchdogAsksForHolds) {
  BareMachine machine(kX86, kWatchdog, with(kShared, {"-device", "ib700", "-action", "watchdog=pause"}));
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  machine.start();
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  EXPECT_THAT(machine.status(), HasSubstr("\"watchdog\""));
  watcher.signal(SIGUSR2);  // stays as it is
  ASSERT_TRUE(watcher.wait_for_line(Process::Stream::out, "gcore")) << watcher.err();
  EXPECT_THAT(machine.status(), HasSubstr("\"watchdog\""));
  EXPECT_THAT(out.entries(), SizeIs(2));
  EXPECT_THAT(open_dump(*path)->info_json(), HasSubstr("WATCHDOG (action pause)"));
}

TEST(Watching, AGuestThatItsWatchdogResetsIsDumpedWithAWarning) {
  BareMachine machine(kX86, kWatchdog, with(kShared, {"-device", "ib700", "-action", "watchdog=reset"}));
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  machine.start();
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err, "the registers are those after the reset")) << watcher.err();
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::out, "gcore")) << watcher.err();
}

TEST(Watching, SurvivesQemuWithReconnect) {
  const TempDir out;
  const std::string socket = out.path("qmp");
  Process watcher({program("gcore-dump"), "--qmp", socket, "--watch", "--reconnect", "--keep", "1", out.path()});
  ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "waiting for QEMU at .*no such file")) << watcher.err();
  for (const char* name : {"first", "second"}) {
    BareMachine machine(kX86, kLoop, with(kShared, {"-name", name, "-qmp", "unix:" + socket + ",server=on,wait=off"}));
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, std::string("watching ") + name)) << watcher.err();
    machine.start();
    watcher.signal(SIGUSR2);
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::out, std::string(name) + "-.*gcore")) << watcher.err();
    EXPECT_TRUE(machine.runs());
    machine.process().signal(SIGKILL);
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "has ended")) << watcher.err();
  }
  watcher.signal(SIGUSR2);
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err, "there is no QEMU at the moment")) << watcher.err();
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kFailed);  // for that one
}

TEST(Watching, EndsAtOnceWhileItWaitsForAnAnswer) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  Process first = watch(machine.socket(), {out.path()});  // QEMU serves this one
  Process second({program("gcore-dump"), "--qmp", machine.socket(), "--watch", "--reconnect", out.path()});
  const auto connected = [&] {  // and waits for a greeting
    namespace fs = std::filesystem;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(second.pid()) + "/fd", gone))
      if (fs::read_symlink(entry.path(), gone).string().starts_with("socket:")) return true;
    return false;
  };
  while (!connected()) ASSERT_FALSE(second.wait(0ms));
  second.signal(SIGTERM);
  EXPECT_EQ(second.wait(5s), kDone) << second.err();
}

// A guest that was in trouble before somebody watched it.
TEST(Watching, DumpsOnceWhatHadHappenedBefore) {
  const struct {
    std::string code, device, action, state, reason;
  } cases[] = {{kPanic, "pvpanic", "panic=pause", "guest-panicked", "GUEST_PANICKED (before gcore-dump was there)"},
               {kWatchdog, "ib700", "watchdog=pause", "watchdog", "WATCHDOG (before gcore-dump was there)"}};
  for (const auto& one : cases) {
    BareMachine machine(kX86, one.code, with(kShared, {"-device", one.device, "-action", one.action}));
    machine.start();
    while (machine.status().find("\"" + one.state + "\"") == std::string::npos)
      ASSERT_FALSE(machine.process().wait(0ms));
    const TempDir out;
    Process watcher = watch(machine.socket(), {"--reconnect", out.path()});
    const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
    ASSERT_TRUE(path) << watcher.err();
    EXPECT_EQ(open_dump(*path)->info().reason_detail, one.reason);
    EXPECT_EQ(open_dump(*path)->signal(), 6);
    watcher.signal(SIGUSR2);  // the next dump is this one's, and not a second one for the same
    const auto next = watcher.wait_for_line(Process::Stream::out, "gcore");
    ASSERT_TRUE(next) << watcher.err();
    EXPECT_EQ(open_dump(*next)->info().reason_detail, "SIGUSR2");
    EXPECT_THAT(machine.status(), HasSubstr("\"" + one.state + "\""));
  }
}

// QEMU exits when its guest panics, unless it is told to pause it: here, when it is asked where the guest's memory is.
TEST(Watching, SaysWhatHelpsWhenQemuEndsAtAPanic) {
  const QmpServer server({kGreeting, "{\"return\": {}}\n",
                          R"({"return": {"arch": "x86_64"}})"
                          "\n",
                          R"({"return": [{"cpu-index": 0}]})"
                          "\n",
                          "{\"return\": {}}\n",
                          R"({"return": {"status": "running"}})"
                          "\n"
                          R"({"event": "GUEST_PANICKED", "data": {"action": "poweroff"}})"
                          "\n",
                          ""});
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", server.path(), "--watch", out.path()});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err,
              HasSubstr("QEMU ended before its guest could be dumped for GUEST_PANICKED (action poweroff); with "
                        "--set-action, or QEMU's -action panic=pause,watchdog=pause, the guest waits\n"));
}

TEST(Watching, ShowsANameThatIsFitForATerminal) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-name", "red\033[31m"}));
  const TempDir out;
  EXPECT_THAT(watch(machine.socket(), {out.path()}).err(), HasSubstr("watching red\\x1b[31m at "));
}

// ---- what is said ----

TEST(Watching, SaysWhatWouldBeLostAndHasTheGuestWait) {
  BareMachine machine(kX86, kPanic, with(kShared, {"-device", "pvpanic"}));  // QEMU would exit
  const TempDir out;
  Process careless = watch(machine.socket(), {out.path()});
  EXPECT_TRUE(careless.wait_for_line(Process::Stream::err,
                                     "QEMU ends when this guest panics, and resets it when its "
                                     "watchdog expires, before it can be dumped; with --set-action"))
      << careless.err();
  careless.signal(SIGTERM);
  EXPECT_EQ(careless.wait(), kDone);
  Process watcher = watch(machine.socket(), {"--set-action", out.path()});
  machine.start();
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  EXPECT_THAT(watcher.err(), testing::Not(HasSubstr("before it can be dumped")));
  EXPECT_THAT(machine.status(), HasSubstr("guest-panicked"));
  EXPECT_EQ(open_dump(*path)->info().reason_detail, "GUEST_PANICKED (action pause)");
}

TEST(Watching, SaysForEachDumpWhyAndForHowLong) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-action", "panic=pause,watchdog=pause"}));
  machine.start();
  const TempDir out;
  Process watcher = watch(machine.socket(), {out.path()});
  watcher.signal(SIGUSR2);
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err,
                                    "^gcore-dump: dumped for SIGUSR2: " + *path +
                                        " \\([0-9]+ bytes, guest paused [0-9.]+ ms, done in [0-9.]+ ms\\)$"))
      << watcher.err();
}

TEST(Watching, SaysItAsJson) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-action", "panic=pause,watchdog=pause", "-name", "a\"b"}));
  machine.start();
  const TempDir out;
  Process watcher = watch(machine.socket(), {"--log-format", "json", out.path()});
  watcher.signal(SIGUSR2);
  const auto path = watcher.wait_for_line(Process::Stream::out, "gcore");
  ASSERT_TRUE(path) << watcher.err();
  const auto told = watcher.wait_for_line(Process::Stream::err, "\"dump\"");
  ASSERT_TRUE(told) << watcher.err();
  machine.process().signal(SIGKILL);
  EXPECT_EQ(watcher.wait(), kDone);
  std::istringstream lines(watcher.err());
  for (std::string one; std::getline(lines, one);) {
    auto parsed = llvm::json::parse(one);
    ASSERT_TRUE(static_cast<bool>(parsed)) << one;
    EXPECT_TRUE(parsed->getAsObject()->getString("time")) << one;
    EXPECT_TRUE(parsed->getAsObject()->getString("event")) << one;
  }
  auto parsed = llvm::json::parse(*told);
  const llvm::json::Object& dump = *parsed->getAsObject();
  EXPECT_EQ(dump.getString("path")->str(), *path);
  EXPECT_EQ(dump.getObject("reason")->getString("kind")->str(), "signal");
  EXPECT_EQ(dump.getObject("reason")->getString("detail")->str(), "SIGUSR2");
  EXPECT_EQ(static_cast<uint64_t>(dump.getInteger("bytes").value_or(0)), std::filesystem::file_size(*path));
  EXPECT_EQ(static_cast<uint64_t>(dump.getInteger("pause_ns").value_or(0)), open_dump(*path)->info().pause_ns);
  EXPECT_GE(dump.getInteger("duration_ns").value_or(0), dump.getInteger("pause_ns").value_or(1));
}

TEST(Watching, NamesAGuestThatWasLeftPaused) {
  BareMachine machine(kX86, kLoop, kShared);
  machine.start();
  const TempDir out;
  ASSERT_EQ(mkfifo(out.path("go").c_str(), 0600), 0);
  Process killed({program("gcore-dump"), "--qmp", machine.socket(), "--aside", "0",
                  "|read word < " + out.path("go") + "; cat > " + out.path("dump")});
  while (machine.runs()) ASSERT_FALSE(killed.wait(0ms));
  killed.signal(SIGKILL);
  const int go = open(out.path("go").c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(write(go, "go\n", 3), 3);
  close(go);
  EXPECT_TRUE(killed.wait());  // and the command has ended
  Process watcher = watch(machine.socket(), {out.path()});
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err,
                                    "the guest was paused before: by its user, or by a gcore-dump "
                                    "that was killed"))
      << watcher.err();
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_THAT(gcore_dump({"--qmp", machine.socket(), out.path()}).err, HasSubstr("the guest was paused before"));
  EXPECT_FALSE(machine.runs());
}

TEST(Watching, EndsWithAFailureAfterOne) {
  BareMachine machine(kX86, kLoop, kShared);
  machine.start();
  Process watcher = watch(machine.socket(), {"|exit 3"});
  watcher.signal(SIGUSR2);
  ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "gcore-dump: dump ")) << watcher.err();
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kFailed);
}

TEST(QemuActions, AreReadFromItsCommandLine) {
  using tools::qemu::what_may_be_lost;
  const auto lost = [](std::vector<std::string> words) {
    words.insert(words.begin(), "qemu");
    return what_may_be_lost(words);
  };
  EXPECT_EQ(lost({"-action", "panic=pause,watchdog=pause"}), "");
  EXPECT_EQ(lost({"-no-shutdown", "-watchdog-action", "pause"}), "");
  EXPECT_EQ(lost({"-action", "shutdown=pause", "--action", "watchdog=none"}), "");
  EXPECT_THAT(lost({}), HasSubstr("QEMU ends when this guest panics, and resets it"));
  EXPECT_THAT(lost({"-action", "panic=pause"}), testing::StartsWith("QEMU resets it when its watchdog expires"));
  EXPECT_THAT(lost({"-action", "watchdog=pause"}), testing::StartsWith("QEMU ends when this guest panics, before"));
}

// ---- QMP over TCP ----

TEST(QmpOverTcp, Works) {
  BareMachine machine(kX86, kLoop,
                      {"-m", "64M", "-chardev", "socket,id=tcp,host=127.0.0.1,port=0,server=on,wait=off", "-mon",
                       "chardev=tcp,mode=control"});
  machine.start();
  const std::string shown = machine.qmp().execute("query-chardev");  // "disconnected:tcp:127.0.0.1:40001,server=on"
  RegexMatch found;
  ASSERT_TRUE(regex_search(shown, found, Regex("tcp:127\\.0\\.0\\.1:[0-9]+"))) << shown;
  const TempDir out;
  for (const bool untraced : {false, true}) {
    const std::vector<std::string> arguments{"--qmp", found[0], out.path()};
    const Completed done = untraced ? untraced_gcore_dump(arguments) : gcore_dump(arguments);
    EXPECT_EQ(done.status, kDone) << done.err;
    const auto dump = open_dump(line(done.out));
    EXPECT_EQ(dump->cpus()[0].registers.get("rip"), 0xfff0u);
    EXPECT_GE(dump->memory_bytes(), 64u << 20);
    EXPECT_TRUE(machine.runs());
  }
}

}  // namespace
}  // namespace gcore::tests
