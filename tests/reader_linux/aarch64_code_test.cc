// What is made of aarch64 instructions, beside what the compiler itself says of the same code: the call frame
// information of the cross compiler's libraries, as readelf shows it.
#include "reader/guest/linux/symbols/aarch64_code.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <sstream>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::linux_guest::Aarch64Frame;
using reader::linux_guest::Aarch64Row;

struct Row {
  uint64_t address = 0;
  bool by_sp = false;
  int distance = 0;
  std::map<std::string, int> saved{};  // below the CFA
};

struct Function {
  uint64_t start = 0, end = 0;
  std::vector<Row> rows{};
};

std::vector<Function> functions_of(const std::string& library) {
  static const Regex kFde(".* FDE .* pc=([0-9a-f]+)\\.\\.([0-9a-f]+)"), kCfa("(sp|x[0-9]+|r[0-9]+)([+-][0-9]+)");
  const Completed shown = run({"readelf", "--debug-dump=frames-interp", library}, 120s);
  std::vector<Function> functions;
  std::vector<std::string> columns;
  std::istringstream lines(shown.out);
  bool in_fde = false;
  for (std::string line; std::getline(lines, line);) {
    RegexMatch match;
    if (regex_match(line, match, kFde)) {
      functions.push_back({std::stoull(match[1], nullptr, 16), std::stoull(match[2], nullptr, 16)});
      in_fde = true;
      continue;
    }
    if (line.empty()) in_fde = false;
    if (!in_fde) continue;
    std::istringstream words(line);
    std::string first, cfa;
    words >> first >> cfa;
    if (first == "LOC") {
      columns.clear();
      for (std::string name; words >> name;) columns.push_back(name);
      continue;
    }
    Row row{.address = std::stoull(first, nullptr, 16)};
    if (regex_match(cfa, match, kCfa)) row.by_sp = match[1] == "sp", row.distance = std::stoi(match[2]);
    std::string rule;
    for (size_t i = 0; words >> rule && i < columns.size(); ++i)
      if (rule.starts_with("c-") && (columns[i] == "ra" || columns[i][0] == 'x'))
        row.saved[columns[i]] = std::stoi(rule.substr(2));
    functions.back().rows.push_back(row);
  }
  return functions;
}

std::map<std::string, int> saved_in(const Aarch64Frame& frame) {
  std::map<std::string, int> saved;
  for (size_t i = 0; i < frame.saved.size(); ++i) {
    const size_t number = Aarch64Frame::kFirstSaved + i;
    if (frame.saved[i] != 0) saved[number == 30 ? "ra" : "x" + std::to_string(number)] = frame.saved[i];
  }
  return saved;
}

const Aarch64Frame& at(const std::vector<Aarch64Row>& rows, size_t instruction) {
  const Aarch64Frame* found = &rows.front().frame;
  for (const Aarch64Row& row : rows)
    if (row.instruction <= instruction) found = &row.frame;
  return *found;
}

struct Difference {
  std::string text{};        // empty: none
  bool saved_alone = false;  // the caller is found, with another value of a register from x19 to x28
};

/// What differs at the calls and returns of a function.
Difference difference(const Function& function, const std::string& file) {
  std::vector<uint32_t> code((function.end - function.start) / 4);
  std::memcpy(code.data(), file.data() + function.start, code.size() * 4);
  const auto rows = reader::linux_guest::follow_aarch64_code(code);
  Row theirs{.by_sp = true};
  size_t next = 0;
  std::ostringstream said;
  for (size_t i = 0; i < code.size(); ++i) {
    while (next < function.rows.size() && function.rows[next].address <= function.start + i * 4)
      theirs = function.rows[next++];
    const bool is_call = (code[i] & 0xfc000000) == 0x94000000, is_return = code[i] == 0xd65f03c0;
    if (!is_call && !is_return) continue;
    const Aarch64Frame& ours = at(rows, i);
    const auto saved = saved_in(ours);
    // With a frame pointer the distance is that to the frame record, where there is one at x29.
    const bool same = ours.by_x29 ? saved.contains("x29") : theirs.by_sp && ours.distance == theirs.distance;
    if (ours.lost_return && theirs.saved.empty()) continue;  // handwritten code that says nothing of it
    if (!ours.lost_return && same && saved == theirs.saved) continue;
    said << std::hex << " at " << function.start + i * 4 << std::dec << " ours " << (ours.by_x29 ? "x29+" : "sp+")
         << ours.distance << (ours.lost_return ? " lost" : "");
    for (const auto& [name, place] : saved) said << ' ' << name << ":c-" << place;
    said << ", theirs " << (theirs.by_sp ? "sp+" : "?+") << theirs.distance;
    for (const auto& [name, place] : theirs.saved) said << ' ' << name << ":c-" << place;
    const auto place = [](const std::map<std::string, int>& map, const char* name) {
      const auto found = map.find(name);
      return found == map.end() ? 0 : found->second;
    };
    const bool finds_caller = !ours.lost_return && same && place(saved, "x29") == place(theirs.saved, "x29") &&
                              place(saved, "ra") == place(theirs.saved, "ra");
    return {said.str(), finds_caller};
  }
  return {};
}

class Aarch64Code : public testing::TestWithParam<const char*> {};

TEST_P(Aarch64Code, HasTheFramesThatTheCompilerHas) {
  const std::string library = std::string("/usr/aarch64-linux-gnu/lib/") + GetParam();
  const std::string file = read_file(library);
  ASSERT_FALSE(file.empty());
  size_t different = 0, saved_alone = 0;
  const auto functions = functions_of(library);
  ASSERT_GT(functions.size(), 500u);
  for (const Function& function : functions) {
    ASSERT_LE(function.end, file.size());  // the code stands in the file where it is in memory
    const Difference what = difference(function, file);
    if (what.saved_alone)
      ++saved_alone;
    else if (!what.text.empty() && ++different <= 20)
      ADD_FAILURE() << what.text;
  }
  EXPECT_EQ(different, 0u) << "of " << functions.size();
  // Where a jump table leads to no instruction says, and what was saved there is a guess.
  EXPECT_LE(saved_alone * 500, functions.size());
}

INSTANTIATE_TEST_SUITE_P(Libraries, Aarch64Code, testing::Values("libm.so.6", "libc.so.6"),
                         [](const auto& test) { return test.index == 0 ? "Mathematics" : "C"; });

}  // namespace
}  // namespace gcore::tests
