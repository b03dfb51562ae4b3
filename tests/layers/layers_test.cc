#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/layers/include_rules.h"
#include "tests/support/paths.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Layers, EveryIncludeKeepsTheTable) {
  const auto files = source_files(source_dir());
  for (const char* folder : {"writer/base/", "writer/format/", "writer/kvm/", "writer/", "reader/source/remote/",
                             "reader/source/", "reader/dump/", "reader/translate/", "reader/space/", "reader/search/",
                             "reader/guest/", "reader/", "gdbstub/", "tools/", "tests/"}) {
    EXPECT_THAT(files, Contains(testing::StartsWith(folder)));
  }
  for (const std::string& file : files) {
    for (const std::string& violation : include_violations(file, read_file(source_dir() + "/" + file))) {
      ADD_FAILURE() << violation;
    }
  }
}

// What a program of ours includes, one that is built against an installation has too.
TEST(Layers, ToolsIncludePublicHeadersOnly) {
  std::set<std::string> installed;
  const Regex header("[a-z]+/[a-z0-9_/]+\\.h");
  for (const char* library : {"writer", "writer/kvm", "reader", "gdbstub"}) {
    const std::string path = source_dir() + "/" + library + "/CMakeLists.txt";
    if (!std::filesystem::exists(path)) continue;
    const std::string text = read_file(path);
    const Regex list("(?:gcore_install_library|set\\(gcore_kvm_headers)([^)]*)\\)");
    for (const RegexMatch& names : regex_search_all(text, list))
      for (const RegexMatch& name : regex_search_all(names[1], header)) installed.insert(name[0]);
  }
  EXPECT_THAT(installed, Contains("reader/dump/dump.h"));
  const Regex include("#include \"((?:writer|reader|gdbstub)/[^\"]+)\"");
  for (const std::string& file : source_files(source_dir())) {
    if (!file.starts_with("tools/")) continue;
    const std::string text = read_file(source_dir() + "/" + file);
    for (const RegexMatch& included : regex_search_all(text, include))
      EXPECT_TRUE(installed.contains(included[1])) << file << " includes " << included[1] << ", which is not installed";
  }
}

/// A row of the table of docs/architecture.md: folders, and what they may include.
struct Room {
  std::vector<std::string> folders, includes;
};

std::vector<std::string> names_in(const std::string& cell) {
  static const Regex name("`([^`]+)`");
  std::vector<std::string> names;
  for (const RegexMatch& match : regex_search_all(cell, name)) names.push_back(match[1]);
  return names;
}

std::vector<Room> rooms() {
  const std::string text = read_file(source_dir() + "/docs/architecture.md");
  std::istringstream lines(text.substr(text.find("\n## Rooms\n")));
  std::vector<Room> rooms;
  bool inside = false;
  for (std::string line; std::getline(lines, line) && (line.starts_with('|') || !inside);) {
    inside = line.starts_with('|');
    std::vector<std::string> cells;
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, '|');) cells.push_back(cell);
    if (cells.size() == 5 && !names_in(cells[1]).empty()) rooms.push_back({names_in(cells[1]), names_in(cells[3])});
  }
  return rooms;
}

/// "gdbstub/dump_*" as the start of a file's path.
std::string start_of(const std::string& folder) {
  return folder.ends_with('*') ? folder.substr(0, folder.size() - 1) : folder + "/";
}

// What people read is what is checked: whether a room may include another one.
TEST(Layers, TheRulesAreThoseOfArchitectureMd) {
  const std::vector<Room> all = rooms();
  ASSERT_GE(all.size(), 15U);
  for (const Room& from : all)
    for (const std::string& folder : from.folders) {
      std::vector<std::string> allowed = from.includes;
      allowed.push_back(folder);
      if (folder.starts_with("reader/")) {
        allowed.insert(allowed.end(), {"writer/base", "writer/format"});
        for (const char* header : {"reader/address.h", "reader/error.h"})
          EXPECT_THAT(include_violations(start_of(folder) + "x.cc", "#include \"" + std::string(header) + "\"\n"),
                      IsEmpty());
      }
      for (const Room& to : all)
        for (const std::string& other : to.folders) {
          // A folder in a folder is a room of its own, which is another room's to include when that names the outer
          // one.
          const auto covers = [&](const std::string& name) {
            return other == name || (name != folder && start_of(other).starts_with(start_of(name)));
          };
          const bool may = std::ranges::any_of(allowed, covers);
          const std::string include = "#include \"" + start_of(other) + "x.h\"\n";
          EXPECT_EQ(include_violations(start_of(folder) + "x.cc", include).empty(), may) << folder << ": " << include;
        }
    }
}

// Each part of LLVM is used by one .cc file of the reader: the Object library behind the one that takes ELF files
// apart, the JSON parser behind those that read .gcore.info and the description in QEMU's streams, SHA-256 behind the
// signatures.
TEST(Layers, EachPartOfLlvmIsUsedByFewFilesOfTheReader) {
  std::vector<std::string> object, json, hash, other;
  for (const std::string& file : source_files(source_dir())) {
    if (!file.starts_with("reader/")) continue;
    const std::string text = read_file(source_dir() + "/" + file);
    if (text.find("#include <llvm/") == std::string::npos) continue;
    if (text.find("#include <llvm/Object/") != std::string::npos)
      object.push_back(file);
    else if (text.find("#include <llvm/Support/JSON.h>") != std::string::npos)
      json.push_back(file);
    else if (text.find("#include <llvm/Support/SHA256.h>") != std::string::npos)
      hash.push_back(file);
    else
      other.push_back(file);
  }
  EXPECT_EQ(object, std::vector<std::string>{"reader/dump/elf_file.cc"});
  EXPECT_EQ(json, (std::vector<std::string>{"reader/dump/device_state.cc", "reader/dump/info.cc"}));
  EXPECT_EQ(hash, std::vector<std::string>{"reader/source/remote/sha256.cc"});
  EXPECT_EQ(other, std::vector<std::string>{});
}

