// What can go wrong around a VMM that is dumped: commands that never end, floods of signals, a VMM that is killed,
// directories that are not what they were. The guest goes on, and whatever has a final name is whole.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "reader/dump/dump.h"
#include "tests/support/small_disk.h"
#include "tests/vmm/vmm_program.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Opens it as whoever debugs it does; fails the test when something is missing.
std::unique_ptr<reader::Dump> whole_dump(const std::string& path) {
  auto dump = reader::Dump::open(path);
  if (!dump) throw std::runtime_error(dump.error().text);
  EXPECT_FALSE((*dump)->truncated()) << path;
  EXPECT_FALSE((*dump)->cpus().empty()) << path;
  EXPECT_THAT((*dump)->info_json(), HasSubstr("\"complete\": true")) << path;
  EXPECT_THAT((*dump)->info_json(), testing::Not(HasSubstr("\"pause_ns\": 0,"))) << path;
  return std::move(*dump);
}

class VmmFaults : public VmmProgram {
 protected:
  /// One SIGUSR2, one dump that fails for this reason, and a guest that goes on.
  static void expect_failure(Process& vmm, const std::string& why) {
    vmm.signal(SIGUSR2);
    EXPECT_TRUE(vmm.wait_for_line(kErr, "^gcore-vmm: dump failed: .*" + why)) << vmm.err();
    EXPECT_TRUE(still_alive(vmm));
  }
  std::string fifo(const std::string& name) {
    const std::string path = dir_.path(name);
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  /// Lets one reader of the FIFO go on.
  static void release(const std::string& fifo) {
    const int fd = open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(write(fd, "go\n", 3), 3);
    close(fd);
  }
};

// The command's background process has the VMM's standard error: that ends only when all of the group is gone.
TEST_F(VmmFaults, ACommandThatNeverReadsIsKilledAtTheDeadline) {
  auto vmm = start(std::string(kTwoCpus) + "dump \"|sleep 1000 & sleep 1000\" deadline 0.2");
  ASSERT_TRUE(heartbeat(vmm, 0));
  expect_failure(vmm, "paused for 200 ms, the pause deadline");
  expect_failure(vmm, "paused for 200 ms, the pause deadline");
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0})) << vmm.err();
}

TEST_F(VmmFaults, TheCommandLinesLimitsCountMore) {
  auto vmm = start(kTwoCpus + ("dump " + dir_.path()) + " deadline 1000 rate 1G",
                   {"--deadline", "0.1", "--rate", "256K", "--keep-partial"});
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  const auto line = vmm.wait_for_line(kErr, "paused for 100 ms, .*; what was written until then is in .*\\.partial$");
  ASSERT_TRUE(line) << vmm.err();
  EXPECT_TRUE(still_alive(vmm));
  EXPECT_THAT(dumps(), IsEmpty());
  const auto partial = reader::Dump::open(line->substr(line->rfind(" in ") + 4));
  ASSERT_TRUE(partial) << partial.error().text;
  EXPECT_THAT((*partial)->cpus(), SizeIs(2));
}

TEST_F(VmmFaults, EndsAtOnceInMidDump) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    auto vmm = start(std::string(kTwoCpus) + "dump \"|echo begun >&2; sleep 1000\" deadline 0");
    ASSERT_TRUE(heartbeat(vmm, 0));
    vmm.signal(SIGUSR2);
    ASSERT_TRUE(vmm.wait_for_line(kErr, "^begun$")) << vmm.err();
    vmm.signal(number);
    EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0})) << number << vmm.err();
    EXPECT_THAT(vmm.err(), HasSubstr("dump failed: the dump was cancelled\n"));
  }
}

TEST_F(VmmFaults, TenThousandSignalsDuringADumpAreOneMoreDump) {
  const std::string go = fifo("go");
  auto vmm = start(kTwoCpus + ("dump \"|echo begun >&2; read go < " + go + "; exec cat > /dev/null\""));
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "^begun$")) << vmm.err();
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(vmm.signal(SIGUSR2));
  vmm.signal(SIGUSR1);  // answered when the others have been taken
  ASSERT_TRUE(vmm.wait_for_line(kErr, "status: .* 0 dumps$")) << vmm.err();
  for (int dump = 0; dump < 2; ++dump) {
    release(go);
    ASSERT_TRUE(vmm.wait_for_line(kErr, kWritten)) << vmm.err();
  }
  EXPECT_TRUE(still_alive(vmm));
  vmm.signal(SIGUSR1);
  EXPECT_TRUE(vmm.wait_for_line(kErr, "status: .* running, .* 2 dumps$")) << vmm.err();
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
  std::istringstream err(vmm.err());
  size_t begun = 0;
  for (std::string line; std::getline(err, line);) begun += line == "begun";
  EXPECT_EQ(begun, 2u) << vmm.err();
}

