// --backtrace of a guest that was alive, beside gdb's bt of the same dump: the built-in guest with frame pointers, and
// the same sources compiled without them, where only unwind tables lead from a function to its caller.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llvm/Support/JSON.h>

#include <map>

#include "tests/inspect/guest_vm.h"
#include "tests/support/gdb_session.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

namespace json = llvm::json;

/// "function:line" of each frame, innermost first.
using Trace = std::vector<std::string>;

std::map<int, Trace> traces_of_gdb(const std::string& elf, const std::string& dump) {
  const GdbResult gdb =
      run_gdb({"thread apply all bt"}, {elf, "-ex", "target remote | " + program("gcore-serve") + " --stdio " + dump});
  std::map<int, Trace> traces;
  std::istringstream lines(gdb.of.empty() ? "" : gdb.of[0]);
  int cpu = -1;
  static const Regex thread(R"(^Thread ([0-9]+) )"),
      frame(R"(^#[0-9]+ +(?:0x[0-9a-f]+ in )?(\S+) \(.*\)(?: at \S+:([0-9]+))?.*$)");
  for (std::string line; std::getline(lines, line);) {
    RegexMatch match;
    if (regex_search(line, match, thread)) cpu = std::stoi(match[1]) - 1;
    if (regex_match(line, match, frame)) traces[cpu].push_back(match[1] + ":" + match[2]);
  }
  EXPECT_EQ(traces.size(), 3u) << gdb.output;
  return traces;
}

std::map<int, Trace> traces_of_inspect(const std::string& elf, const std::string& dump) {
  const Completed done = run({program("gcore-inspect"), dump, "--json", "--symbols", elf});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  std::map<int, Trace> traces;
  auto parsed = json::parse(done.out);
  if (!parsed) {
    ADD_FAILURE() << done.out;
    return traces;
  }
  for (const json::Value& value : *parsed->getAsObject()->getArray("cpus")) {
    const json::Object& cpu = *value.getAsObject();
    Trace& trace = traces[static_cast<int>(*cpu.getInteger("index"))];
    for (const json::Value& frame : *cpu.getObject("backtrace")->getArray("frames"))
      for (const json::Value& function : *frame.getAsObject()->getArray("functions")) {
        const json::Object& one = *function.getAsObject();
        const auto line = one.getInteger("line");
        trace.push_back(one.getString("name").value_or("").str() + ":" + (line ? std::to_string(*line) : ""));
      }
  }
  return traces;
}

class Unwind : public testing::TestWithParam<const char*> {};

TEST_P(Unwind, IsAsGdbHasIt) {
  const std::string elf = GetParam();
  GuestVm vm(elf);
  const std::string dump = vm.dump("guest.gcore");
  const auto gdb = traces_of_gdb(elf, dump), ours = traces_of_inspect(elf, dump);
  EXPECT_EQ(ours, gdb);
  size_t deepest = 0;
  for (const auto& [cpu, trace] : ours) deepest = std::max(deepest, trace.size());
  EXPECT_GE(deepest, 3u);
}

INSTANTIATE_TEST_SUITE_P(Guest, Unwind,
                         testing::Values(GCORE_GUEST_WITH_FRAME_POINTERS, GCORE_GUEST_WITHOUT_FRAME_POINTERS),
                         [](const auto& test) { return test.index == 0 ? "FramePointers" : "UnwindTables"; });

}  // namespace
}  // namespace gcore::tests
