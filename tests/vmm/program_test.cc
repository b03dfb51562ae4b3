// The program as users run it: signals in, lines and files out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/vmm/vmm_program.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

TEST_F(VmmProgram, DumpsOnSigusr2AndGoesOn) {
  auto vmm = start(kTwoCpus + ("dump " + dir_.path()), {"--pid-file", dir_.path("pid")});
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  const auto first = vmm.wait_for_line(kErr, kWritten);
  ASSERT_TRUE(first) << vmm.err();
  vmm.signal(SIGUSR2);
  const auto second = vmm.wait_for_line(kErr, kWritten);
  ASSERT_TRUE(second) << vmm.err();
  EXPECT_NE(*first, *second);
  ASSERT_EQ(dumps().size(), 2u);
  for (const std::string& name : dumps()) {
    EXPECT_THAT(name, MatchesRegex("qvm-guest-[0-9]{8}-[0-9]{6}(-[1-9])?\\.gcore"));
    EXPECT_THAT(read_file(dir_.path(name)).substr(0, 4), "\177ELF");
    EXPECT_THAT(vmm.err(), HasSubstr(dir_.path(name)));
  }
  EXPECT_TRUE(still_alive(vmm));
  EXPECT_EQ(read_file(dir_.path("pid")), std::to_string(vmm.pid()) + "\n");
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
  EXPECT_THAT(dir_.entries(), testing::Not(testing::Contains("pid")));
}

TEST_F(VmmProgram, RunsItsGuestOnAsManyVcpusAsThereCanBe) {
  for (const std::string arch : {"x86_64", "aarch64"}) {
    SCOPED_TRACE(arch);
    std::string config = "arch " + arch + "\nram 16M\n";
    for (int cpu = 0; cpu < 64; ++cpu) config += "cpu\n";
    auto vmm = start(config);
    for (const unsigned cpu : {0u, 31u, 33u, 63u}) ASSERT_TRUE(heartbeat(vmm, cpu)) << cpu << ": " << vmm.err();
    EXPECT_THAT(vmm.err(), testing::Not(HasSubstr("stopped"))) << vmm.err();
  }
}

TEST_F(VmmProgram, NamesDumpsAfterTheSystem) {
  auto vmm = start("system qnx7\ncpu\nram 16M\ndump \"" + dir_.path() + "\"");
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "dump written: .*/qnx7-[0-9]{8}-[0-9]{6}\\.gcore")) << vmm.err();
}

TEST_F(VmmProgram, PipesTheDumpToACommand) {
  const std::string file = dir_.path("dump of it.gz");
  auto vmm = start(kTwoCpus + ("dump \"|gzip -1 -c > '" + file + "'\""));
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "dump written: \\|gzip")) << vmm.err();
  const Completed unpacked = run({"sh", "-c", "gzip -dc '" + file + "' | head -c 4"});
  EXPECT_EQ(unpacked.out, "\177ELF");
  EXPECT_EQ(run({"gzip", "-t", file}).status, (ExitStatus{0, 0}));
  EXPECT_TRUE(still_alive(vmm));
}

TEST_F(VmmProgram, TellsWhenTheCommandFailsAndGoesOn) {
  auto vmm = start(std::string(kTwoCpus) + "dump \"|exit 3\"");
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "^gcore-vmm: dump failed: .*")) << vmm.err();
  EXPECT_TRUE(still_alive(vmm));
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
}

TEST_F(VmmProgram, TellsWhenThereIsNoDumpLine) {
  auto vmm = start(kTwoCpus);
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  EXPECT_TRUE(vmm.wait_for_line(kErr, "^gcore-vmm: dump failed: the configuration has no 'dump' line$")) << vmm.err();
  EXPECT_TRUE(still_alive(vmm));
}

TEST_F(VmmProgram, PrintsItsStatusOnSigusr1) {
  auto vmm = start(std::string("system box\n") + kTwoCpus);
  ASSERT_TRUE(heartbeat(vmm, 1));
  vmm.signal(SIGUSR1);
  EXPECT_TRUE(vmm.wait_for_line(kErr,
                                "^gcore-vmm: status: box: running, 2 vCPUs \\(running, running\\), RAM 64.0 MiB, "
                                "[0-9]+ console lines, up [0-9]+ s, 0 dumps$"))
      << vmm.err();
  vmm.signal(SIGINT);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
}

TEST_F(VmmProgram, ConsoleLinesOfVcpusDoNotMix) {
  auto vmm = start("cpu\ncpu\nram 16M\ncmdline \"busy heartbeat=3\"");
  ASSERT_TRUE(vmm.wait_for_line(kOut, "cpu 0: heartbeat 200 "));
  ASSERT_TRUE(vmm.wait_for_line(kOut, "cpu 1: heartbeat"));
  vmm.signal(SIGTERM);
  ASSERT_EQ(vmm.wait(), (ExitStatus{0, 0}));
  std::istringstream text(vmm.out());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_GT(lines.size(), 200u);
  lines.resize(lines.size() - 2);  // the end of the VM may cut the last line of each vCPU short
  for (const std::string& line : lines)
    EXPECT_THAT(line, MatchesRegex("cpu [01]: heartbeat [0-9]+ (scheduler|logger)|gcore built-in guest, vCPUs: 2"));
}

