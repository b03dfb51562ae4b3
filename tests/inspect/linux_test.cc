// A real Linux guest: its tasks, stacks, messages and modules in text, as JSON and on the page, against what it said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "tests/inspect/sample.h"
#include "tests/reader_linux/guests.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class LinuxGuestDump : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override { oracle_ = &linux_oracle(GetParam().recipe()); }

  Completed inspect(std::vector<std::string> arguments, ExitStatus status = {0, 0}) const {
    arguments.insert(arguments.begin(), {program("gcore-inspect"), oracle_->dump()});
    Completed done = run(arguments, 120s);
    EXPECT_EQ(done.status, status) << done.err;
    return done;
  }

  const LinuxOracle* oracle_ = nullptr;
};

TEST_P(LinuxGuestDump, SummaryNamesFunctionAndTask) {
  const std::string summary = inspect({}).out;
  EXPECT_THAT(summary, ContainsRegex("\n +0 .*(\\+0x[0-9a-f]+/0x[0-9a-f]+, |user, )"));
  EXPECT_THAT(summary, ContainsRegex("\\(PID [0-9]+\\)|\\(idle\\)"));
}

TEST_P(LinuxGuestDump, TasksAreALineEach) {
  const std::string tasks = inspect({"--tasks"}).out;
  EXPECT_THAT(tasks, ContainsRegex("\n +2 +2  S +[0-3]  \\[kthreadd\\] +kthreadd\\+0x"));
  EXPECT_THAT(tasks, ContainsRegex("sleep +hrtimer_nanosleep\\+0x"));
  EXPECT_THAT(tasks, ContainsRegex("  [A-Z] +[0-3]\\*  "));  // it may be about to sleep
}

TEST_P(LinuxGuestDump, OfOneTaskEverythingIsShown) {
  const std::string tasks = inspect({"--tasks"}).out;
  RegexMatch match;
  ASSERT_TRUE(regex_search(tasks, match, Regex("\n +([0-9]+) +[0-9]+  S +[0-3]  sleep ")));
  const std::string one = inspect({"--tasks", match[1]}).out;
  for (const char* part : {"command      sleep ", "hrtimer_nanosleep+0x", "from user mode, 0x",
                           "registers in user mode", "/bin/busybox", "[stack]", "[vdso]"})
    EXPECT_THAT(one, HasSubstr(part));
  EXPECT_EQ(inspect({"--tasks", "4000000"}, {1, 0}).err,
            "gcore-inspect: show PID 4000000: the guest has no such task\n");
}

TEST_P(LinuxGuestDump, Pid0IsTheIdleTasks) {
  const std::string idle = inspect({"--tasks", "0"}).out;
  EXPECT_THAT(idle, StartsWith("swapper/0 (idle)\n"));
  EXPECT_THAT(idle, HasSubstr("\nswapper/1 (idle)\n"));
  EXPECT_THAT(inspect({"--backtrace", "--task", "0"}).out, AllOf(HasSubstr("swapper/0"), HasSubstr("  #0 ")));
}

TEST_P(LinuxGuestDump, EqualStacksArePrintedOnce) {
  const std::string stacks = inspect({"--backtrace", "--task", "all"}).out;
  EXPECT_THAT(stacks, ContainsRegex("[0-9]+ tasks: [SI] "));
  const std::string frame = "  kthreadd+0x";
  EXPECT_EQ(stacks.find(frame), stacks.rfind(frame));
  EXPECT_THAT(inspect({"--backtrace", "--task", "2"}).out, HasSubstr("S kthreadd (PID 2)"));
  EXPECT_THAT(inspect({"--backtrace", "--task", "blocked"}).out, Not(HasSubstr("kthreadd")));
}

TEST_P(LinuxGuestDump, BacktraceOfVcpusGoesDownToUserModeOrTheFirstFunction) {
  const std::string stacks = inspect({"--backtrace"}).out;
  EXPECT_THAT(stacks, HasSubstr("vCPU 0: "));
  EXPECT_THAT(stacks, HasSubstr("vCPU 1: "));
}

