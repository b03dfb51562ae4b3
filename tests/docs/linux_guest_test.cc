// docs/linux-guest-hangs.md, docs/debuggers.md and the first screen of README.md: what they show is what the programs
// print about a guest in that very deadlock. Numbers of processes, addresses, times and what a vCPU does at the moment
// differ from boot to boot; all else has to be as it is shown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>

#include "tests/docs/markdown.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

/// Without what differs from boot to boot.
std::string steady(std::string line) {
  line = regex_replace(line, Regex("\\(PID [0-9]+\\)"), "(PID)");
  line = regex_replace(line, Regex(" \\(0x[0-9a-f]{16}\\)"), "");
  line = regex_replace(line, Regex(",? for [0-9.]+ s"), "");
  line = regex_replace(line, Regex("^(vCPU [0-9]+): .*"), "$1");
  return line;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

/// Expects the lines in that order, others among them only where a line of "..." is, or anywhere when it is said to be
/// shortened.
void expect_shown(const std::vector<std::string>& shown, const std::string& output, bool shortened) {
  const auto printed = lines_of(output);
  auto at = printed.begin();
  bool may_skip = shortened;
  for (const std::string& line : shown) {
    if (line.find_first_not_of(" .") == std::string::npos) {
      may_skip = true;
      continue;
    }
    const auto found =
        std::find_if(at, printed.end(), [&](const auto& other) { return steady(other) == steady(line); });
    ASSERT_NE(found, printed.end()) << "not printed: " << line << "\n" << output;
    EXPECT_TRUE(may_skip || found == at) << "printed before '" << line << "', and not shown: " << *at;
    at = found + 1;
    may_skip = shortened;
  }
}

struct LinuxPage : testing::Test {
  TempDir folder;
  Process::Options there;

  LinuxPage() {
    there.directory = folder.path("");
    const TroubleGuest guest = trouble_guest("x86_64", "");
    fs::create_symlink(guest.dump("mutex"), folder.path("vm.gcore"));
    fs::create_symlink(guest.dump("storage"), folder.path("storage.gcore"));
  }

  std::string output_of(const std::string& command) {
    const std::string programs = fs::absolute(fs::path(program("gcore-inspect")).parent_path());
    const Completed done =
        run({"bash", "-c", "set -o pipefail; PATH='" + programs + "':$PATH; " + command}, 120s, {}, there);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << command << "\n" << done.err;
    return done.out;
  }
  /// What `$ COMMAND` of a block shows, and that it is so.
  void check_shown(const Block& block, bool shortened) {
    auto lines = lines_of(block.text);
    ASSERT_TRUE(lines[0].starts_with("$ "));
    const std::string command = lines[0].substr(2);
    lines.erase(lines.begin());
    expect_shown(lines, output_of(command), shortened);
  }
};

TEST_F(LinuxPage, ReadmeShowsWhatIsPrinted) {
  size_t shown = 0;
  for (const Block& block : blocks_of(read_file(source_dir() + "/README.md"))) {
    if (!block.text.starts_with("$ gcore-inspect vm.gcore --why")) continue;
    check_shown(block, true);
    ++shown;
  }
  EXPECT_EQ(shown, 1U);
}

TEST_F(LinuxPage, ShowsWhatIsPrintedAndItsCommandsWork) {
  const std::string why = output_of("gcore-inspect vm.gcore --why");
  RegexMatch pid;
  ASSERT_TRUE(regex_search(why, pid, Regex("mutex-one \\(PID ([0-9]+)\\)"))) << why;
  size_t shown = 0, commands = 0, in_gdb = 0;
  for (const Block& block : blocks_of(read_file(source_dir() + "/docs/linux-guest-hangs.md"))) {
    const auto lines = lines_of(block.text);
    if (block.text.starts_with("$ gcore-inspect ")) {
      check_shown(block, false);
      ++shown;
    } else if (block.text.starts_with("$ gdb ")) {
      std::string command = lines[0].substr(2) + " -nx -batch";
      for (size_t i = 1; i < lines.size(); ++i) {
        ASSERT_TRUE(lines[i].starts_with("(gdb) ")) << lines[i];
        command += " -ex '" + lines[i].substr(6) + "'";
        ++in_gdb;
      }
      const std::string said = output_of("DEBUGINFOD_URLS= " + command + " 2>&1");
      for (const char* wanted : {"Thread 2", "= \"swapper", "atomic_long_t owner", "signature: deadlock-"})
        EXPECT_THAT(said, HasSubstr(wanted));
      // A stack may end in a process whose memory is gone, or not there yet; nothing else fails so.
      EXPECT_THAT(said, Not(HasSubstr("\nCannot access memory")));
      EXPECT_THAT(said, Not(HasSubstr("No symbol")));
    } else {
      for (const std::string& line : lines) {
        if (line.starts_with("gcore-dump ")) continue;  // docs/qemu.md's, which are run there
        ASSERT_TRUE(line.starts_with("gcore-inspect ")) << line;
        const std::string said = output_of(regex_replace(line, Regex("--tasks 99"), "--tasks " + pid[1]));
        EXPECT_TRUE(!said.empty() || line.find("--html") != std::string::npos) << line;
        ++commands;
      }
    }
  }
  EXPECT_GE(shown, 2U);
  EXPECT_GE(commands, 6U);
  EXPECT_GE(in_gdb, 4U);
}

/// "$ " begins a command, and what a prompt begins is typed into the last one. A server that listens does so elsewhere.
TEST_F(LinuxPage, DebuggersAreDrivenAsShown) {
  static const std::string kAddress = "127.0.0.1:4711";
  static const Regex kPrompt("(?:\\(gdb\\)|>>>|crash>) (.*)");
  size_t servers = 0, typed = 0, commands = 0;
  std::string said;
  for (const Block& block : blocks_of(read_file(source_dir() + "/docs/debuggers.md"))) {
    if (block.language != "text" || !block.text.starts_with("$ ")) continue;
    std::vector<std::string> shell;
    std::string input;
    RegexMatch match;
    for (const std::string& line : lines_of(block.text)) {
      if (line.starts_with("$ ")) {
        shell.push_back(line.substr(2));
      } else if (regex_match(line, match, kPrompt)) {
        input += match[1] + "\n", ++typed;
      } else {
        ASSERT_TRUE(!shell.empty() && shell.back().ends_with('\\')) << line;
        shell.back() += "\n" + line;
      }
    }
    std::optional<Process> server;
    std::string address = kAddress;
    for (const std::string& text : shell) {
      std::string command = text;
      for (size_t at; address != kAddress && (at = command.find(kAddress)) != command.npos;)
        command.replace(at, kAddress.size(), address);
      if (command.starts_with("gcore-serve ")) {
        for (const char* part : {"gcore-serve", kAddress.c_str(), " &"})
          if (const size_t place = command.find(part); place != command.npos)
            command.replace(place, std::strlen(part),
                            part[0] == '1'   ? "127.0.0.1:0"
                            : part[0] == 'g' ? "exec '" + fs::absolute(program(part)).string() + "'"
                                             : "");
        server.emplace(std::vector<std::string>{"bash", "-c", command}, there);
        const auto line = server->wait_for_line(Process::Stream::err, "gcore-serve: listening on ");
        ASSERT_TRUE(line) << server->err();
        address = line->substr(line->rfind(' ') + 1);
        ++servers;
        continue;
      }
      folder.write("input", &text == &shell.back() ? input : "");
      said += output_of("DEBUGINFOD_URLS= " + command + " <input 2>&1");
      ++commands;
    }
  }
  for (const char* wanted : {"Thread 2", "atomic_long_t owner", "signature: deadlock-", "has target name '[mutex-one]",
                             "schedule in section", "thread #2", "struct task_struct {", "b'kthreadd'", "kthreadd\n#3",
                             "RELEASE: 6.1", "COMMAND: \""})
    EXPECT_THAT(said, HasSubstr(wanted));
  for (const char* wrong : {"No symbol", "Cannot access memory", "Traceback", "error: ", "invalid "})
    EXPECT_THAT(said, Not(HasSubstr(wrong)));
  EXPECT_GE(servers, 2U);
  EXPECT_GE(commands, 6U);
  EXPECT_GE(typed, 20U);
}

}  // namespace
}  // namespace gcore::tests
