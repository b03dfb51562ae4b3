#include "tests/docs/shell_document.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConnect = "target remote | gcore-serve --stdio vm.gcore";

std::string trimmed(const std::string& text) {
  std::string result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line.erase(line.find_last_not_of(" \r") + 1);
    result += line + "\n";
  }
  result.erase(result.find_last_not_of('\n') + 1);
  return result;
}

std::string escaped(const std::string& text) {
  static const Regex special(R"([.^$|()\[\]{}*+?\\])");
  return regex_replace(text, special, "\\$&");
}

/// What a step of the document left in its folder: its output, and its exit status.
struct Step {
  std::string id;
  size_t line;
  std::string command;
  std::string expected;  // of a console step
  bool console = false, gdb = false;
};

/// The bash script that takes all steps, and notes after each that it is done.
std::string script_of(const std::vector<Step>& steps) {
  const std::string programs = fs::path(program("gcore-inspect")).parent_path();
  std::string script = "set -u -o pipefail\nexport PATH='" + programs + "':\"$PATH\"\nmkdir -p .steps\n";
  for (const Step& step : steps) {
    const std::string out = ".steps/" + step.id;
    // In a group, not in a subshell: variables and jobs in the background stay for the steps that follow.
    if (step.console)
      script += "{\n" + step.command + "\n} >" + out + " 2>&1 </dev/null\n";
    else
      script += "set -e\n{\n" + step.command + "\n} >" + out + " 2>&1 </dev/null\nset +e\n";
    script += "touch " + out + ".done\n";
  }
  return script;
}

void end_leftovers(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".pid") continue;
    pid_t pid = 0;
    std::ifstream(entry.path()) >> pid;
    if (pid > 1) kill(pid, SIGKILL);
  }
}

/// The name under which a block wants to be saved, or "".
std::string file_named(const Block& block) {
  static const Regex form("(//|#) ([\\w-]+\\.[\\w.]+)");
  RegexMatch match;
  const std::string first = block.first_line();
  return regex_match(first, match, form) ? match[2] : "";
}

}  // namespace

std::vector<ConsoleStep> console_steps(const std::string& text) {
  std::vector<ConsoleStep> steps;
  std::istringstream lines(text);
  bool continued = false;
  for (std::string line; std::getline(lines, line);) {
    if (continued) {
      steps.back().command += "\n" + line;
    } else if (line.starts_with("$ ")) {
      steps.push_back({line.substr(2), ""});
    } else {
      if (steps.empty()) steps.push_back({"false", ""});  // output of nothing: fails
      steps.back().expected += line + "\n";
      continue;
    }
    continued = line.ends_with("\\");
  }
  return steps;
}

bool output_fits(const std::string& expected, const std::string& output) {
  std::string pattern;
  std::istringstream lines(trimmed(expected));
  for (std::string line; std::getline(lines, line);) {
    if (line == "...") {
      pattern += "(?:[^\\n]*\\n)*?";
      continue;
    }
    for (size_t at = 0; at <= line.size();) {
      const size_t dots = std::min(line.find("...", at), line.size());
      pattern += escaped(line.substr(at, dots - at));
      if (dots < line.size()) pattern += "[^\\n]*";
      at = dots < line.size() ? dots + 3 : line.size() + 1;
    }
    pattern += "\\n";
  }
  std::string text = trimmed(output);
  if (!text.empty()) text += "\n";
  return regex_match(text, Regex(pattern));
}

void run_blocks(const std::string& name, const std::vector<Block>& blocks, const std::string& folder) {
  std::vector<Step> steps;
  for (const Block& block : blocks) {
    const std::string id = std::to_string(block.line);
    if (block.language == "sh") {
      steps.push_back({.id = id, .line = block.line, .command = block.text, .expected = ""});
    } else if (block.language == "console") {
      size_t part = 0;
      for (const ConsoleStep& step : console_steps(block.text))
        steps.push_back({id + "." + std::to_string(++part), block.line, step.command, step.expected, true});
    } else if (block.language == "gdb") {
      std::ofstream(folder + "/.gdb-" + id) << block.text;
      const std::string command =
          std::string("gdb -nx -batch -iex 'set pagination off' -ex '") + kConnect + "' -x .gdb-" + id + " vmlinux";
      steps.push_back(
          {.id = id, .line = block.line, .command = command, .expected = "", .console = false, .gdb = true});
    } else if (const std::string file = file_named(block); !file.empty()) {
      std::ofstream(folder + "/" + file) << block.text;
    }
  }
  Process::Options options;
  options.directory = folder;
  options.environment = {"TMPDIR=" + folder, "LC_ALL=C.UTF-8"};
  const Completed done = run({"bash", "--norc", "-c", script_of(steps)}, 240s, {}, options);
  end_leftovers(folder);
  EXPECT_FALSE(done.timed_out) << name;
  EXPECT_EQ(done.err, "") << name;

  for (const Step& step : steps) {
    const std::string path = folder + "/.steps/" + step.id;
    const std::string out = fs::exists(path) ? read_file(path) : "(it was not reached)";
    const std::string where = name + ":" + std::to_string(step.line) + ": " + step.command;
    EXPECT_TRUE(fs::exists(path + ".done")) << where << "\nfailed:\n" << out;
    if (!fs::exists(path + ".done")) break;
    if (step.console) {
      EXPECT_TRUE(output_fits(step.expected, out)) << where << "\nprints:\n"
                                                   << out << "\nand should:\n"
                                                   << step.expected;
    }
    if (step.gdb) {
      EXPECT_FALSE(regex_search(out, Regex("Undefined|Error|No symbol|Cannot|Invalid"))) << where << "\n" << out;
    }
  }
}

}  // namespace gcore::tests