TEST_P(LinuxGuestDump, WrongArgumentsAreToldApart) {
  EXPECT_THAT(inspect({"--backtrace", "--task", "some"}, {2, 0}).err, HasSubstr("neither a PID, all nor blocked"));
  EXPECT_THAT(inspect({"--task", "all"}, {2, 0}).err, HasSubstr("--task needs --backtrace"));
  EXPECT_THAT(inspect({"--backtrace", "--task", "all", "--vcpu", "0"}, {2, 0}).err,
              HasSubstr("cannot be given together"));
}

TEST_P(LinuxGuestDump, JsonIsAsItsSchemaSays) {
  constexpr char kScript[] = R"(
import json, sys, jsonschema
found = json.load(sys.stdin)
for e in jsonschema.Draft202012Validator(json.load(open(sys.argv[1]))).iter_errors(found):
    print(e.json_path, e.message[:300])
linux = found['linux']
assert len(linux['tasks']) > 40 and len(linux['stacks']) > 5, (len(linux['tasks']), len(linux['stacks']))
for task in linux['tasks']:
    assert linux['stacks'][task['stack']]['frames'] or task['running_on'] is not None or task['state'] in 'ZX', task
sleeper = next(task for task in linux['tasks'] if (task['command_line'] or '').startswith('sleep '))
assert any(area['file'] == '/bin/busybox' and 'x' in area['permissions'] for area in sleeper['areas']), sleeper
assert any(area['file'] == '[stack]' for area in sleeper['areas']), sleeper
sp = int(sleeper['user_registers'].get('rsp') or sleeper['user_registers']['sp'], 16)
assert any(int(area['start'], 16) <= sp < int(area['end'], 16) for area in sleeper['areas'] if area['file'] == '[stack]'), sleeper
assert 'cr0' not in sleeper['user_registers'], sleeper
assert any(f['place'].startswith('kthreadd+0x') for s in linux['stacks'] for f in s['frames'] if f['place'])
)";
  const Completed done = inspect({"--json"});
  const Completed checked =
      run({"/usr/bin/python3", "-c", kScript, source_dir() + "/docs/inspect.schema.json"}, 60s, done.out);
  EXPECT_EQ(checked.out + checked.err, "");
}

TEST_P(LinuxGuestDump, JsonOfWhyIsAsItsSchemaSays) {
  constexpr char kScript[] = R"(
import json, sys, jsonschema
found = json.load(sys.stdin)
for e in jsonschema.Draft202012Validator(json.load(open(sys.argv[1]))).iter_errors(found):
    print(e.json_path, e.message[:300])
assert found['why']['signature'], found
)";
  const Completed done = inspect({"--json=lines", "--why"});
  EXPECT_EQ(std::ranges::count(done.out, '\n'), 1);
  const Completed checked =
      run({"/usr/bin/python3", "-c", kScript, source_dir() + "/docs/inspect-why.schema.json"}, 60s, done.out);
  EXPECT_EQ(checked.out + checked.err, "");
}

INSTANTIATE_TEST_SUITE_P(Each, LinuxGuestDump, testing::Values(kGuests[0], kGuests[3], kIsolating[0], kIsolating[1]),
                         guest_name);

class LinuxSummary : public LinuxGuestDump {
 protected:
  /// "12.34 s", "00:01:31": seconds.
  static double seconds(const std::string& text) {
    int hours = 0, minutes = 0;
    double rest = 0;
    if (std::sscanf(text.c_str(), "%d:%d:%lf", &hours, &minutes, &rest) == 3) return hours * 3600 + minutes * 60 + rest;
    return std::stod(text);
  }
};

