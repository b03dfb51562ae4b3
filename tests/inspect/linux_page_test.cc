// The page of a Linux guest that hangs, in a real browser: its tasks, messages and line of time against the text modes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "tests/inspect/visit.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct TaskRow {
  std::string pid, tid, state, cpu, name, where;
  std::string text() const {
    std::string all = pid;
    for (const std::string& cell : {tid, state, cpu, name, where}) all += "|" + cell;
    return all + "\n";
  }
};

std::string inspect(const std::string& dump, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {program("gcore-inspect"), dump});
  const Completed done = run(arguments, 60s);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  return done.out;
}

/// As --tasks has them, without the vCPUs' idle tasks, which the page does not list.
std::vector<TaskRow> tasks_of(const std::string& dump) {
  std::vector<TaskRow> tasks;
  std::istringstream lines(inspect(dump, {"--tasks"}));
  const Regex task("^ *([0-9]+) +([0-9]+)  (\\S) +([0-9]+\\*?)  (\\S.{0,17})(.*)$");
  for (std::string line; std::getline(lines, line);) {
    RegexMatch match;
    if (!regex_match(line, match, task) || match[1] == "0") continue;
    const auto trimmed = [](std::string text) {
      text.erase(text.find_last_not_of(' ') + 1);
      return text.substr(std::min(text.find_first_not_of(' '), text.size()));
    };
    tasks.push_back({match[1], match[2], match[3], match[4], trimmed(match[5]), trimmed(match[6])});
  }
  return tasks;
}
template <class Keep>
std::string rows_text(const std::vector<TaskRow>& tasks, Keep keep) {
  std::string text;
  for (const TaskRow& task : tasks)
    if (keep(task)) text += task.text();
  return text;
}

const std::string kShownTasks =
    "eval=[...document.querySelectorAll('#task-table tbody tr:not([hidden])')].map(row => "
    "[0, 1, 2, 3, 4].map(n => row.cells[n].textContent).concat(row.querySelector('summary').textContent).join('|') + "
    "'\\n').join('')";
const std::string kCount = "eval=document.querySelector('#task-count').textContent";
std::string column_head(int number) { return "click=#task-table th:nth-child(" + std::to_string(number) + ") button"; }
std::string column(int number) {
  return "eval=[...document.querySelectorAll('#task-table tbody tr')].map(row => row.cells[" +
         std::to_string(number - 1) + "].textContent + '\\n').join('')";
}
std::string set_value(const std::string& element, const std::string& value, const std::string& event) {
  return "eval=(() => { const e = document.querySelector('" + element + "'); e.value = '" + value +
         "'; e.dispatchEvent(new Event('" + event + "', {bubbles: true})); return ''; })()";
}
const std::string kShownMessages =
    "eval=[...document.querySelectorAll('#message-table tr:not([hidden])')].map(row => row.cells[2].textContent + "
    "'\\n').join('')";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream from(text);
  for (std::string line; std::getline(from, line);) lines.push_back(line);
  return lines;
}

struct LinuxGuestPage : testing::Test {
  Visit visit(const std::vector<std::string>& steps) const { return {page, steps}; }
  static std::string made(const TempDir& folder, const std::string& dump) {
    inspect(dump, {"--html", folder.path("vm.html")});
    return folder.path("vm.html");
  }

  TempDir folder;
  std::string dump = trouble_guest("x86_64", "").dump("hung");
  std::string page = made(folder, dump);
};

