// A guest in a deadlock, as other makers' files have it: what is said of it is what is said of QEMU's own dump of the
// same moment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <sstream>

#include "tests/support/foreign_guest.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

constexpr ExitStatus kDone{0, 0};
const std::vector<std::vector<std::string>> kModes{
    {"--tasks"}, {"--dmesg"}, {"--modules"}, {"--backtrace", "--task", "all"}, {"--why"}};

struct Format {
  const char* name;
  const char* machine;
  void (*write)(const ForeignGuest& guest, const std::string& path);
  const char* raw = nullptr;  // of --raw-memory
  bool has_registers = false;
};
void PrintTo(const Format& format, std::ostream* out) { *out << format.name << " " << format.machine; }

const Format kFormats[] = {
    {"lime", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_lime(path); }},
    {"avml", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_avml(path, 1); }},
    {"avml_packed", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_avml(path, 2); }},
    {"raw", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_raw(path); }, "x86_64"},
    {"raw_above_1m", "x86_64",
     [](const ForeignGuest& guest, const std::string& path) { guest.write_raw(path, 1 << 20); }, "x86_64,0x100000"},
    {"xen", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_xen(path); }, nullptr, true},
    {"virtualbox", "x86_64", [](const ForeignGuest& guest, const std::string& path) { guest.write_virtualbox(path); },
     nullptr, true},
    {"lime", "aarch64", [](const ForeignGuest& guest, const std::string& path) { guest.write_lime(path); }},
    {"avml", "aarch64", [](const ForeignGuest& guest, const std::string& path) { guest.write_avml(path, 1); }},
    {"avml_packed", "aarch64", [](const ForeignGuest& guest, const std::string& path) { guest.write_avml(path, 2); }},
    {"raw", "aarch64", [](const ForeignGuest& guest, const std::string& path) { guest.write_raw(path); }, "aarch64"},
};

class ForeignLinux : public testing::TestWithParam<Format> {
 protected:
  static std::string oracle() { return trouble_guest(GetParam().machine, "").dump("hung"); }
  static Completed inspect(const std::string& dump, const std::vector<std::string>& mode,
                           const std::vector<std::string>& options = {}) {
    std::vector<std::string> command{program("gcore-inspect"), dump};
    command.insert(command.end(), mode.begin(), mode.end());
    command.insert(command.end(), options.begin(), options.end());
    return run(command, 120s);
  }
  static std::vector<std::string> options() {
    return GetParam().raw ? std::vector<std::string>{"--raw-memory", GetParam().raw} : std::vector<std::string>{};
  }
  /// What --tasks or --backtrace says of each task, by its TID. Equal stacks are printed once: here each task has its
  /// own.
  static std::map<std::string, std::string> by_task(const std::string& text) {
    static const Regex in_list("^ +[0-9]+ +([0-9]+)  [A-Za-z] .*"), over_stack("[A-Za-z] [^ ].*? \\(PID ([0-9]+)\\)");
    std::map<std::string, std::string> said;
    std::string heads, frames;
    const auto keep_stack = [&] {
      for (const RegexMatch& task : regex_search_all(heads, over_stack)) said[task[1]] = task[0] + '\n' + frames;
      heads.clear(), frames.clear();
    };
    std::istringstream lines(text + "\n");
    for (std::string line; std::getline(lines, line);) {
      RegexMatch task;
      if (regex_match(line, task, in_list)) {
        said[task[1]] = line;
      } else if (line.empty()) {
        keep_stack();
      } else {
        (line.starts_with("  #") || line.starts_with("  no ") || line.starts_with("  from ") ? frames : heads) +=
            line + '\n';
      }
    }
    keep_stack();
    return said;
  }
  /// Those that run, one a vCPU, whatever their state: a task says that it sleeps, or ends, before the CPU leaves it.
  static std::vector<std::string> running(const std::string& tasks) {
    static const Regex line("\n +[0-9]+ +([0-9]+)  [A-Za-z] +[0-9]+\\*");
    std::vector<std::string> tids;
    for (const RegexMatch& task : regex_search_all(tasks, line)) tids.push_back(task[1]);
    EXPECT_THAT(tids, testing::SizeIs(2)) << tasks;
    return tids;
  }
  /// What vCPUs did needs registers.
  static std::string without_vcpus(const std::string& why) {
    std::string kept;
    std::istringstream lines(why);
    for (std::string line; std::getline(lines, line);)
      if (!line.empty() && !line.starts_with("vCPU ") && line != "all vCPUs are idle") kept += line + '\n';
    return kept;
  }

  TempDir folder_;
};

TEST_P(ForeignLinux, IsTheSameGuest) {
  const std::string file = folder_.path("file");
  GetParam().write(ForeignGuest(oracle()), file);
  std::vector<std::string> said, ran;
  if (!GetParam().has_registers) {
    ran = running(inspect(oracle(), {"--tasks"}).out);
    // While a vCPU goes from one task to another, the runqueue has the next one before the registers have.
    std::ranges::copy(running(inspect(file, {"--tasks"}, options()).out), std::back_inserter(ran));
  }
  for (const auto& mode : kModes) {
    SCOPED_TRACE(mode[0]);
    const Completed expected = inspect(oracle(), mode), done = inspect(file, mode, options());
    ASSERT_EQ(expected.status, kDone) << expected.err;
    EXPECT_EQ(done.status, kDone) << done.err;
    if (GetParam().has_registers || mode[0] == "--dmesg" || mode[0] == "--modules") {
      EXPECT_EQ(done.out, expected.out);
    } else if (mode[0] == "--why") {
      EXPECT_EQ(without_vcpus(done.out), without_vcpus(expected.out));
    } else {
      auto here = by_task(done.out), there = by_task(expected.out);
      EXPECT_GT(there.size(), 40U);
      for (const std::string& tid : ran) here.erase(tid), there.erase(tid);
      EXPECT_EQ(here, there);
    }
    said.push_back(done.out);
  }
  EXPECT_THAT(said.back(), HasSubstr("deadlock: mutex-one (PID "));
  for (const char* dialect : {"qnx", "vmcore"}) {
    SCOPED_TRACE(dialect);
    const std::string converted = folder_.path(dialect);
    std::vector<std::string> command{program("gcore-convert"), file, converted, "--dialect", dialect};
    for (const std::string& option : options()) command.push_back(option);
    const Completed done = run(command, 120s);
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_EQ(inspect(converted, kModes.front()).out, said.front());
    EXPECT_EQ(inspect(converted, kModes.back()).out, said.back());
  }
}

INSTANTIATE_TEST_SUITE_P(Each, ForeignLinux, testing::ValuesIn(kFormats),
                         [](const auto& one) { return std::string(one.param.machine) + "_" + one.param.name; });

}  // namespace
}  // namespace gcore::tests
