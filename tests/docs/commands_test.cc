// Every command in the documentation is run: README.md, docs/*.md, and the EXAMPLES of the manuals. The folder in which
// that happens has
//
//   vm.gcore      a dump of gcore-vmm's built-in guest
//   vmlinux       that guest's ELF file with debug information
//   dumps/        empty
//   gcore/        the writer, installed
//   NAME-YYYYMMDD-hhmmss.gcore, as the document names it: the same as vm.gcore
//   arm.gcore     a dump of the built-in guest of aarch64, where the document names it
//
// A document with the command sbatch has a Slurm cluster (tests/docs/slurm).
//
// What cannot be run here is in not-run.txt, each with its reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "tests/docs/markdown.h"
#include "tests/docs/shell_document.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;

/// README.md, CONTRIBUTING.md, docs/*.md, those beside the sources, and the manuals, by their paths from the root of
/// the tree.
std::vector<std::string> documents() {
  std::vector<std::string> names{"README.md", "CONTRIBUTING.md"};
  for (const char* top : {"docs", "tools", "writer"})
    for (const auto& entry : fs::recursive_directory_iterator(source_dir() + "/" + top))
      if (const auto extension = entry.path().extension(); extension == ".md" || extension == ".1" || extension == ".5")
        names.push_back(fs::relative(entry.path(), source_dir()));
  std::ranges::sort(names);
  return names;
}

std::vector<Block> blocks_of_document(const std::string& name) {
  const std::string text = read_file(source_dir() + "/" + name);
  return name.ends_with(".md") ? blocks_of(text) : examples_of(text);
}

/// What not-run.txt has of a document: the first lines of blocks. A line there is "DOCUMENT | FIRST LINE | REASON".
std::map<std::string, std::set<std::string>> not_run() {
  std::map<std::string, std::set<std::string>> result;
  std::istringstream lines(read_file(source_dir() + "/tests/docs/not-run.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("#")) continue;
    const size_t first = line.find(" | "), last = line.rfind(" | ");
    if (first == last) throw std::runtime_error("not-run.txt: not \"DOCUMENT | FIRST LINE | REASON\": " + line);
    result[line.substr(0, first)].insert(line.substr(first + 3, last - first - 3));
  }
  return result;
}

/// "*" at the end of what not-run.txt has of a first line stands for its rest.
bool fits(const std::string& listed, const std::string& line) {
  return listed.ends_with('*') ? line.starts_with(listed.substr(0, listed.size() - 1)) : line == listed;
}

bool is_listed(const std::map<std::string, std::set<std::string>>& exceptions, const std::string& name,
               const Block& block) {
  const auto listed = exceptions.find(name);
  return listed != exceptions.end() &&
         std::ranges::any_of(listed->second, [&](const auto& line) { return fits(line, block.first_line()); });
}

bool is_command(const Block& block) {
  return block.language == "sh" || block.language == "console" || block.language == "gdb";
}

class Commands : public testing::TestWithParam<std::string> {
 protected:
  TempDir folder_;

  void SetUp() override {
    fs::create_directory(folder_.path("dumps"));
    const Completed installed =
        run({GCORE_CMAKE, "--install", build_dir(), "--prefix", folder_.path("gcore"), "--component", "writer"});
    ASSERT_EQ(installed.status, (ExitStatus{0, 0})) << installed.err;
    fs::copy_file(build_dir() + "/share/gcore/builtin-guest.elf", folder_.path("vmlinux"));
    dump_of("x86_64", "vm.gcore");
    const std::string text = read_file(source_dir() + "/" + GetParam());
    if (text.find("arm.gcore") != std::string::npos) dump_of("aarch64", "arm.gcore");
    if (text.find("sbatch ") != std::string::npos) start_slurm();
    static const Regex full_name("[a-z0-9]+-[0-9]{8}-[0-9]{6}\\.gcore");
    for (const RegexMatch& name : regex_search_all(text, full_name))
      if (!fs::exists(folder_.path(name[0]))) fs::create_hard_link(folder_.path("vm.gcore"), folder_.path(name[0]));
  }

  void TearDown() override {
    if (slurm_) run({source_dir() + "/tests/docs/slurm", "stop", slurm_->path()});
  }

  /// A cluster of this machine, which is what the commands of the document then find.
  void start_slurm() {
    slurm_.emplace();
    const Completed started = run({source_dir() + "/tests/docs/slurm", "start", slurm_->path()});
    ASSERT_EQ(started.status, (ExitStatus{0, 0})) << started.err;
    setenv("SLURM_CONF", started.out.substr(0, started.out.find('\n')).c_str(), 1);
  }

  std::optional<TempDir> slurm_;

  void dump_of(const std::string& machine, const std::string& file) {
    const std::string dumps = folder_.path("made");
    fs::create_directory(dumps);
    const std::string config =
        folder_.write("vm.conf", "system vm\narch " + machine + "\ncpu\ncpu\nram 256M\ndump " + dumps + "\n");
    Process vmm({program("gcore-vmm"), config});
    ASSERT_TRUE(vmm.wait_for_line(Process::Stream::out, "heartbeat"));
    vmm.signal(SIGUSR2);
    const auto line = vmm.wait_for_line(Process::Stream::err, "dump written: ");
    ASSERT_TRUE(line) << vmm.err();
    vmm.signal(SIGTERM);
    EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0}));
    for (const auto& entry : fs::directory_iterator(dumps)) fs::rename(entry.path(), folder_.path(file));
    fs::remove(dumps);
    fs::remove(config);
  }
};