TEST_F(LinuxGuestPage, TasksAreThoseOfTheTextAndCanBeFilteredAndSorted) {
  const auto tasks = tasks_of(dump);
  ASSERT_GT(tasks.size(), 40u);
  const Visit seen =
      visit({"size=1200x900", kShownTasks,
             // By name, by place, by state, and by two of these.
             "click=#task-filter", "type=MUTEX-", kShownTasks, kCount,
             set_value("#task-filter", "trouble_reads", "input"), kShownTasks, set_value("#task-filter", "", "input"),
             "click=button.state[data-state=\"D\"]", kShownTasks, set_value("#task-filter", "rwsem-", "input"),
             kShownTasks, "click=button.state[data-state=\"D\"]", set_value("#task-filter", "no such task", "input"),
             kShownTasks, kCount, set_value("#task-filter", "", "input"), kShownTasks,
             // Up, and down.
             column_head(2), column(2), column_head(2), column(2), column_head(5), column(5),
             "eval=document.querySelectorAll('#task-table th[aria-sort]').length", kCount});
  const auto shown = [&](auto keep) { return rows_text(tasks, keep); };
  const std::string all = shown([](const TaskRow&) { return true; });
  EXPECT_EQ(seen.text(0), all);
  const auto starts = [](const char* start) {
    return [=](const TaskRow& task) { return task.name.starts_with(start); };
  };
  EXPECT_EQ(seen.text(1), shown(starts("[mutex-")));
  EXPECT_EQ(std::ranges::count(seen.text(1), '\n'), 3);
  EXPECT_EQ(seen.text(2), "3 of " + std::to_string(tasks.size()));
  EXPECT_EQ(seen.text(4),
            shown([](const TaskRow& task) { return task.where.find("trouble_reads") != task.where.npos; }));
  EXPECT_THAT(seen.text(4), HasSubstr("[held-reader]"));
  EXPECT_EQ(seen.text(6), shown([](const TaskRow& task) { return task.state == "D"; }));
  EXPECT_THAT(seen.text(6), AllOf(HasSubstr("[mutex-three]"), Not(HasSubstr("kthreadd"))));
  EXPECT_EQ(seen.text(8), shown([&](const TaskRow& task) { return task.state == "D" && starts("[rwsem-")(task); }));
  EXPECT_EQ(seen.text(10), "");
  EXPECT_EQ(seen.text(11), "0 of " + std::to_string(tasks.size()));
  EXPECT_EQ(seen.text(13), all);

  std::vector<int> tids;
  for (const TaskRow& task : tasks) tids.push_back(std::stoi(task.tid));
  const auto text = [&] {
    std::string lines;
    for (const int tid : tids) lines += std::to_string(tid) + "\n";
    return lines;
  };
  std::ranges::sort(tids);
  EXPECT_EQ(seen.text(14), text());
  std::ranges::reverse(tids);
  EXPECT_EQ(seen.text(15), text());
  // Whatever the order of letters is: equal names stand together, and all are there.
  std::vector<std::string> names = lines_of(seen.text(16)), expected;
  for (const TaskRow& task : tasks) expected.push_back(task.name);
  std::vector<std::string> runs = names;
  runs.erase(std::unique(runs.begin(), runs.end()), runs.end());
  std::ranges::sort(names);
  std::ranges::sort(expected);
  EXPECT_EQ(names, expected);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  EXPECT_EQ(runs.size(), names.size());
  EXPECT_EQ(seen.number(17), 1);
}

TEST_F(LinuxGuestPage, MessagesHaveLevelsAndALineOfTime) {
  // Of the loud ones: between which ends the line must be for each to be where it is.
  const std::string place_of_loud =
      "eval=(() => { const xs = [...document.querySelectorAll('svg.time line[y1=\"2\"]')].map(l => "
      "Number(l.getAttribute("
      "'x1'))), times = [...document.querySelectorAll('#message-table tr')].filter(row => row.dataset.level <= 4).map("
      "row => Number(row.cells[0].textContent)); let low = 0, high = Infinity; times.forEach((time, n) => { low = "
      "Math.max(low, 1000 * time / (xs[n] + 1)); if (xs[n]) high = Math.min(high, 1000 * time / xs[n]); }); return "
      "[xs.length, times.length, low, high].join(' '); })()";
  const Visit seen =
      visit({"size=1200x900", kShownMessages, set_value("#message-level", "3", "change"), kShownMessages,
             // Search finds what the level hides, and shows it.
             "click=#search", "type=made completion", "eval=document.querySelector('#results').textContent",
             "key=Enter", "eval=document.querySelector('.hit').textContent",
             "eval=document.querySelector('.hit').checkVisibility() && document.querySelector('#results').hidden",
             set_value("#message-level", "5", "change"), kShownMessages, set_value("#message-level", "7", "change"),
             kShownMessages, place_of_loud, "eval=document.querySelector('p.time').lastChild.textContent",
             "eval=document.querySelectorAll('svg.time').length"});
  std::string messages;  // as dmesg prints them, without times
  for (const std::string& line : lines_of(inspect(dump, {"--dmesg"})))
    messages += line.substr(line.find("] ") + 2) + "\n";
  EXPECT_EQ(seen.text(0), messages);
  EXPECT_EQ(seen.text(9), messages);
  // Levels as the kernel's sources have them: err; notice, as the guest wrote it; info.
  const std::string hung = "INFO: task never:", made = "trouble-made completion\n",
                    init = "Run /init as init process\n";
  EXPECT_THAT(seen.text(2), AllOf(HasSubstr(hung), Not(HasSubstr(made)), Not(HasSubstr(init))));
  EXPECT_THAT(seen.text(7), AllOf(HasSubstr(hung), HasSubstr(made), Not(HasSubstr(init))));
  EXPECT_THAT(seen.text(9), AllOf(HasSubstr(hung), HasSubstr(made), HasSubstr(init)));

  EXPECT_THAT(seen.text(3), HasSubstr("trouble-made completion"));
  EXPECT_EQ(seen.text(4), "trouble-made completion");
  EXPECT_TRUE(seen.truth(5));

  // A line each, where its time is on a line as long as the guest was up.
  size_t lines = 0, loud = 0;
  double low = 0, high = 0;
  ASSERT_EQ(std::sscanf(seen.text(10).c_str(), "%zu %zu %lf %lf", &lines, &loud, &low, &high), 4) << seen.text(10);
  EXPECT_EQ(lines, loud);
  EXPECT_GT(loud, 5u);
  EXPECT_LE(low, high + 1e-6);
  const std::string end = seen.text(11), summary = inspect(dump, {});
  EXPECT_THAT(summary, HasSubstr("\n  up        " + end + ", load "));
  int hours = 0, minutes = 0;
  double up = 0;
  if (std::sscanf(end.c_str(), "%d:%d:%lf", &hours, &minutes, &up) == 3) {
    up += hours * 3600 + minutes * 60;
  } else {
    up = std::stod(end);
  }
  EXPECT_LE(low, up + 1);  // as it is shown: whole seconds, or less
  EXPECT_GE(high, up);
  EXPECT_EQ(seen.number(12), 1);
}

