// What writer/README.md shows compiles. Each of its blocks in C and C++ has a file in snippets/, named after the
// heading above the block, with what the reader of the block has: in place of the line @SNIPPET@ goes the block.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>

#include "tests/embed/projects.h"
#include "tests/support/paths.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

struct Snippet {
  std::string name;  // of its file: "from-c.c.in"
  std::string text;
};

/// "Implement `Guest`" is implement-guest.
std::string slug(const std::string& heading) {
  std::string name;
  for (const char c : heading) {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (c == ' ') {
      name += '-';
    }
  }
  return name;
}

std::vector<Snippet> snippets(const std::string& markdown) {
  std::vector<Snippet> found;
  std::istringstream lines(markdown);
  std::string heading, language, text;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      if (inside && (language == "c" || language == "cpp")) {
        found.push_back({slug(heading) + (language == "c" ? ".c.in" : ".cc.in"), text});
      }
      inside = !inside;
      language = line.substr(3);
      text.clear();
    } else if (inside) {
      text += line + "\n";
    } else if (line.starts_with("## ")) {
      heading = line.substr(3);
    }
  }
  EXPECT_FALSE(inside) << "a block without an end";
  return found;
}

TEST(WriterReadme, EveryBlockSaysItsLanguage) {
  std::istringstream lines(read_file(source_dir() + "/writer/README.md"));
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      EXPECT_TRUE(inside || line.size() > 3) << "a block in no known language";
      inside = !inside;
    } else if (!inside) {
      EXPECT_FALSE(line.starts_with("    ")) << "indented, so in no known language: " << line;
    }
  }
}

TEST(WriterReadme, EverySnippetCompiles) {
  const std::string folder = source_dir() + "/tests/embed/snippets";
  std::vector<std::string> names;
  TempDir scratch;
  for (const Snippet& snippet : snippets(read_file(source_dir() + "/writer/README.md"))) {
    std::string program = read_file(folder + "/" + snippet.name);
    const std::string marker = "@SNIPPET@\n";
    const size_t place = program.find(marker);
    ASSERT_NE(place, std::string::npos) << snippet.name;
    program.replace(place, marker.size(), snippet.text);

    const std::string source = scratch.write(snippet.name.substr(0, snippet.name.size() - 3), program);
    const bool c = source.ends_with(".c");
    run_well({c ? GCORE_C_COMPILER : GCORE_CXX_COMPILER, c ? "-std=c11" : "-std=c++20", "-Wall", "-Wextra", "-Werror",
              "-pedantic", "-fsyntax-only", "-I" + source_dir(), "-I" + source_dir() + "/writer", source});
    names.push_back(snippet.name);
  }

  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(files));
  EXPECT_GE(names.size(), 3U);
}

}  // namespace
}  // namespace gcore::tests
