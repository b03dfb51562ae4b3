// The form of the documentation: links lead somewhere, blocks say what they are, manuals format cleanly, and Doxygen
// has nothing to say against the public headers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>
#include <tuple>

#include "tests/docs/markdown.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "writer/format/registers.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;

/// All Markdown files of the tree that people read, and all manuals, by their paths from its root.
std::vector<std::string> files(const std::string& extension) {
  std::vector<std::string> names;
  for (const char* top : {"docs", "writer", "tools"})
    for (const auto& entry : fs::recursive_directory_iterator(source_dir() + "/" + top))
      if (entry.path().extension() == extension) names.push_back(fs::relative(entry.path(), source_dir()));
  if (extension == ".md")
    for (const char* name : {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}) names.emplace_back(name);
  return names;
}

TEST(Pages, LinksLeadSomewhere) {
  size_t links = 0;
  for (const std::string& name : files(".md")) {
    for (const std::string& link : links_of(read_file(source_dir() + "/" + name))) {
      links++;
      if (link.starts_with("http")) continue;
      const size_t hash = std::min(link.find('#'), link.size());
      const fs::path target = hash == 0 ? fs::path(source_dir()) / name
                                        : (fs::path(source_dir()) / name).parent_path() / link.substr(0, hash);
      EXPECT_TRUE(fs::exists(target)) << name << " links to " << link;
      if (hash < link.size() && fs::exists(target)) {
        EXPECT_THAT(anchors_of(read_file(target)), Contains(link.substr(hash + 1))) << name << " links to " << link;
      }
    }
  }
  EXPECT_GE(links, 20U);
}

TEST(Pages, ReadmeKnowsAllOfThem) {
  const auto links = links_of(read_file(source_dir() + "/README.md"));
  for (const std::string& name : files(".md")) {
    if (name.starts_with("docs/") || name.starts_with("writer/")) {
      EXPECT_THAT(links, Contains(name));
    }
  }
}

TEST(Pages, BlocksSayWhatTheyAre) {
  const std::set<std::string> known{"sh",   "console", "gdb", "cpp",    "c",   "cmake",
                                    "json", "text",    "ini", "python", "xml", "rust"};
  for (const std::string& name : files(".md")) {
    const std::string text = read_file(source_dir() + "/" + name);
    for (const Block& block : blocks_of(text))
      EXPECT_TRUE(known.contains(block.language)) << name << ":" << block.line << ": '" << block.language << "'";
    EXPECT_THAT(indented_code(text), testing::IsEmpty())
        << name << ": a block in no known language, which no test sees";
  }
}

TEST(Pages, LinesAreWrapped) {
  EXPECT_THAT(long_lines("1234\n12345\n|12345|\n```sh\n12345\n```\n\u00e4\u00e4\u00e4\u00e4\n", 4),
              testing::ElementsAre(2));
  constexpr size_t kWidth = 120;
  for (const std::string& name : files(".md"))
    EXPECT_THAT(long_lines(read_file(source_dir() + "/" + name), kWidth), testing::IsEmpty()) << name;
}

