// What gdb is told of a Linux guest in trouble, by the monitor and by the helper's commands: what gcore-inspect prints
// of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream from(text);
  for (std::string line; std::getline(from, line);) lines.push_back(line);
  return lines;
}

/// "PID TID state CPU name, and where it waits" of each task: `ps` has a parent too, and --tasks the vCPUs' idle tasks,
/// and a * where a task runs.
std::vector<std::string> tasks_in(const std::string& text, const Regex& line_of_task, const std::string& format) {
  std::vector<std::string> tasks;
  for (const std::string& line : lines_of(text)) {
    RegexMatch match;
    if (regex_search(line, match, line_of_task)) tasks.push_back(match.format(format));
  }
  return tasks;
}
std::vector<std::string> tasks_of_ps(const std::string& text) {
  return tasks_in(text, Regex("^ *([0-9]+) +([0-9]+) +([0-9]+) (\\S) +([0-9]+) (\\S.{0,16}) *(.*)$"),
                  "$2 $1 $4 $5 $6 $7");
}
std::vector<std::string> tasks_of_inspect(const std::string& text) {
  auto tasks =
      tasks_in(text, Regex("^ *([0-9]+) +([0-9]+)  (\\S) +([0-9]+)[* ] ? (\\S.{0,16}) *(.*)$"), "$1 $2 $3 $4 $5 $6");
  std::erase_if(tasks, [](const std::string& task) { return task.starts_with("0 0 "); });
  return tasks;
}

/// "#0 0x... name+0x1/0x2" of each frame.
std::vector<std::string> frames_in(const std::string& text) {
  std::vector<std::string> frames;
  for (const std::string& line : lines_of(text)) {
    RegexMatch match;
    if (regex_search(line, match, Regex("^ *(#[0-9]+) +(0x[0-9a-f]+) +(.*)$")))
      frames.push_back(match.format("$1 $2 $3"));
  }
  return frames;
}
/// "400000-401000 r-xp /bin/busybox" of each range of an address space.
std::vector<std::string> areas_in(const std::string& text) {
  std::vector<std::string> areas;
  for (const std::string& line : lines_of(text)) {
    RegexMatch match;
    if (regex_search(line, match, Regex("^ *0*([0-9a-f]+)-0*([0-9a-f]+) ([-rwxsp]{4}) (?:[0-9a-f]{8,}  )?(.*)$")))
      areas.push_back(match.format("$1-$2 $3 $4"));
  }
  return areas;
}

std::string only_match(const std::string& text, const std::string& expression) {
  RegexMatch match;
  return regex_search(text, match, Regex(expression)) ? match[1] : "(none)";
}

TEST(LinuxMonitor, SaysWhatInspectPrints) {
  const std::string dump = trouble_guest("x86_64", "").dump("mutex");
  const auto inspect = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program("gcore-inspect"), dump});
    const Completed done = run(arguments, 60s);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    return done.out;
  };
  const std::string tasks = inspect({"--tasks"});
  const std::string pid = only_match(tasks, "\n +([0-9]+) +[0-9]+  D .*mutex-one");
  ASSERT_NE(pid, "(none)") << tasks;

  const auto gdb = run_gdb({"source " + build_dir() + "/share/gcore/gdb/guest.py", "guest open " + dump, "monitor ps",
                            "monitor dmesg", "monitor kprintf", "monitor why", "monitor bt " + pid,
                            "monitor task " + pid, "monitor task 1", "guest tasks", "guest tasks " + pid, "guest dmesg",
                            "guest why", "monitor bt 4000000", "monitor task", "guest tasks 4000000"});
  ASSERT_EQ(gdb.of.size(), 16u) << gdb.output;
  const auto& [ps, dmesg, kprintf, why, bt] = std::tie(gdb.of[2], gdb.of[3], gdb.of[4], gdb.of[5], gdb.of[6]);

  EXPECT_EQ(tasks_of_ps(ps), tasks_of_inspect(tasks));
  EXPECT_GT(tasks_of_ps(ps).size(), 40u);
  const auto in_user_mode = [](const std::string& list) {
    return std::ranges::count_if(lines_of(list), [](const std::string& line) { return line.ends_with(" user mode"); });
  };
  EXPECT_EQ(in_user_mode(ps), in_user_mode(tasks));
  EXPECT_THAT(ps,
              ContainsRegex("\\[mutex-one\\] +trouble_first_then_second\\+0x[0-9a-f]+/0x[0-9a-f]+ \\[trouble\\]\n"));
  EXPECT_EQ(dmesg, inspect({"--dmesg"}));
  EXPECT_EQ(kprintf, dmesg);
  EXPECT_THAT(dmesg, HasSubstr("trouble-made mutex\n"));
  EXPECT_EQ(why, inspect({"--why"}));
  EXPECT_THAT(why, HasSubstr("deadlock: mutex-one (PID " + pid + ")"));

  const auto frames = frames_in(bt);
  EXPECT_EQ(frames, frames_in(inspect({"--backtrace", "--task", pid})));
  EXPECT_THAT(frames, Contains(HasSubstr(" trouble_first_then_second+0x")));
  for (const auto& [text, of] : {std::pair{gdb.of[7], pid}, std::pair{gdb.of[8], std::string("1")}}) {
    const std::string all = inspect({"--tasks", of});
    EXPECT_EQ(frames_in(text), frames_in(all));
    EXPECT_EQ(areas_in(text), areas_in(all));
    EXPECT_EQ(only_match(text, "task_struct: (0x[0-9a-f]+)"), only_match(all, "task_struct +(0x[0-9a-f]+)"));
    EXPECT_EQ(only_match(text, "page tables: (0x[0-9a-f]+)"), only_match(all, "page tables .*(0x[0-9a-f]+)"));
    EXPECT_EQ(only_match(text, "command line: (.*)"), only_match(all, "command +(.*)"));
  }
  EXPECT_THAT(areas_in(gdb.of[7]), IsEmpty()) << "a kernel thread has no memory of its own";
  EXPECT_THAT(areas_in(gdb.of[8]), Contains(testing::EndsWith(" /bin/busybox")));

  EXPECT_EQ(gdb.of[9], ps);
  EXPECT_EQ(gdb.of[10], gdb.of[7]);
  EXPECT_EQ(gdb.of[11], dmesg);
  EXPECT_EQ(gdb.of[12], why);
  EXPECT_THAT(gdb.of[13], HasSubstr("the guest has no task with PID 4000000"));
  EXPECT_THAT(gdb.of[14], HasSubstr("say the PID of a task, as ps shows it"));
  EXPECT_THAT(gdb.of[15], HasSubstr("the guest has no task with PID 4000000"));
}

}  // namespace
}  // namespace gcore::tests
