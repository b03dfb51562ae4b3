// The first screen of README.md: what it says that the program prints about a hung guest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

/// Without what differs from boot to boot, and what the README leaves out: addresses and how long a task has waited.
std::string without_numbers(std::string text) {
  text = regex_replace(text, Regex("PID [0-9]+"), "PID N");
  text = regex_replace(text, Regex(" \\(0x[0-9a-f]+\\)"), "");
  return regex_replace(text, Regex(", for [0-9.]+ s"), "");
}

TEST(Readme, ShowsWhatTheProgramPrintsAboutAHungGuest) {
  const std::string readme = read_file(source_dir() + "/README.md"), command = "$ gcore-inspect vm.gcore --why\n";
  const size_t start = readme.find(command);
  ASSERT_NE(start, std::string::npos);
  EXPECT_LT(std::ranges::count(readme.substr(0, start), '\n'), 40) << "it is on the first screen";
  const size_t from = start + command.size();
  const std::string shown = readme.substr(from, readme.find("```", from) - from);
  const Completed done = run({program("gcore-inspect"), trouble_guest("x86_64", "").dump("mutex"), "--why"}, 60s);
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  const std::string printed = without_numbers(done.out);
  size_t at = 0;
  std::istringstream lines(shown);
  for (std::string line; std::getline(lines, line);) {
    if (line == "...") continue;  // what it leaves out
    const size_t found = printed.find(without_numbers(line) + "\n", at);
    ASSERT_NE(found, std::string::npos) << line << "\nis not in, or not in that order:\n" << printed;
    at = found;
  }
}

// The picture below it: what went wrong is the first thing on the page, on a telephone too.
TEST(Readme, ThePageBeginsWithWhatWentWrong) {
  const TempDir folder;
  const std::string page = folder.path("vm.html");
  const Completed made =
      run({program("gcore-inspect"), trouble_guest("x86_64", "").dump("mutex"), "--html", page}, 60s);
  ASSERT_EQ(made.status, (ExitStatus{0, 0})) << made.err;
  const Completed seen =
      run({"python3", source_dir() + "/tests/inspect/browser.py", page, "size=390x844",
           "eval='W' + (document.documentElement.scrollWidth <= 390)", "eval=document.querySelector('h2').textContent",
           "eval=document.querySelector('.finding h3').textContent",
           // A task that it names leads to its row and its stack.
           "click=.involved a", "eval='S' + document.querySelector('tr:target details').textContent",
           // Which is as wide as the screen.
           "eval='L' + (document.querySelector('tr:target li').clientWidth > 300)",
           // Search finds a word of a message and of a stack; the table sorts.
           "key=/", "type=trouble_first_then_second", "eval='R' + document.querySelector('#results').textContent",
           "click=#task-table th:nth-child(5) button", "click=#task-table th:nth-child(5) button",
           "eval='N' + document.querySelector('#task-table tbody tr').cells[4].textContent"},
          110s);
  EXPECT_THAT(seen.out, testing::HasSubstr("\"errors\": []"));
  EXPECT_THAT(seen.out, testing::HasSubstr("Wtrue"));
  EXPECT_THAT(seen.out, testing::HasSubstr("What went wrong"));
  EXPECT_THAT(seen.out, testing::ContainsRegex("deadlock mutex-one \\(PID [0-9]+\\) and mutex-two"));
  EXPECT_THAT(seen.out, testing::ContainsRegex("\"S[^\"]*trouble_first_then_second"));
  EXPECT_THAT(seen.out, testing::HasSubstr("Ltrue"));
  EXPECT_THAT(seen.out, testing::ContainsRegex("\"R[^\"]*stack of [^\"]*mutex-one"));
  EXPECT_THAT(seen.out, testing::ContainsRegex("\"N[a-z]"));
}

}  // namespace
}  // namespace gcore::tests