// <regex> takes a compiler two seconds for each file that uses it. When trouble_guest.cc changes, its guests are booted
// anew.
TEST(Layers, TestsUseRegularExpressionsThroughTheirOwnHeader) {
  for (const std::string& file : source_files(source_dir())) {
    if (!file.starts_with("tests/") || file == "tests/support/regex.cc" || file == "tests/support/trouble_guest.cc")
      continue;
    EXPECT_EQ(read_file(source_dir() + "/" + file).find("\n#include <regex>"), std::string::npos)
        << file << ": tests/support/regex.h has what it needs of <regex>";
  }
}

struct Planted {
  const char* path;
  const char* text;
  const char* why;
};

class PlantedViolation : public testing::TestWithParam<Planted> {};

TEST_P(PlantedViolation, IsFound) {
  EXPECT_THAT(include_violations(GetParam().path, GetParam().text), ElementsAre(HasSubstr(GetParam().why)));
}

INSTANTIATE_TEST_SUITE_P(
    Each, PlantedViolation,
    testing::Values(
        Planted{"writer/base/x.h", "#include \"writer/format/elf.h\"\n", "writer/base/ may not"},
        Planted{"writer/format/x.h", "#include \"writer/dump.h\"\n", "x.h:1: writer/dump.h"},
        Planted{"writer/x.cc", "\n#include \"reader/dump/dump.h\"\n", "x.cc:2"},
        Planted{"writer/x.cc", "#include <fmt/format.h>\n", "may not use this library"},
        Planted{"writer/x.cc", "#include \"writer/kvm/kvm.h\"\n", "writer/ may not"},
        Planted{"writer/kvm/x.cc", "#include <zstd.h>\n", "may not use this library"},
        Planted{"writer/x.h", "#include <zstd.h>\n", "headers of writer/"},
        Planted{"writer/x.cc", "#include \"dump.h\"\n", "path from the root"},
        Planted{"writer/x.cc", "  #  include <elf.h>  // allowed here\n", "elf.h"},
        Planted{"reader/x.cc", "#include \"writer/dump.h\"\n", "reader/ may not"},
        Planted{"reader/source/x.cc", "#include \"reader/dump/dump.h\"\n", "reader/source/ may not"},
        Planted{"reader/source/x.cc", "#include \"reader/source/remote/remote.h\"\n", "reader/source/ may not"},
        Planted{"reader/source/x.cc", "#include <curl/curl.h>\n", "may not use this library"},
        Planted{"reader/dump/x.cc", "#include \"reader/guest/guest.h\"\n", "reader/dump/ may not"},
        Planted{"reader/space/x.cc", "#include \"reader/guest/guest.h\"\n", "reader/space/ may not"},
        Planted{"reader/x.h", "#include <llvm/Object/ELF.h>\n", "headers of reader/"},
        Planted{"reader/x.cc", "#include \"gdbstub/target.h\"\n", "reader/ may not"},
        Planted{"reader/translate/x.cc", "#include \"reader/dump/dump.h\"  // NOLINT: layers\n", "may not include"},
        Planted{"reader/translate/x.cc", "#include <fmt/format.h>\n", "may not use this library"},
        Planted{"gdbstub/protocol/session.cc", "#include \"reader/dump/dump.h\"\n", "gdbstub/ may not"},
        Planted{"gdbstub/dump_target.cc", "#include \"tools/common/program.h\"\n", "may not include"},
        Planted{"gdbstub/x.cc", "#include <boost/program_options.hpp>\n", "may not use this library"},
        Planted{"tools/x.cc", "#include \"tests/support/paths.h\"\n", "tools/ may not"},
        Planted{"tools/x.cc", "#include <reader/dump/dump.h>\n", "quotation marks"},
        Planted{"examples/x.cc", "", "no rule"}),
    [](const auto& test) { return "Case" + std::to_string(test.index); });

TEST(PlantedFile, IsFoundAmongTheSources) {
  TempDir root;
  for (const char* folder : {"writer", "reader", "gdbstub", "tools", "tests"}) {
    ASSERT_EQ(std::system(("mkdir -p " + root.path(folder)).c_str()), 0);
  }
  root.write("writer/x.cc", "#include \"reader/dump/dump.h\"\n");
  root.write("tests/notes.txt", "#include \"reader/dump/dump.h\"\n");
  EXPECT_THAT(source_files(root.path()), ElementsAre("writer/x.cc"));
}

TEST(Layers, StandardAndAllowedIncludesPass) {
  EXPECT_THAT(
      include_violations("writer/x.cc", "#include <sys/mman.h>\n#include <zstd.h>\n#include \"writer/format/elf.h\"\n"),
      IsEmpty());
  EXPECT_THAT(include_violations("gdbstub/dump_target.cc", "#include \"reader/dump/dump.h\"\n"), IsEmpty());
}

}  // namespace
}  // namespace gcore::tests
