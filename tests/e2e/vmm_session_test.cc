// The whole way, as a user goes it: a guest runs in gcore-vmm, SIGUSR2 makes it dump, gcore-inspect reads the dump,
// gcore-serve serves it, and gdb shows the guest's own source lines and data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "tests/e2e/serve_process.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"
#include "tools/gcore-vmm/guest/layout.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

std::string guest_elf() { return build_dir() + "/share/gcore/builtin-guest.elf"; }

/// gcore-vmm with three vCPUs of the built-in guest: a scheduler, a logger, and a program in user mode.
class Vmm {
 public:
  explicit Vmm(const std::string& dump_argument) : process_({program("gcore-vmm"), config(dump_argument)}) {
    for (int cpu = 0; cpu < 3; cpu++) wait_for_heartbeat(cpu);
  }

  void wait_for_heartbeat(int cpu) {
    const std::string line = "^cpu 0*" + std::to_string(cpu) + ": heartbeat";
    if (!process_.wait_for_line(Process::Stream::out, line)) {
      throw std::runtime_error("no heartbeat of vCPU " + std::to_string(cpu) + ": " + process_.out() + process_.err());
    }
  }

  /// Asks for a dump and returns the line that tells how it went.
  std::string dump() {
    process_.signal(SIGUSR2);
    return process_.wait_for_line(Process::Stream::err, "^gcore-vmm: dump (written|failed): ").value_or("no answer");
  }

  Process& process() { return process_; }
  const TempDir& folder() const { return folder_; }

 private:
  std::string config(const std::string& dump_argument) {
    std::filesystem::create_directory(folder_.path("dumps"));
    return folder_.write("guest.conf", "# three vCPUs\nsystem \"night shift\"\ncpu\ncpu\ncpu\nram 32M\ndump " +
                                           (dump_argument.empty() ? folder_.path("dumps") : dump_argument) + "\n");
  }

  TempDir folder_;
  Process process_;
};

TEST(VmmDump, IsWrittenWhileTheGuestGoesOn) {
  Vmm vmm("");
  const std::string line = vmm.dump();
  RegexMatch match;
  const Regex form(R"(^gcore-vmm: dump written: (\S.*\.gcore) \(([0-9]+) bytes, guest paused [0-9.]+ ms\)$)");
  ASSERT_TRUE(regex_match(line, match, form)) << line;
  const std::filesystem::path path(match[1]);
  EXPECT_EQ(path.parent_path(), vmm.folder().path("dumps"));
  EXPECT_TRUE(regex_match(path.filename().string(), Regex(R"(night shift-[0-9]{8}-[0-9]{6}\.gcore)"))) << path;
  EXPECT_EQ(std::filesystem::file_size(path), std::stoull(match[2]));
  for (int cpu = 0; cpu < 3; cpu++) vmm.wait_for_heartbeat(cpu);
  vmm.process().signal(SIGUSR1);
  EXPECT_TRUE(vmm.process().wait_for_line(Process::Stream::err, "^gcore-vmm: "));
  vmm.process().signal(SIGTERM);
  EXPECT_EQ(vmm.process().wait(), (ExitStatus{0, 0}));
}

TEST(VmmDump, GoesThroughAPipe) {
  TempDir out;
  Vmm vmm("\"|gzip >" + out.path("dump.gz") + "\"");
  EXPECT_THAT(vmm.dump(), HasSubstr("dump written: "));
  const Completed verified = run({program("gcore-inspect"), out.path("dump.gz"), "--verify"});
  EXPECT_EQ(verified.status, (ExitStatus{0, 0})) << verified.out << verified.err;
}

// The ELF header, the program headers and the section headers: all that stands before the notes.
std::string layout_of(const std::string& dump) {
  const auto number = [&dump](size_t at) {
    uint64_t value = 0;
    std::memcpy(&value, dump.data() + at, sizeof value);
    return value;
  };
  return dump.substr(0, number(64 + 8));  // p_offset of the first program header, the notes'
}

TEST(VmmDump, HasOneLayoutInAPipeAndInAFile) {
  TempDir out;
  Vmm piping("\"|gzip >" + out.path("dump.gz") + "\""), filing("");
  EXPECT_THAT(piping.dump(), HasSubstr("dump written: "));
  const std::string line = filing.dump();
  RegexMatch match;
  ASSERT_TRUE(regex_search(line, match, Regex(R"(dump written: (.*\.gcore) \()"))) << line;
  ASSERT_EQ(run({"gunzip", out.path("dump.gz")}).status, (ExitStatus{0, 0}));
  const auto whole = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string piped = whole(out.path("dump")), filed = whole(match[1]);
  ASSERT_GT(filed.size(), 4096U);
  EXPECT_EQ(piped.size(), filed.size());
  EXPECT_TRUE(layout_of(piped) == layout_of(filed));
  EXPECT_GT(layout_of(filed).size(), 64U);
}

