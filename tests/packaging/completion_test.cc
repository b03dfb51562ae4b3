// Completion, asked as the shells ask it: what a user gets after TAB. Expected is what the programs' --help says, read
// here with code of our own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::UnorderedElementsAre;
using testing::UnorderedElementsAreArray;

using Words = std::vector<std::string>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The options of a program, without what follows them.
Words options_of(const std::string& name) {
  Words options;
  const Completed help = run({program(name), "--help"});
  EXPECT_EQ(help.status, (ExitStatus{0, 0}));
  static const Regex form("^  (--[a-z-]+)");
  for (const std::string& line : lines_of(help.out)) {
    RegexMatch match;
    if (regex_search(line, match, form)) options.push_back(match[1]);
  }
  EXPECT_GE(options.size(), 2U) << help.out;
  return options;
}

class Completion : public testing::TestWithParam<const char*> {
 protected:
  TempDir folder_;

  void SetUp() override {
    std::filesystem::create_directory(folder_.path("dumps"));
    folder_.write("one dump.gcore", "");
    folder_.write("two.gcore", "");
  }

  static std::string path() {
    return "export PATH='" + std::filesystem::path(program("gcore-inspect")).parent_path().string() + "':\"$PATH\"\n";
  }

  Process::Options here() const {
    Process::Options options;
    options.directory = folder_.path();
    return options;
  }

  /// What bash offers for the last of the words.
  Words bash(const Words& words) {
    std::string script = path() + "set -u; . '" + build_dir() + "/tools/completion/gcore.bash'\ncomplete -p " +
                         words[0] + " >/dev/null || exit 9\nCOMP_WORDS=(";
    for (const std::string& word : words) script += "'" + word + "' ";
    script += ") COMP_CWORD=" + std::to_string(words.size() - 1) +
              "\n_gcore\n((${#COMPREPLY[@]} == 0)) || printf '%s\\n' \"${COMPREPLY[@]}\"";
    const Completed done = run({"bash", "--norc", "-c", script}, 30s, {}, here());
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    EXPECT_EQ(done.err, "");
    return lines_of(done.out);
  }

  /// What zsh offers for the last of the words: a real completion in a shell on a pseudo-terminal, whose `compadd`
  /// notes the matches down.
  Words zsh(const Words& words) {
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
    const std::string script = path() + R"(zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; fpath=()" + build_dir() +
                               R"(/tools/completion $fpath); autoload -Uz compinit; compinit -u -D'
zpty -w z 'compadd() {
  local -a found
  builtin compadd -O found "$@" 2>/dev/null
  print -rl -- $found >>matches
  builtin compadd "$@"
}'
zpty -w z 'finish() { print -r -- en""d; exit }; zle -N finish; bindkey "^X" finish; bindkey "^I" complete-word'
zpty -w z 'print -r -- st""art'
zpty -r -m z started '*start*'
zpty -n -w z ')" + line + R"('$'\t'
zpty -n -w z $'\C-x'
zpty -r -m z rest '*end*'
[[ ! -f matches ]] || cat matches
)";
    Process::Options options = here();
    options.environment.push_back("TERM=dumb");
    const Completed done = run({"zsh", "-f", "-c", script}, 30s, {}, options);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    std::filesystem::remove(folder_.path("matches"));
    Words found = lines_of(done.out);
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }
};

TEST_P(Completion, BashOffersEveryOption) {
  const std::string name = GetParam();
  const Words options = options_of(name);
  EXPECT_THAT(bash({name, "--"}), UnorderedElementsAreArray(options));
  for (const std::string& option : options) {
    const Words offered = bash({name, option.substr(0, option.size() - 1)});
    EXPECT_THAT(offered, Contains(option));
    for (const std::string& other : offered)
      EXPECT_THAT(other, testing::StartsWith(option.substr(0, option.size() - 1)));
  }
  EXPECT_THAT(bash({name, "--nothing-like-that"}), testing::IsEmpty());
  EXPECT_THAT(bash({name, ""}), UnorderedElementsAre("dumps", "one dump.gcore", "two.gcore"));
  EXPECT_THAT(bash({name, "tw"}), ElementsAre("two.gcore"));
}

TEST_P(Completion, ZshOffersEveryOption) {
  const std::string name = GetParam();
  const Words options = options_of(name);
  EXPECT_THAT(zsh({name, "--"}), IsSupersetOf(options));
}

INSTANTIATE_TEST_SUITE_P(Programs, Completion,
                         testing::Values("gcore-inspect", "gcore-serve", "gcore-dump", "gcore-convert", "gcore-vmm"),
                         [](const auto& test) {
                           std::string name = test.param;
                           name.erase(name.find('-'), 1);
                           return name;
                         });

class CompletionOfArguments : public Completion {};

TEST_F(CompletionOfArguments, InBash) {
  EXPECT_THAT(bash({"gcore-convert", "--compress", ""}), UnorderedElementsAre("none", "gzip", "zstd"));
  EXPECT_THAT(bash({"gcore-convert", "--dialect", "v"}), ElementsAre("vmcore"));
  EXPECT_THAT(bash({"gcore-convert", "--dialect", "=", "v"}), ElementsAre("vmcore"));
  EXPECT_THAT(bash({"gcore-convert", "--dialect", "="}), UnorderedElementsAre("qnx", "vmcore"));
  EXPECT_THAT(bash({"gcore-vmm", "--dump-directory", ""}), ElementsAre("dumps"));
  EXPECT_THAT(bash({"gcore-serve", "--symbols", "tw"}), ElementsAre("two.gcore"));
  EXPECT_THAT(bash({"gcore-serve", "--listen", ""}), testing::IsEmpty());
  EXPECT_THAT(bash({"gcore-inspect", "two.gcore", "--diff", ""}), Contains("one dump.gcore"));
  EXPECT_THAT(bash({"kdserver", "-"}), UnorderedElementsAre("-v", "-P", "--help", "--version"));
  EXPECT_THAT(bash({"kdserver", "-P", ""}), testing::IsEmpty());
  EXPECT_THAT(bash({"kdserver", "-v", "tw"}), ElementsAre("two.gcore"));
  // An argument that may be left out: what it can be, and what can follow without it.
  EXPECT_THAT(bash({"gcore-inspect", "--registers", ""}), testing::IsSupersetOf({"all", "two.gcore"}));
}

TEST_F(CompletionOfArguments, InZsh) {
  EXPECT_THAT(zsh({"gcore-convert", "--compress", ""}), IsSupersetOf({"none", "gzip", "zstd"}));
  EXPECT_THAT(zsh({"gcore-serve", "--symbols", "tw"}), Contains("two.gcore"));
  EXPECT_THAT(zsh({"gcore-inspect", "two.gcore", "--diff", "tw"}), Contains("two.gcore"));
  EXPECT_THAT(zsh({"kdserver", "-"}), IsSupersetOf({"-v", "-P"}));
}

}  // namespace
}  // namespace gcore::tests