// The manual page and the header name each register, and none that there is not.
TEST(Manuals, RegistersAreThoseOfTheWriter) {
  const auto expand = [](const std::string& text) {  // "st0.lo st0.hi \fRto\fP st7.lo st7.hi", "r8 to r15"
    std::istringstream words(text);
    std::vector<std::string> names;
    bool range = false;
    const auto split = [](const std::string& name) {
      const size_t digit = name.find_first_of("0123456789");
      const size_t end = name.find_first_not_of("0123456789", digit);
      return std::tuple(name.substr(0, digit), name.substr(digit, end - digit),
                        end == std::string::npos ? "" : name.substr(end));
    };
    for (std::string word; words >> word;) {
      if (word == "\\fRto\\fP") {
        range = true;
        continue;
      }
      if (range) {  // from the one before to this one, with all the endings that those between have
        const auto [stem, from, ending] = split(names.back());
        const auto [same, to, its_ending] = split(word);
        for (int number = std::stoi(from) + 1; number <= std::stoi(to); ++number)
          for (const char* half : {".lo", ".hi"})
            names.push_back(stem + std::to_string(number) + (ending.empty() ? "" : half));
        range = false;
      }
      names.push_back(word);
    }
    return names;
  };
  const std::string manual = read_file(source_dir() + "/docs/gcore-registers.7");
  const std::string header = read_file(source_dir() + "/writer/gcore_registers.h");
  const std::pair<const char*, format::Machine> machines[] = {{".SH X86_64\n", format::Machine::x86_64},
                                                              {".SH AARCH64\n", format::Machine::aarch64},
                                                              {".SH X86\n", format::Machine::x86}};
  for (const auto& [heading, machine] : machines) {
    const size_t begin = manual.find(heading);
    ASSERT_NE(begin, std::string::npos) << heading;
    std::istringstream section(manual.substr(begin, manual.find("\n.SH", begin) - begin));
    std::set<std::string> named, known;
    std::string before;
    for (std::string line; std::getline(section, line); before = line) {
      if (before != ".TP" || !line.starts_with(".B ")) continue;
      for (const std::string& name : expand(line.substr(3))) named.insert(name);
    }
    for (const auto& info : format::registers(machine)) known.insert(std::string(info.name));
    EXPECT_EQ(named, known) << heading;
    for (const std::string& name : known) {
      const std::string stem = name.substr(0, name.find_first_of("._0123456789"));
      EXPECT_THAT(header, testing::HasSubstr(stem)) << name;
    }
  }
}

TEST(Manuals, FormatWithoutWarnings) {
  std::vector<std::string> manuals = files(".1");
  manuals.insert(manuals.end(), {"docs/gcore.5", "docs/gcore-registers.7"});
  EXPECT_GE(manuals.size(), 7U);
  for (const std::string& name : manuals) {
    Process::Options options;
    options.environment = {"MANWIDTH=80", "LC_ALL=C.UTF-8"};
    const Completed done = run({"man", "--warnings", "--local-file", source_dir() + "/" + name}, 30s, {}, options);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << name;
    EXPECT_EQ(done.err, "") << name;
    EXPECT_GT(done.out.size(), 500U) << name;
  }
}

// As README.md says it, over the tree; and over the headers as they are installed, since nothing else is public.
TEST(Doxygen, FindsNothingWrongInTheTree) {
  TempDir scratch;
  const std::string doxyfile = read_file(source_dir() + "/docs/Doxyfile") +
                               "\nOUTPUT_DIRECTORY = " + scratch.path("out") + "\nWARN_AS_ERROR = FAIL_ON_WARNINGS\n";
  Process::Options options;
  options.directory = source_dir();
  const Completed done = run({"doxygen", scratch.write("Doxyfile", doxyfile)}, 200s, {}, options);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_EQ(done.err, "");
}

TEST(Doxygen, FindsNothingWrongWithPublicHeaders) {
  TempDir scratch;
  const std::string prefix = scratch.path("prefix");
  for (const char* component : {"writer", "reader", "gdbstub"}) {
    const Completed done =
        run({GCORE_CMAKE, "--install", build_dir(), "--prefix", prefix, "--component", component}, 120s);
    ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  }
  std::string doxyfile = read_file(source_dir() + "/docs/Doxyfile");
  doxyfile += "\nINPUT = " + prefix + "/include/gcore\nOUTPUT_DIRECTORY = " + scratch.path("out") +
              "\nSTRIP_FROM_PATH = " + prefix + "/include\nWARN_AS_ERROR = FAIL_ON_WARNINGS\n";
  Process::Options options;
  options.directory = source_dir();
  const Completed done = run({"doxygen", scratch.write("Doxyfile", doxyfile)}, 200s, {}, options);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_EQ(done.err, "");
  EXPECT_TRUE(fs::exists(scratch.path("out") + "/html/classgcore_1_1writer_1_1Dumper.html"));
}

}  // namespace
}  // namespace gcore::tests