/// The elements that cannot be read, or pressed, unless one scrolls sideways: the page, or the box that they are in.
std::string sideways(const std::string& elements) {
  return "eval=(all => all.length ? all.filter(e => { const box = e.closest('.scroll') || document.documentElement, "
         "edge = "
         "box.getBoundingClientRect(), own = e.getBoundingClientRect(); return !e.checkVisibility() || own.left < "
         "edge.left "
         "|| own.right > edge.right || box.scrollWidth > box.clientWidth + 1; }).map(e => e.outerHTML).join() : 'none "
         "is "
         "there')([...document.querySelectorAll('" +
         elements + "')])";
}

TEST_F(LinuxGuestPage, IsUsableAt390Pixels) {
  const std::string fits = "eval=document.documentElement.scrollWidth <= innerWidth";
  const std::string row = "#task-table tbody tr:not([hidden])", frames = row + " ol.frames";
  const std::string heads =
      "eval=[...document.querySelectorAll('#task-table th button')].filter(e => e.checkVisibility()).map(e => "
      "e.getBoundingClientRect()).every((r, n, all) => n == 0 || r.left >= all[n - 1].right + 4)";
  const Visit seen = visit(
      {"size=390x800", fits, heads, sideways("#search, #task-filter, #task-count, button.state, #message-level"),
       // One of the tasks that are blocked, and its stack.
       "click=button.state[data-state=\"D\"]", "click=#task-filter", "type=mutex-", kCount,
       sideways(row + " td:nth-child(5), " + row + " summary"), "click=" + row + " summary", sideways(frames + " li"),
       "eval=document.querySelector('" + frames + "').textContent", fits,
       // A column's order.
       column_head(5), "eval=document.querySelector('#task-table th[aria-sort]').textContent",
       // Messages, and one that search finds.
       set_value("#message-level", "3", "change"), sideways("#message-table tr:not([hidden]) td:last-child"),
       "click=#search", "type=made completion", sideways("#results button"), "key=Enter",
       "eval=(r => r.top >= 0 && r.bottom <= innerHeight)(document.querySelector('.hit').getBoundingClientRect())",
       fits});
  for (const size_t whole : {2, 4, 5, 10, 11}) EXPECT_EQ(seen.text(whole), "") << whole;
  for (const size_t holds : {0, 1, 7, 12, 13}) EXPECT_TRUE(seen.truth(holds)) << holds;
  EXPECT_THAT(seen.text(3), StartsWith("3 of "));
  EXPECT_THAT(seen.text(6), HasSubstr("trouble_first_then_second+0x"));
  EXPECT_EQ(seen.text(8), "name");
}

}  // namespace
}  // namespace gcore::tests