TEST_P(Commands, Work) {
  const std::string name = GetParam();
  const auto exceptions = not_run();
  std::vector<Block> blocks;
  for (const Block& block : blocks_of_document(name)) {
    if (!is_listed(exceptions, name, block)) blocks.push_back(block);
  }
  if (std::ranges::any_of(blocks, is_command)) run_blocks(name, blocks, folder_.path());
}

INSTANTIATE_TEST_SUITE_P(Of, Commands, testing::ValuesIn(documents()), [](const auto& test) {
  std::string name = test.param.ends_with(".md") ? fs::path(test.param).stem().string()
                                                 : "manual_" + fs::path(test.param).stem().string();
  if (test.param.starts_with("writer/")) name = "writer_" + name;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)) && c != '_'; });
  return name;
});

// An exception whose command has changed or gone is one that hides something.
TEST(NotRun, HasOnlyCommandsOfTheDocuments) {
  for (const auto& [name, lines] : not_run()) {
    const auto blocks = blocks_of_document(name);
    for (const std::string& line : lines) {
      const auto is_it = [&](const Block& block) { return is_command(block) && fits(line, block.first_line()); };
      EXPECT_TRUE(std::ranges::any_of(blocks, is_it)) << name << ": " << line;
    }
  }
}

// The piece of C++ that README.md shows, with what its reader has: a guest.
TEST(Readme, SnippetCompiles) {
  TempDir scratch;
  size_t snippets = 0;
  for (const Block& block : blocks_of(read_file(source_dir() + "/README.md"))) {
    if (block.language != "cpp") continue;
    snippets++;
    const size_t code = block.text.find("\n\n");
    ASSERT_NE(code, std::string::npos) << "first what is included, then an empty line";
    const std::string source = scratch.write("snippet.cc", "#include <cstdio>\n" + block.text.substr(0, code) +
                                                               "\nvoid embed(gcore::writer::Guest& guest) {" +
                                                               block.text.substr(code) + "}\n");
    const Completed done =
        run({"c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I" + source_dir(), source});
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  }
  EXPECT_EQ(snippets, 1U);
}

TEST(ShellDocument, TellsOutputApart) {
  EXPECT_TRUE(output_fits("a b\n", "a b\n"));
  EXPECT_TRUE(output_fits("a b\n\n", "a b  \n"));
  EXPECT_TRUE(output_fits("", ""));
  EXPECT_TRUE(output_fits("a ... d\n", "a b c d\n"));
  EXPECT_TRUE(output_fits("...\nlast\n", "one\ntwo\nlast\n"));
  EXPECT_TRUE(output_fits("...\nlast\n", "last\n"));
  EXPECT_TRUE(output_fits("first\n...\n", "first\ntwo\n"));
  EXPECT_TRUE(output_fits("(a+b) [c]\n", "(a+b) [c]\n"));
  EXPECT_FALSE(output_fits("a\n", "a\nb\n"));
  EXPECT_FALSE(output_fits("a ... d\n", "a b\nc d\n"));
  EXPECT_FALSE(output_fits("a.c\n", "abc\n"));
  EXPECT_FALSE(output_fits("", "a\n"));
  const auto steps = console_steps("$ one \\\n  more\nsays\n$ two\n");
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].command, "one \\\n  more");
  EXPECT_EQ(steps[0].expected, "says\n");
  EXPECT_EQ(steps[1].command, "two");
}

}  // namespace
}  // namespace gcore::tests