class FailingDump : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(FailingDump, SaysWhyAndTheGuestGoesOn) {
  const auto& [argument, why] = GetParam();
  Vmm vmm(argument);
  EXPECT_THAT(vmm.dump(), AllOf(HasSubstr("gcore-vmm: dump failed: "), ContainsRegex(why)));
  for (int cpu = 0; cpu < 3; cpu++) vmm.wait_for_heartbeat(cpu);
  EXPECT_THAT(vmm.dump(), HasSubstr("dump failed: "));
  vmm.process().signal(SIGINT);
  EXPECT_EQ(vmm.process().wait(), (ExitStatus{0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Targets, FailingDump,
                         testing::Values(std::pair("\"|cat >/dev/null; exit 3\"", "exit.*3"),
                                         std::pair("\"|exec no-such-command\"", "127"),
                                         std::pair("\"|kill -9 $$\"", "(Killed|signal 9|SIGKILL)")),
                         [](const auto& test) { return "Target" + std::to_string(test.index); });

TEST(VmmDump, FailsWhenTheFolderWentAway) {
  Vmm vmm("");
  std::filesystem::remove(vmm.folder().path("dumps"));
  vmm.folder().write("dumps", "a file in its place");
  EXPECT_THAT(vmm.dump(), ContainsRegex("gcore-vmm: dump failed: .*dumps.*: Not a directory"));
  for (int cpu = 0; cpu < 3; cpu++) vmm.wait_for_heartbeat(cpu);
  std::filesystem::remove(vmm.folder().path("dumps"));  // then it is made again
  EXPECT_THAT(vmm.dump(), HasSubstr("dump written: "));
}

/// A dump of the guest, and gdb on it.
class VmmSession : public testing::Test {
 protected:
  VmmSession() {
    Vmm vmm(folder_.path());
    const std::string line = vmm.dump();
    RegexMatch match;
    if (!regex_search(line, match, Regex("dump written: (.*\\.gcore) \\("))) throw std::runtime_error(line);
    dump_ = match[1];
  }

  GdbResult gdb(const std::string& target, std::vector<std::string> commands) {
    commands.insert(commands.begin(), "target remote " + target);
    GdbResult result = run_gdb(commands, {guest_elf()});
    EXPECT_FALSE(result.timed_out) << result.output;
    EXPECT_EQ(result.of.size(), commands.size()) << result.output;
    result.of.resize(commands.size());
    result.of.erase(result.of.begin());
    return result;
  }

  std::string over_stdio() const { return "| " + program("gcore-serve") + " --stdio \"" + dump_ + "\""; }

  TempDir folder_;
  std::string dump_;
};

TEST_F(VmmSession, ThreadsHaveBacktracesInSourceLines) {
  ServeProcess serve(dump_);
  for (const std::string& target : {serve.address(), over_stdio()}) {
    SCOPED_TRACE(target);
    const GdbResult said =
        gdb(target, {"info threads", "thread 1", "bt", "thread 2", "bt", "thread 3", "bt", "detach"});
    EXPECT_THAT(said.of[0], AllOf(HasSubstr("vCPU 0"), HasSubstr("vCPU 1"), HasSubstr("vCPU 2")));
    EXPECT_THAT(said.of[2], ContainsRegex("wait_for_tick.*kernel\\.c:[0-9]+"));
    EXPECT_THAT(said.of[2], ContainsRegex("scheduler_run.*kernel\\.c:[0-9]+"));
    EXPECT_THAT(said.of[2], ContainsRegex("kernel_main.*number=0.*kernel\\.c:[0-9]+"));
    EXPECT_THAT(said.of[4], ContainsRegex("logger_run.*kernel\\.c:[0-9]+"));
    EXPECT_THAT(said.of[4], ContainsRegex("kernel_main.*kernel\\.c:[0-9]+"));
    EXPECT_THAT(said.of[6], ContainsRegex("user_main.*user\\.c:[0-9]+"));
    for (size_t bt : {2, 4, 6}) {
      EXPECT_THAT(said.of[bt], Not(HasSubstr("??")));
      EXPECT_THAT(said.of[bt], Not(HasSubstr("corrupt stack")));
    }
    EXPECT_THAT(said.of[7], HasSubstr("detached"));
  }
}

TEST_F(VmmSession, DataAreTheGuests) {
  ServeProcess serve(dump_);
  const GdbResult said =
      gdb(serve.address(), {"print cpus[0].role", "print cpus[0].tasks->name", "print cpus[0].tasks->next->name",
                            "print cpus[0].tasks->next->next->next->next->next->name",
                            "print cpus[0].tasks->next->next->next->next->next->next == cpus[0].tasks",
                            "print cpus[0].current->input", "thread 1", "frame function scheduler_run", "info locals",
                            "print task->name", "print $gs_base == (long)cpus[0].self", "thread 2",
                            "print $gs_base == (long)&cpus[1]", "print logs[1].entries[0].text", "thread 3",
                            "print ($cs & 3) == 3", "frame function user_main", "print beats"});
  EXPECT_THAT(said.of[0], HasSubstr("\"scheduler\""));
  EXPECT_THAT(said.of[1], HasSubstr("\"init\""));
  EXPECT_THAT(said.of[2], HasSubstr("\"net-rx"));
  EXPECT_THAT(said.of[3], HasSubstr("\"idle-scan"));
  EXPECT_THAT(said.of[4], HasSubstr("= 1"));
  EXPECT_THAT(said.of[5], AllOf(HasSubstr("bytes = 0xffff888000c"), HasSubstr("size = 4096")));
  EXPECT_THAT(said.of[8], ContainsRegex("task = 0xffff[0-9a-f]+"));
  EXPECT_THAT(said.of[9], ContainsRegex("\"(init|net-rx|disk-flush|compress|audit|idle-scan)"));
  EXPECT_THAT(said.of[10], HasSubstr("= 1"));
  EXPECT_THAT(said.of[12], HasSubstr("= 1"));
  EXPECT_THAT(said.of[13], ContainsRegex("\"(link is up|warning: queue is long)"));
  EXPECT_THAT(said.of[15], HasSubstr("= 1"));
  EXPECT_THAT(said.of[17], ContainsRegex("= [1-9]"));
}

TEST_F(VmmSession, MemoryOfEachPageSizeAndOfNone) {
  ServeProcess serve(dump_);
  const std::string hole = std::to_string(GUEST_STACKS + 0x100);
  const GdbResult said = gdb(serve.address(), {"x/s banner",                                  // 4 KiB
                                               "print/x (unsigned long)cpus[0].tasks >> 21",  // the heap: 2 MiB
                                               "print cpus[0].tasks->id", "x/8xb cpus[0].tasks->input.bytes",  // 1 GiB
                                               "x/gx " + hole, "print 6 * 7", "x/gx 0x8000000000000000"});
  EXPECT_THAT(said.of[0], HasSubstr("\"gcore built-in guest\""));
  EXPECT_THAT(said.of[1], HasSubstr("0x7fffe480000"));
  EXPECT_THAT(said.of[2], HasSubstr("= 100"));
  EXPECT_THAT(said.of[3], HasSubstr("0x00\t0x00\t0x01\t0x02\t0x03\t0x03\t0x04\t0x05"));
  EXPECT_THAT(said.of[4], HasSubstr("Cannot access memory at address 0xffffffff90000100"));
  EXPECT_THAT(said.of[5], HasSubstr("= 42"));
  EXPECT_THAT(said.of[6], HasSubstr("Cannot access memory at address 0x8000000000000000"));
}

TEST_F(VmmSession, ContinueComesBack) {
  ServeProcess serve(dump_, {"--once"});
  const GdbResult said = gdb(serve.address(), {"print/x $rip", "continue", "stepi", "print/x $rip", "bt 1",
                                               "set var cpus[0].ticks = 1", "break kernel_main", "detach"});
  EXPECT_EQ(said.of[0].substr(said.of[0].find('=')), said.of[3].substr(said.of[3].find('=')));
  EXPECT_THAT(said.of[4], HasSubstr("#0"));
  EXPECT_THAT(said.of[5], HasSubstr("Cannot access memory"));
  EXPECT_THAT(said.of[7], HasSubstr("detached"));
  EXPECT_EQ(serve.process().wait(), (ExitStatus{0, 0}));
}

TEST_F(VmmSession, ClientsComeAndGo) {
  ServeProcess serve(dump_);
  for (int i = 0; i < 3; i++) {
    EXPECT_THAT(gdb(serve.address(), {"print cpus[0].tasks->id"}).of[0], HasSubstr("= 100"));
  }
  serve.process().signal(SIGTERM);
  EXPECT_TRUE(serve.process().wait());
}

TEST_F(VmmSession, InspectReadsTheDump) {
  auto inspect = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {program("gcore-inspect"), dump_});
    const Completed done = run(options);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    return done.out;
  };
  EXPECT_THAT(inspect({}), AllOf(HasSubstr("x86_64"), HasSubstr("night shift"), HasSubstr("SIGUSR2")));
  inspect({"--verify"});
  EXPECT_THAT(inspect({"--json"}), AllOf(testing::StartsWith("{"), HasSubstr("\"rip\"")));
  EXPECT_THAT(inspect({"--registers", "2"}), HasSubstr("rip"));
  EXPECT_THAT(inspect({"--find", "gcore built-in guest"}), ContainsRegex("0x[0-9a-f]+\n"));
  EXPECT_THAT(inspect({"--symbols", guest_elf(), "--backtrace"}),
              AllOf(HasSubstr("scheduler_run"), HasSubstr("logger_run"), HasSubstr("user_main")));
  // The banner through the page tables, byte for byte.
  const GdbResult where = gdb(over_stdio(), {"print/x (long)&banner"});
  const std::string address = where.of[0].substr(where.of[0].find("0x"), 18);
  EXPECT_EQ(inspect({"--read", address + ":20", "--raw"}), "gcore built-in guest");
}

}  // namespace
}  // namespace gcore::tests