TEST_F(VmmFaults, KilledAtAnyMomentLeavesNothingThatIsNotWhole) {
  uint32_t seed = 11;
  unsigned finished = 0;
  for (int moment = 0; moment < 50; ++moment) {
    auto vmm = start("cpu\nram 16M\ncmdline heartbeat=1\ndump " + dir_.path());
    ASSERT_TRUE(heartbeat(vmm, 0));
    seed = seed * 1664525 + 1013904223;
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds((seed >> 8) % 25000);
    // The moment is what is tested; any will do. There is always a dump under way, or being asked for.
    do vmm.signal(SIGUSR2);
    while (std::chrono::steady_clock::now() < until);
    vmm.signal(SIGKILL);
    ASSERT_EQ(vmm.wait(), (ExitStatus{-1, SIGKILL}));
    for (const std::string& name : dumps()) {
      if (name.starts_with('.')) continue;  // what a file system without O_TMPFILE is left with
      EXPECT_EQ(whole_dump(dir_.path(name))->memory_bytes(), 16u << 20);
      std::filesystem::remove(dir_.path(name));
      ++finished;
    }
  }
  EXPECT_GT(finished, 0u) << "some dumps were quick enough";
}

TEST_F(VmmFaults, TwoVmsOfOneNameInOneSecondTakeDifferentFileNames) {
  const std::string text = "system twin\ncpu\nram 16M\ncmdline heartbeat=1\ndump " + dir_.path();
  Process vmms[] = {start(text), start(text)};
  for (Process& vmm : vmms) ASSERT_TRUE(heartbeat(vmm, 0));
  size_t count = 0;
  const auto met = [&] { return std::ranges::any_of(dumps(), [](const auto& n) { return n.ends_with("-1.gcore"); }); };
  for (int round = 0; round < 20 && !met(); ++round) {  // until both fall into one second
    for (Process& vmm : vmms) vmm.signal(SIGUSR2);
    for (Process& vmm : vmms) ASSERT_TRUE(vmm.wait_for_line(kErr, kWritten)) << vmm.err();
    count += 2;
  }
  EXPECT_TRUE(met());
  EXPECT_THAT(dumps(), SizeIs(count));
  for (const std::string& name : dumps()) {
    whole_dump(dir_.path(name));
    EXPECT_NE((vmms[0].err() + vmms[1].err()).find(dir_.path(name)), std::string::npos) << name;
  }
}

TEST_F(VmmFaults, DirectoriesThatAreGoneOrElsewhere) {
  namespace fs = std::filesystem;
  const std::string dumps = dir_.path("dumps"), elsewhere = dir_.path("elsewhere");
  fs::create_directory(dumps);
  fs::create_directory(elsewhere);
  auto vmm = start(kTwoCpus + ("dump " + dumps));
  ASSERT_TRUE(heartbeat(vmm, 0));
  fs::remove(dumps);
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "made the dump directory '" + dumps)) << vmm.err();
  ASSERT_TRUE(vmm.wait_for_line(kErr, kWritten)) << vmm.err();
  fs::remove_all(dumps);
  dir_.write("dumps", "a file");
  expect_failure(vmm, dumps + "'.*Not a directory");
  fs::remove(dumps);
  fs::create_directory_symlink(dir_.path("nowhere"), dumps);
  expect_failure(vmm, dumps + "'.*No such file or directory");
  fs::remove(dumps);
  fs::create_directory_symlink(elsewhere, dumps);  // whoever may do that says where dumps go
  vmm.signal(SIGUSR2);
  const auto line = vmm.wait_for_line(kErr, kWritten);
  ASSERT_TRUE(line) << vmm.err();
  const fs::path written = std::ranges::min(fs::directory_iterator(elsewhere), {}, [](auto& f) { return f.path(); });
  EXPECT_THAT(*line, HasSubstr(dumps + "/" + written.filename().string()));
  whole_dump(written);
  EXPECT_TRUE(still_alive(vmm));
}

TEST_F(VmmFaults, ADirectoryThatCannotBeWrittenIsRefusedAtStart) {
  SmallDisk disk("1m");
  disk.make_read_only();
  const Completed done = run({program("gcore-vmm"), config("dump " + disk.directory().path())});
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_EQ(done.err, "gcore-vmm: preparing dumps: the dump directory '" + disk.directory().path() +
                          "': Read-only file system\n");
}

TEST_F(VmmFaults, ADirectoryThatBecomesReadOnly) {
  SmallDisk disk("64m");
  auto vmm = start(kTwoCpus + ("dump " + disk.directory().path()));
  ASSERT_TRUE(heartbeat(vmm, 0));
  disk.make_read_only();
  expect_failure(vmm, "Read-only file system");
  EXPECT_THAT(disk.directory().entries(), IsEmpty());
}

