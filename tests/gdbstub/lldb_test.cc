// The installed LLDB against gcore-serve, from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class LldbTest : public testing::Test {
 protected:
  LldbTest() { serve(write_small_dump(folder_.path())); }

  void serve(const std::string& dump, const std::vector<std::string>& options = {}) {
    std::vector<std::string> server{program("gcore-serve"), dump, "--listen", "127.0.0.1:0"};
    server.insert(server.end(), options.begin(), options.end());
    server_.emplace(server);
    const auto line = server_->wait_for_line(Process::Stream::err, "gcore-serve: listening on ");
    EXPECT_TRUE(line.has_value()) << server_->err();
    address_ = line ? line->substr(line->rfind(' ') + 1) : "";
  }

  /// Of a kernel that was moved by 0x1000000.
  std::string write_moved_dump() {
    DumpBuilder builder;
    builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0xffffffff81008004}})) +
                 elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\nKERNELOFFSET=1000000\n"));
    builder.memory(0, std::string(4096, 'a')).memory(0x10000, std::string(4096, 'b')).write(folder_.path("moved.core"));
    return folder_.path("moved.core");
  }

  /// What LLDB says to commands after it has connected.
  std::string lldb(const std::vector<std::string>& commands) {
    std::vector<std::string> argv{"lldb-19",
                                  "--no-lldbinit",
                                  "--batch",
                                  "-o",
                                  "settings set use-color false",
                                  "-o",
                                  symbols_.empty() ? "version" : "target create --arch x86_64 " + symbols_,
                                  "-o",
                                  "gdb-remote " + address_};
    for (const std::string& command : commands) argv.insert(argv.end(), {"-o", command});
    Process::Options options;
    options.merge_stderr = true;
    options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=" + folder_.path()};
    const Completed done = run(argv, 90s, {}, options);
    EXPECT_FALSE(done.timed_out) << done.out;
    return done.out;
  }

  TempDir folder_;
  std::optional<Process> server_;
  std::string symbols_ = write_small_symbols(folder_.path()), address_;
};

TEST_F(LldbTest, ThreadsRegistersMemoryAndBacktrace) {
  const std::string said =
      lldb({"thread list", "register read rip cr3 eflags", "bt", "memory read --count 6 0xffffffff80009000",
            "memory region 0x400000", "memory region 0x500000",
            "memory find -s needle 0xffffffff80000000 0xffffffff80100000", "thread select 2", "register read rip",
            "detach"});
  EXPECT_THAT(said,
              ContainsRegex("\\* thread #1: tid = 0x0002, 0xffffffff80008000 .*name = 'vCPU 1 \\[kernel, CPL 0\\]'"));
  EXPECT_THAT(said, ContainsRegex("  thread #2: tid = 0x0001, 0x0000000000400010, name = 'vCPU 0 \\[user, CPL 3\\]'"));
  EXPECT_THAT(said, HasSubstr("rip = 0xffffffff80008000"));
  EXPECT_THAT(said, HasSubstr("cr3 = 0x0000000000001000"));
  EXPECT_THAT(said, HasSubstr("eflags = 0x00000246"));
  EXPECT_THAT(said, ContainsRegex("frame #0: 0xffffffff80008000 .*`guest_loop"));
  EXPECT_THAT(said, HasSubstr("6e 65 65 64 6c 65"));
  EXPECT_THAT(said, HasSubstr("[0x0000000000400000-0x0000000000401000) r-x"));
  EXPECT_THAT(said, HasSubstr("[0x0000000000402000-0xffffffff80000000) ---"));
  EXPECT_THAT(said, HasSubstr("data found at location: 0xffffffff80009000"));
  EXPECT_THAT(said, HasSubstr("rip = 0x0000000000400010"));
  EXPECT_THAT(said, HasSubstr("detached"));
  // A batch of LLDB ends at the first error.
  EXPECT_THAT(lldb({"memory read 0xdead0000"}), ContainsRegex("error: memory read failed for 0xdead0000"));
}

TEST_F(LldbTest, ARegisterThatTheDumpLacksHasNoValue) {
  const std::string said = lldb({"register read --all", "detach"});
  EXPECT_THAT(said, HasSubstr("rip = 0xffffffff80008000"));
  EXPECT_THAT(said, ContainsRegex("[1-9][0-9]* registers were unavailable"));
  for (const char* absent : {"cr8 =", "xmm0 =", "mxcsr ="}) EXPECT_THAT(said, Not(HasSubstr(absent)));
  EXPECT_THAT(said, HasSubstr("detached"));
}

TEST_F(LldbTest, AMovedKernelsSymbolsMoveToo) {
  serve(write_moved_dump());
  EXPECT_THAT(lldb({"image lookup --address 0xffffffff81008004", "thread list"}),
              testing::AllOf(HasSubstr("Summary: guest.elf`guest_loop + 4"),
                             ContainsRegex("thread #1: .*0xffffffff81008004 guest.elf`guest_loop")));
}

/// LLDB asks for no exec-file; with what the server is given it needs no file of its own.
TEST_F(LldbTest, AFileIsOfferedToIt) {
  const std::string offered = symbols_;
  serve(write_small_dump(folder_.path()), {"--symbols", offered});
  symbols_.clear();
  EXPECT_THAT(lldb({"image list", "image lookup --address 0xffffffff80008004", "thread list", "bt"}),
              testing::AllOf(HasSubstr(offered), HasSubstr("Address: guest.elf[0xffffffff80008004]"),
                             ContainsRegex("thread #1: .*0xffffffff80008000 guest.elf`guest_loop"),
                             ContainsRegex("frame #0: 0xffffffff80008000 guest.elf`guest_loop")));
}

TEST_F(LldbTest, AFileIsOfferedToItOfAKernelThatWasMoved) {
  const std::string offered = symbols_;
  serve(write_moved_dump(), {"--symbols", offered});
  symbols_.clear();
  EXPECT_THAT(lldb({"image list", "bt", "image lookup --address 0xffffffff81008004"}),
              testing::AllOf(HasSubstr(offered), ContainsRegex("frame #0: 0xffffffff81008004 guest.elf`guest_loop"),
                             HasSubstr("Summary: guest.elf`guest_loop + 4")));
}

TEST_F(LldbTest, KillIsAnswered) {
  const std::string said = lldb({"process kill"});
  EXPECT_THAT(said, Not(HasSubstr("error")));
  EXPECT_THAT(said, HasSubstr("exited"));
}

TEST_F(LldbTest, NothingHangsThatWouldRun) {
  // A batch of LLDB ends at the first of these, with what the server says.
  for (const char* command :
       {"continue", "thread step-inst", "thread step-over", "finish", "process interrupt", "process kill"})
    EXPECT_THAT(lldb({command}), Not(HasSubstr("timed out"))) << command;
  EXPECT_THAT(lldb({"continue"}), HasSubstr("a memory dump cannot run"));
}

}  // namespace
}  // namespace gcore::tests
