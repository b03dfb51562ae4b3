// A guest in a deadlock, as other makers' files have it: what is said of it is what is said of QEMU's own dump of the
// same moment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
  /// Less what registers are needed for: what each vCPU did, and where the tasks were that ran.
  static std::string without_running(const std::string& text, const std::vector<std::string>& pids) {
    std::string kept, block;
    std::istringstream lines(text + "\n");
    const auto is_of = [&](const std::string& pid) {
      return block.find("(PID " + pid + ")") < block.find("\n  #") || regex_search(block, Regex("^ +" + pid + " "));
    };
    for (std::string line; std::getline(lines, line);) {
      const bool goes_on =
          line.starts_with("  #") || line.starts_with("  no further") || line.starts_with("  from user");
      if (!goes_on) {
        if (std::ranges::none_of(pids, is_of)) kept += block;
        block.clear();
      }
      if (!line.empty() && !line.starts_with("vCPU ")) block += line + '\n';
    }
    return kept;
  }
  static std::vector<std::string> running_pids(const std::string& tasks) {
    std::vector<std::string> pids;
    const Regex running("\n +([0-9]+) +[0-9]+  R +[0-9]+\\*");
    for (const RegexMatch& task : regex_search_all(tasks, running)) pids.push_back(task[1]);
    return pids;
  }

  TempDir folder_;
};

TEST_P(ForeignLinux, IsTheSameGuest) {
  const std::string file = folder_.path("file");
  GetParam().write(ForeignGuest(oracle()), file);
  std::vector<std::string> said, running;
  if (!GetParam().has_registers) {
    running = running_pids(inspect(oracle(), {"--tasks"}).out);
    ASSERT_FALSE(running.empty());
  }
  for (const auto& mode : kModes) {
    SCOPED_TRACE(mode[0]);
    const Completed expected = inspect(oracle(), mode), done = inspect(file, mode, options());
    ASSERT_EQ(expected.status, kDone) << expected.err;
    EXPECT_EQ(done.status, kDone) << done.err;
    if (GetParam().has_registers || mode[0] == "--dmesg" || mode[0] == "--modules")
      EXPECT_EQ(done.out, expected.out);
    else
      EXPECT_EQ(without_running(done.out, running), without_running(expected.out, running));
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
