// The symbol file that --write-symbols makes, judged by those who read it: LLVM's verifier, readelf, gdb.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

class SymbolFileOfGuest : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    const Completed written = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file_}, 120s);
    ASSERT_EQ(written.status, (ExitStatus{0, 0})) << written.err;
    EXPECT_THAT(written.out, HasSubstr(" symbols, "));
    has_data_ = oracle_.said("/proc/kallsyms").find(" init_task\n") != std::string::npos;
    EXPECT_EQ(written.err.find("no variables") == std::string::npos, has_data_) << written.err;
  }

  bool is_x86() const { return std::string_view(GetParam().machine) == "x86_64"; }

  /// What gdb prints for each of the commands; `target` before them.
  std::string gdb(std::vector<std::string> commands) const {
    std::vector<std::string> argv{is_x86() ? "gdb" : "gdb-multiarch", "-nx", "-batch", "-ex", "set pagination off"};
    for (std::string& command : commands) argv.insert(argv.end(), {"-ex", std::move(command)});
    argv.push_back(file_);
    const Completed done = run(std::move(argv), 300s);
    EXPECT_EQ(done.status, (ExitStatus{0, 0}));
    return done.out + done.err;
  }

  const LinuxOracle& oracle_ = linux_oracle(GetParam().recipe());
  TempDir folder_;
  const std::string file_ = folder_.path("symbols");
  bool has_data_ = false;
};

TEST_P(SymbolFileOfGuest, IsSoundDwarf) {
  const Completed done = run({"llvm-dwarfdump-19", "--verify", file_}, 300s);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out.substr(0, 4000);
  EXPECT_THAT(done.out, HasSubstr("No errors."));
}

TEST_P(SymbolFileOfGuest, HasAllNamesAndTheBuildId) {
  const Completed symbols = run({"readelf", "-sW", file_}, 120s);
  EXPECT_EQ(symbols.err, "");
  std::multiset<std::pair<std::string, uint64_t>> found, said;
  std::istringstream lines(symbols.out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number, value, size, type, binding, visibility, section, name;
    if (!(words >> number >> value >> size >> type >> binding >> visibility >> section >> name)) continue;
    if (number != "Num:") found.emplace(name, std::stoull(value, nullptr, 16));
  }
  for (const KnownSymbol& symbol : parse_kallsyms(oracle_.said("/proc/kallsyms")))
    said.emplace(symbol.name, symbol.address);
  EXPECT_EQ(found.size(), said.size());
  EXPECT_EQ(found, said);
  const auto dump = open_dump(oracle_);
  std::smatch id;
  const std::string info(reader::Guest(*dump).system().vmcoreinfo);
  ASSERT_TRUE(std::regex_search(info, id, std::regex("BUILD-ID=([0-9a-f]+)")));
  EXPECT_THAT(run({"readelf", "-nW", file_}, 60s).out, HasSubstr("Build ID: " + id[1].str()));
}

TEST_P(SymbolFileOfGuest, GivesGdbTypesAndFunctions) {
  const std::string said =
      gdb({"ptype struct list_head", "whatis schedule", "print sizeof(struct page)", "print (int)PIDTYPE_SID",
           "print &((struct module *)0)->name", "whatis fw_cfg_sysfs_probe"});
  EXPECT_THAT(said, HasSubstr("struct list_head *next;\n    struct list_head *prev;"));
  EXPECT_THAT(said, HasSubstr("type = void (void)"));
  EXPECT_THAT(said, HasSubstr("$1 = 64\n"));
  EXPECT_THAT(said, HasSubstr("$2 = 3\n"));
  EXPECT_THAT(said, HasSubstr("(char (*)[56]) 0x18"));
  EXPECT_THAT(said, HasSubstr("type = int (struct platform_device *)"));
  EXPECT_THAT(said, Not(HasSubstr("warning")));
}

TEST_P(SymbolFileOfGuest, GivesGdbVariablesAndStacks) {
  const std::string serve = "target remote | " + program("gcore-serve") + " --stdio " + oracle_.dump();
  const std::string said = gdb({serve, "print init_task.comm", "print init_uts_ns.name.release",
                                "print prb->desc_ring.count_bits", "thread apply all bt"});
  if (has_data_) {
    EXPECT_THAT(said, HasSubstr("= \"swapper/0\""));
    EXPECT_THAT(said, HasSubstr('"' + oracle_.release() + '"'));
    EXPECT_THAT(said, testing::ContainsRegex("\\$3 = [0-9]+\n"));
  }
  if (is_x86()) {
    // One vCPU is idle, and its stack goes right down to where it was started.
    EXPECT_THAT(said, testing::ContainsRegex("in do_idle \\(\\)\n.* in cpu_startup_entry \\(state=<optimized out>\\)"));
    EXPECT_THAT(said, testing::AnyOf(HasSubstr("in secondary_startup_64"), HasSubstr("in x86_64_start_kernel")));
  }
}

INSTANTIATE_TEST_SUITE_P(Each, SymbolFileOfGuest, testing::ValuesIn(kGuests), guest_name);

class WriteSymbols : public testing::Test {
 protected:
  const LinuxOracle& oracle_ = linux_oracle(kGuests[0].recipe());
  TempDir folder_;
};

TEST_F(WriteSymbols, ReplacesOnlyItsOwn) {
  const std::string text = folder_.write("letter", "dear all");
  const Completed refused = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", text}, 60s);
  EXPECT_EQ(refused.status.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("is no symbol file, so it is not replaced"));
  EXPECT_EQ(read_file(text), "dear all");
  const Completed dump = run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", oracle_.dump()}, 60s);
  EXPECT_EQ(dump.status.code, 1);
  const std::string file = folder_.path("file");
  for (int i = 0; i < 2; i++)
    EXPECT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file}, 60s).status.code, 0);
  EXPECT_EQ(folder_.entries(), (std::vector<std::string>{"file", "letter"}));
  EXPECT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--contents"}, 60s).status.code, 2);
}

TEST_F(WriteSymbols, WithContentsHasTheKernelsText) {
  const std::string file = folder_.path("file");
  ASSERT_EQ(run({program("gcore-inspect"), oracle_.dump(), "--write-symbols", file, "--contents"}, 60s).status.code, 0);
  const Completed text = run({"gdb", "-nx", "-batch", "-ex", "x/s linux_banner", file}, 60s);
  EXPECT_THAT(text.out, HasSubstr("\"Linux version " + oracle_.release()));
}

}  // namespace
}  // namespace gcore::tests
