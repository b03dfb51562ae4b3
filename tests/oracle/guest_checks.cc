#include "tests/oracle/guest_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/regex.h"
#include "tests/support/vcpu_states.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines_of(std::string text) {
  std::erase(text, '\r');
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string inspect(const std::string& dump, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {program("gcore-inspect"), dump});
  const Completed done = run(arguments, 120s);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << arguments[2] << ": " << done.err;
  return done.out;
}

/// "PID name" of each process that the guest's ps showed; itself, which comes last, left out.
std::vector<std::string> processes_by_ps(const StoppedGuest& guest) {
  const Regex process(" *([0-9]+) (\\S{1,15})(?: .*)?");
  std::vector<std::string> processes;
  RegexMatch match;
  for (const std::string& line : lines_of(guest.said_by_ps()))
    if (regex_match(line, match, process) && !match[2].starts_with("kworker"))
      processes.push_back(match[1] + " " + match[2]);
  if (!processes.empty()) processes.pop_back();
  return processes;
}

std::vector<std::string> processes_by_inspect(const std::string& tasks) {
  const Regex process("^ +[0-9]+ +([0-9]+)  . +\\S+  \\[?(.{1,17}?)\\]?(?: .*)?$");
  std::vector<std::string> processes;
  RegexMatch match;
  for (const std::string& line : lines_of(tasks))
    if (regex_match(line, match, process)) processes.push_back(match[1] + " " + match[2]);
  return processes;
}

}  // namespace

void check_what_the_guest_does(StoppedGuest& guest) {
  const auto states = vcpu_states_by_qemu(guest.guest(), guest.cpus());
  const auto is_user = [](const std::string& state) { return state.starts_with("user"); };
  const auto in_user_mode = std::ranges::count_if(states, is_user);
  ASSERT_GE(in_user_mode, 1);
  const auto processes = processes_by_ps(guest);
  ASSERT_THAT(processes, testing::Contains("1 init"));
  for (const std::string& path : {guest.qnx_path(), guest.vmcore_path()}) {
    SCOPED_TRACE(path);
    const std::string tasks = inspect(path, {"--tasks"});
    const auto lines = lines_of(tasks);
    const auto found = processes_by_inspect(tasks);
    for (const std::string& process : processes) EXPECT_THAT(found, testing::Contains(process));
    const Regex runs("^ +[0-9]+ +[0-9]+  . +[0-9]+\\*  .*"), runs_user("^ +[0-9]+ +[0-9]+  R +[0-9]+\\*  .* user mode");
    EXPECT_EQ(std::ranges::count_if(lines, [&](const auto& line) { return regex_match(line, runs); }),
              static_cast<ptrdiff_t>(guest.cpus()));
    EXPECT_EQ(std::ranges::count_if(lines, [&](const auto& line) { return regex_match(line, runs_user); }),
              in_user_mode)
        << tasks;

    EXPECT_THAT(inspect(path, {"--backtrace", "--task", "all"}), Not(HasSubstr("no further: "))) << "it is incomplete";

    const std::string messages = inspect(path, {"--dmesg"});
    const auto printed = lines_of(messages);
    const auto console = lines_of(guest.guest().console());
    size_t compared = 0;
    for (const std::string& line : console) {
      if (line.find("Run /init as init process") != std::string::npos) break;  // then others write there, too
      if (!line.starts_with("[")) continue;
      EXPECT_THAT(printed, testing::Contains(line));
      ++compared;
    }
    EXPECT_GT(compared, 100U);

    const std::string why = inspect(path, {"--why"});
    EXPECT_THAT(why, testing::ContainsRegex("\nsignature: [a-z0-9-]+\n"));
    EXPECT_THAT(why, Not(HasSubstr("all vCPUs are idle")));
    for (size_t cpu = 0; cpu < guest.cpus(); ++cpu)
      if (is_user(states[cpu])) {
        EXPECT_THAT(why, testing::ContainsRegex("\nvCPU " + std::to_string(cpu) +
                                                ": (init|busybox) \\(PID [0-9]+\\) in user mode"));
      }
  }
}

}  // namespace gcore::tests