/// The guest said both some moments before the dump: it did not run backwards, and had five minutes for its last word
/// (linux_oracle.h), else there would be no dump. In between the kernel took a new sample each five seconds, in which
/// none to all of its threads waited for a CPU.
TEST_P(LinuxSummary, SaysUptimeAndLoad) {
  const std::string summary = inspect({}).out;
  RegexMatch match;
  ASSERT_TRUE(regex_search(summary, match, Regex("\n  up +([0-9.:]+)( s)?, load (.*)\n"))) << summary;
  constexpr double kShown = 1, kTick = 1, kLastWord = 300, kStop = 60;
  const double up = seconds(match[1]), said = std::stod(oracle_->said("/proc/uptime"));
  EXPECT_GE(up + kShown + kTick, said);
  EXPECT_LE(up, said + kLastWord + kStop);

  const bool has_data_symbols = std::string(GetParam().machine) == "x86_64" || *GetParam().kernel != 0;
  if (!has_data_symbols) {  // Debian's arm64 6.1: names of functions only
    EXPECT_EQ(match[3], "not known");
    return;
  }
  double before[3], shown[3];
  int running = 0, threads = 0;
  ASSERT_EQ(std::sscanf(oracle_->said("/proc/loadavg").c_str(), "%lf %lf %lf %d/%d", &before[0], &before[1], &before[2],
                        &running, &threads),
            5);
  ASSERT_EQ(std::sscanf(match[3].c_str(), "%lf %lf %lf", &shown[0], &shown[1], &shown[2]), 3) << match[3];
  const double samples = std::max(0.0, up + kShown - said) / 5 + 2;
  constexpr double kMinutes[] = {1, 5, 15}, kRounding = 0.02;
  for (int i = 0; i < 3; ++i) {
    const double stays = std::exp(-5 * samples / (60 * kMinutes[i]));
    EXPECT_GE(shown[i], before[i] * stays - kRounding * samples) << summary;
    EXPECT_LE(shown[i], before[i] * stays + (threads + 10) * (1 - stays) + kRounding * samples) << summary;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, LinuxSummary, testing::Values(kGuests[0], kGuests[1], kGuests[2], kGuests[3]),
                         guest_name);

/// Byte by byte, tabs and lines of one message included. Others may have come after the guest printed them.
TEST(LinuxMessages, AreAsTheGuestsDmesgPrintsThem) {
  for (const Guest& kernel : {kGuests[0], kGuests[3]}) {
    const TroubleGuest guest = trouble_guest(kernel.machine, kernel.kernel);
    const std::string printed = run({program("gcore-inspect"), guest.dump("hung"), "--dmesg"}, 60s).out;
    const std::string said = guest.dmesg();
    EXPECT_THAT(said, HasSubstr("\t")) << "nothing shows that tabs are kept";
    EXPECT_EQ(printed.substr(0, said.size()), said);
  }
}

TEST(LinuxPanic, ItsLastMessageIsInTheSummary) {
  for (const char* machine : {"x86_64", "aarch64"}) {
    const TroubleGuest guest = trouble_guest(machine, "");
    const std::string panic = run({program("gcore-inspect"), guest.dump("panic")}, 60s).out;
    EXPECT_THAT(
        panic, ContainsRegex("\n  message +\\[[0-9.:]+( s)?\\] Kernel panic - not syncing: trouble: as it was told\n"));
    const std::string before = run({program("gcore-inspect"), guest.dump("mutex")}, 60s).out;
    EXPECT_THAT(before, HasSubstr("\n  up "));
    EXPECT_THAT(before, Not(HasSubstr("\n  message ")));
  }
}

TEST(NoLinuxGuest, IsSaidInOneLine) {
  for (const char* mode : {"--tasks", "--dmesg", "--modules", "--why"}) {
    const Completed done = Inspect()({"sample.gcore", mode});
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err,
                ContainsRegex("^gcore-inspect: (show the [a-z]+|say what went wrong): .*no Linux kernel was found\n$"));
  }
}

}  // namespace
}  // namespace gcore::tests