TEST_F(VmmFaults, ADiskThatIsTooSmallStaysAsItWas) {
  const SmallDisk disk("64k");
  auto vmm = start(kTwoCpus + ("dump " + disk.directory().path()));
  ASSERT_TRUE(heartbeat(vmm, 0));
  expect_failure(vmm, "(it needs [0-9]+ bytes, [0-9]+ are free|No space left)");
  EXPECT_THAT(disk.directory().entries(), IsEmpty());
}

TEST_F(VmmFaults, AllTenNamesTaken) {
  auto vmm = start("system full\ncpu\ncpu\nram 16M\ncmdline heartbeat=5\ndump " + dir_.path());
  ASSERT_TRUE(heartbeat(vmm, 0));
  const time_t now = time(nullptr);
  for (time_t second = now; second < now + 30; ++second) {  // whichever it is when the signal comes
    char stamp[32];
    std::tm parts{};
    strftime(stamp, sizeof stamp, "full-%Y%m%d-%H%M%S", localtime_r(&second, &parts));
    dir_.write(std::string(stamp) + ".gcore", "");
    for (int n = 1; n < 10; ++n) dir_.write(std::string(stamp) + "-" + std::to_string(n) + ".gcore", "");
  }
  expect_failure(vmm, "the names with -1 to -9 are taken too.*File exists");
  EXPECT_THAT(dumps(), SizeIs(300));
}

// ---- watchdogs: each device with each of its actions ----

struct WatchdogCase {
  const char *name, *arch, *device, *action;
  bool dumps, terminates;
};

class VmmWatchdog : public VmmProgram, public testing::WithParamInterface<WatchdogCase> {};

TEST_P(VmmWatchdog, ExpiresWhenTheGuestStopsKickingAndActs) {
  const auto& [name, arch, device, action, dumps_wanted, terminates] = GetParam();
  auto vmm = start("system hung\narch " + std::string(arch) + "\ncpu\nram 16M\ncmdline \"heartbeat=1 hang-after=2\"\n" +
                   "vdev " + device + " action " + action + "\ndump " + dir_.path());
  if (device == std::string("wdt-sp805")) {
    EXPECT_TRUE(vmm.wait_for_line(kErr, "^gcore-vmm: watchdog wdt-sp805 counted down once;"));
  }
  ASSERT_TRUE(vmm.wait_for_line(kErr, "^gcore-vmm: watchdog " + std::string(device) + " expired$")) << vmm.err();
  if (dumps_wanted) {
    ASSERT_TRUE(vmm.wait_for_line(kErr, "dump written: .*/hung-")) << vmm.err();
    ASSERT_THAT(dumps(), SizeIs(1));
    const auto dump = whole_dump(dir_.path(dumps()[0]));
    EXPECT_EQ(dump->signal(), 6);
    EXPECT_THAT(dump->info_json(), HasSubstr("\"watchdog\""));
    EXPECT_THAT(dump->info_json(), HasSubstr("\"" + std::string(device) + "\""));
  } else {
    EXPECT_THAT(dumps(), IsEmpty());
  }
  if (terminates) {
    EXPECT_TRUE(vmm.wait_for_line(kErr, "running the guest: terminated by its watchdog"));
    EXPECT_EQ(vmm.wait(), (ExitStatus{1, 0}));
  } else {
    EXPECT_TRUE(heartbeat(vmm, 0) && heartbeat(vmm, 0));
    vmm.signal(SIGTERM);
    EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Each, VmmWatchdog,
    testing::Values(WatchdogCase{"Ib700Dump", "x86_64", "wdt-ib700", "dump", true, false},
                    WatchdogCase{"Ib700Terminate", "x86_64", "wdt-ib700", "terminate", false, true},
                    WatchdogCase{"Ib700DumpTerminate", "x86_64", "wdt-ib700", "dump,terminate", true, true},
                    WatchdogCase{"Sp805Dump", "aarch64", "wdt-sp805", "dump", true, false},
                    WatchdogCase{"Sp805Terminate", "aarch64", "wdt-sp805", "terminate", false, true},
                    WatchdogCase{"Sp805DumpTerminate", "aarch64", "wdt-sp805", "terminate,dump", true, true}),
    [](const auto& one) { return std::string(one.param.name); });

TEST_F(VmmFaults, AWatchdogWhoseDumpHangsStillTerminates) {
  auto vmm = start(
      "cpu\nram 16M\ncmdline \"heartbeat=1 hang-after=2\"\nvdev wdt-ib700 action dump,terminate\n"
      "dump \"|sleep 1000\" deadline 0.2");
  EXPECT_TRUE(vmm.wait_for_line(kErr, "dump failed: .*pause deadline")) << vmm.err();
  EXPECT_EQ(vmm.wait(), (ExitStatus{1, 0})) << vmm.err();
}

}  // namespace
}  // namespace gcore::tests