TEST_F(VmmProgram, EndsDuringADumpThatHangs) {
  auto vmm = start(std::string(kTwoCpus) + "dump \"|sleep 1000\"");
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  vmm.signal(SIGUSR1);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "status:"));
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0})) << vmm.err();
}

TEST_F(VmmProgram, DemoNeedsNoConfiguration) {
  Process vmm(
      {program("gcore-vmm"), "--demo"},
      Process::Options{.directory = dir_.path(), .environment = {}, .pipe_stdin = false, .merge_stderr = false});
  ASSERT_TRUE(heartbeat(vmm, 1));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, kWritten)) << vmm.err();
  EXPECT_EQ(dumps().size(), 1u);
}

TEST_F(VmmProgram, WritesTheOtherDialectAndCompressed) {
  auto vmm = start("cpu\nram 16M\ndump " + dir_.path(), {"--dialect", "vmcore", "--compress", "gzip"});
  ASSERT_TRUE(heartbeat(vmm, 0));
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "dump written: .*\\.gcore\\.gz")) << vmm.err();
}

TEST_F(VmmProgram, MakesTheLastComponentOfAMissingDirectoryAndSaysSo) {
  const std::string dumps = dir_.path("dumps");
  auto vmm = start("cpu\nram 16M\ndump " + dumps);
  ASSERT_TRUE(heartbeat(vmm, 0));
  EXPECT_EQ(vmm.err(), "gcore-vmm: made the dump directory '" + dumps + "' (mode 0700)\n");
  EXPECT_EQ(std::filesystem::status(dumps).permissions(), std::filesystem::perms::owner_all);
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "dump written: " + dumps + "/")) << vmm.err();
}

TEST_F(VmmProgram, DumpsLive) {
  auto vmm = start(kTwoCpus + ("dump " + dir_.path() + " live deadline 60"));
  ASSERT_TRUE(heartbeat(vmm, 0));
  for (int i = 0; i < 3; ++i) {
    vmm.signal(SIGUSR2);
    ASSERT_TRUE(vmm.wait_for_line(kErr, kWritten)) << vmm.err();
    ASSERT_TRUE(heartbeat(vmm, 0));
    ASSERT_TRUE(heartbeat(vmm, 1));
  }
  EXPECT_THAT(vmm.err(), testing::Not(HasSubstr("was paused while"))) << "it had what it takes";
  for (const std::string& name : dumps())
    EXPECT_THAT(read_file(dir_.path(name)), HasSubstr("\"consistency\": \"snapshot\""));
  EXPECT_EQ(dumps().size(), 3u);
}

struct StartError {
  const char *config, *message;
  int status;
};

TEST_F(VmmProgram, RefusesToStartInOneLine) {
  const StartError errors[] = {
      {"dump /nowhere/at/all",
       "gcore-vmm: preparing dumps: the dump directory '/nowhere/at/all': No such file or directory; make it with "
       "mkdir "
       "-p\n",
       1},
      {"dump /dev/null", "gcore-vmm: preparing dumps: the dump directory '/dev/null': Not a directory\n", 1},
      {"ram 8M", "16M or more", 1},
      {"load /nowhere/x", "gcore-vmm: starting the VM: /nowhere/x: No such file or directory\n", 1},
      {"cpu\ncpu\nrma 1G", "vm.conf:3: unknown option 'rma', did you mean 'ram'?\n", 1},
  };
  for (const StartError& error : errors) {
    const Completed result = run({program("gcore-vmm"), config(error.config)});
    EXPECT_EQ(result.status, (ExitStatus{error.status, 0})) << error.config;
    EXPECT_THAT(result.err, HasSubstr(error.message));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(VmmProgram, WrongUsageExitsWith2) {
  const std::string vmm = program("gcore-vmm");
  for (const std::vector<std::string>& argv : {std::vector<std::string>{vmm},
                                               {vmm, "--demo", "x"},
                                               {vmm, "a", "b"},
                                               {vmm, "--demo", "--dialect", "elf"},
                                               {vmm, "--demo", "--compress", "lz4"},
                                               {vmm, "--nonsense"}}) {
    const Completed result = run(argv);
    EXPECT_EQ(result.status, (ExitStatus{2, 0})) << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
  EXPECT_EQ(run({vmm, "--help"}).status, (ExitStatus{0, 0}));
  EXPECT_THAT(run({vmm, "--version"}).out, HasSubstr("gcore-vmm"));
}

}  // namespace
}  // namespace gcore::tests
