// The installed gdb against gcore-serve, from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/dump_builder.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/rsp_client.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

struct GdbTest : testing::Test {
  GdbTest() : dump(write_small_dump(folder.path())) {}

  std::string pipe_command(const std::string& options = "") {
    return "target remote | " + program("gcore-serve") + " --stdio " + options + " " + dump;
  }
  /// Starts a server on a port of its choice and returns the gdb command that connects to it.
  std::string serve(std::vector<std::string> options = {"--listen", "127.0.0.1:0"}) {
    options.insert(options.begin(), {program("gcore-serve"), dump});
    server.emplace(options);
    const auto line = server->wait_for_line(Process::Stream::err, "gcore-serve: listening on .*");
    EXPECT_TRUE(line.has_value()) << server->err();
    return "target remote " + (line ? line->substr(line->rfind(' ') + 1) : "");
  }

  std::string write_arm_dump() {
    QnxNote note;
    note.machine = kEmAarch64;
    note.extra_names = {"sctlr_el1", "ttbr1_el1", "v0.lo", "v0.hi"};
    note.cpus.push_back({.pgtbl = 0,
                         .number = 0,
                         .process = "",
                         .registers = {{"x0", 0x1234},
                                       {"elr", 0x1000},
                                       {"sp", 0x2000},
                                       {"pstate", 0x600003c5},
                                       {"ttbr1_el1", 0x41000},
                                       {"v0.lo", 1},
                                       {"v0.hi", 2}}});
    const std::string path = folder.path("arm.gcore");
    DumpBuilder builder;
    builder.machine = kEmAarch64;
    builder.note(note.build()).memory(0, std::string("\x1f\x20\x03\xd5", 4) + std::string(4092, '\0')).write(path);
    return path;
  }

  TempDir folder;
  std::string dump;
  std::optional<Process> server;
};

TEST_F(GdbTest, AttachesAndShowsEachCpu) {
  for (const std::string& connect : {pipe_command(), serve()}) {
    const auto gdb = run_gdb({connect, "info threads", "info registers rip cr3 cs eflags", "info registers mxcsr",
                              "x/2i $pc", "thread 2", "info registers rip", "x/4xb 0x400020", "maint print xml-tdesc"});
    ASSERT_FALSE(gdb.timed_out) << gdb.output;
    EXPECT_THAT(gdb.output, HasSubstr("\"vCPU 1 [kernel, CPL 0]\""));
    EXPECT_THAT(gdb.output, HasSubstr("\"vCPU 0 [user, CPL 3]\" (process init)"));
    EXPECT_THAT(gdb.output, HasSubstr("0xffffffff80008000"));
    EXPECT_THAT(gdb.output, HasSubstr("0x1000"));
    EXPECT_THAT(gdb.output, HasSubstr("[ PF ZF IF"));
    EXPECT_THAT(gdb.output, HasSubstr("<unavailable>"));
    EXPECT_THAT(gdb.output, HasSubstr("nop"));
    EXPECT_THAT(gdb.output, HasSubstr("0x400010"));
    EXPECT_THAT(gdb.output, HasSubstr("0xf4\t0xf4"));
    EXPECT_THAT(gdb.output, HasSubstr("name=\"cr3\""));
    EXPECT_THAT(gdb.output, Not(HasSubstr("packet"))) << "such as: Truncated register 9 in remote 'g' packet";
  }
}

TEST_F(GdbTest, WhatCannotBeReadIsACleanError) {
  const auto gdb = run_gdb({pipe_command(), "x/4xb 0xdead0000", "x/4xb 0x401000", "x/2xb 0x400ffe",
                            "monitor why 0xdead0000", "monitor why 0x401000", "print $cr8", "info registers rip"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("Cannot access memory at address 0xdead0000"));
  EXPECT_THAT(gdb.output, HasSubstr("Cannot access memory at address 0x401000"));
  EXPECT_THAT(gdb.output, HasSubstr("0x400ffe:\t0x00\t0x00"));
  EXPECT_THAT(gdb.output, HasSubstr("not present"));
  EXPECT_THAT(gdb.output, HasSubstr("in no segment of the dump"));
  EXPECT_THAT(gdb.output, HasSubstr("<unavailable>"));
}

TEST_F(GdbTest, NothingHangsThatWouldRun) {
  for (const char* last : {"detach", "kill", "disconnect", "quit"}) {
    const auto gdb = run_gdb({serve(), "continue", "stepi", "next", "step", "finish", "until", "jump *0x400000",
                              "signal 0", "break *0xffffffff80008004", "continue", "delete", "set var $rax = 1",
                              "print {char}0x400000 = 1", "info registers rip", last});
    ASSERT_FALSE(gdb.timed_out) << last << gdb.output;
    EXPECT_THAT(gdb.output, HasSubstr("cannot run or step"));
    EXPECT_THAT(gdb.output, HasSubstr("rip            0xffffffff80008000"));
    server.reset();
  }
}

TEST_F(GdbTest, EachAttemptToRunEndsWithinItsLimit) {
  const std::string symbols = write_small_symbols(folder.path());
  for (const char* attempt : {"continue", "next", "finish", "call (int) guest_loop()", "kill", "quit", "detach", "run",
                              "until", "advance *0x400000", "thread apply all continue", "reverse-continue"}) {
    const auto gdb = run_gdb({pipe_command("--symbols " + symbols), attempt}, {symbols}, 20s);
    EXPECT_FALSE(gdb.timed_out) << attempt << gdb.output;
  }
}

TEST_F(GdbTest, CtrlCLeavesTheSessionUsable) {
  Process::Options options;
  options.pipe_stdin = options.merge_stderr = true;
  options.environment = {"LC_ALL=C", "TERM=dumb", "HOME=/nonexistent"};
  Process gdb({"gdb", "-nx", "-q", "-iex", "set confirm off", "-iex", "set pagination off"}, options);
  const auto says = [&gdb](const std::string& line, const std::string& answer) {
    ASSERT_TRUE(gdb.write_stdin(line + "\n"));
    ASSERT_TRUE(gdb.wait_for_line(Process::Stream::out, answer, 20s)) << line << ": " << gdb.out();
  };
  says(serve(), "0xffffffff80008000");
  says("continue", "cannot run or step");
  ASSERT_TRUE(gdb.signal(SIGINT));
  says("info registers rip", "rip +0xffffffff80008000");
  // A search through all that is mapped, and the interrupt somewhere in it or after it.
  ASSERT_TRUE(gdb.write_stdin("find /b 0, +0xffffffffffff, 1, 2, 3, 4, 5, 6, 7, 8\n"));
  ASSERT_TRUE(gdb.signal(SIGINT));
  says("output 6 * 7", "42");
  says("info registers rip", "rip +0xffffffff80008000");
  ASSERT_TRUE(gdb.write_stdin("quit\n"));
  EXPECT_TRUE(gdb.wait(20s).has_value());
}

TEST_F(GdbTest, TheDescriptionIsWhatGdbMadeOfIt) {
  for (const char* machine : {"x86_64", "aarch64"}) {
    const bool arm = machine == std::string("aarch64");
    if (arm) dump = write_arm_dump();
    const auto gdb = run_gdb({pipe_command(), "maint print xml-tdesc", "maint print remote-registers"}, {}, 60s,
                             arm ? "gdb-multiarch" : "gdb");
    ASSERT_EQ(gdb.of.size(), 3u) << gdb.output;
    const Regex reg("<reg name=\"([^\"]+)\" bitsize=\"([0-9]+)\"[^>]* regnum=\"([0-9]+)\"");
    size_t registers = 0;
    for (const RegexMatch& told : regex_search_all(gdb.of[1], reg)) {
      ++registers;
      // Name, Nr, Rel, Offset, Size, Type, Rmt Nr, g/G Offset
      const std::string row = "\n +?" + told[1] + " +[0-9]+ +[0-9]+ +[0-9]+ +([0-9]+) +[^ ].*? ([0-9]+) +[0-9]+? *\n";
      RegexMatch match;
      ASSERT_TRUE(regex_search(gdb.of[2], match, Regex(row))) << told[1];
      EXPECT_EQ(match[2], told[3]) << told[1];
      // GDB keeps the 80 bits of x87 registers in 16 bytes.
      if (told[2] != "80") {
        EXPECT_EQ(8 * std::stoi(match[1]), std::stoi(told[2])) << told[1];
      }
    }
    EXPECT_GE(registers, arm ? 80u : 90u);
  }
}

/// What the Linux kernel's own gdb scripts do, where there is no vmlinux and perhaps no Linux.
TEST_F(GdbTest, ScriptsOfTheLinuxKernelDegradeCleanly) {
  const std::string script = folder.write("lx.py", R"(import gdb
def lx(what):
    try:
        print(what.__name__, "gave", what())
    except (gdb.error, gdb.MemoryError) as error:
        print(what.__name__, "failed:", error)
def lx_version():
    return gdb.parse_and_eval("(char *)linux_banner").string()
def lx_symbol():
    return gdb.lookup_global_symbol("init_task")
def lx_mapped():
    return bytes(gdb.selected_inferior().read_memory(0xffffffff80009000, 6))
def lx_unmapped():
    return gdb.selected_inferior().read_memory(0x12345000, 8)
def lx_server():
    return "QEMU" if "" == gdb.execute("monitor info version", to_string=True) else "a monitor"
def lx_search():
    return gdb.selected_inferior().search_memory(0xffffffff80000000, 0x100000, b"needle")
def lx_threads():
    return [thread.ptid for thread in gdb.selected_inferior().threads()]
for each in (lx_version, lx_symbol, lx_mapped, lx_unmapped, lx_server, lx_search, lx_threads):
    lx(each)
)");
  const auto gdb = run_gdb({pipe_command(), "source " + script});
  ASSERT_EQ(gdb.of.size(), 2u) << gdb.output;
  for (const char* line :
       {"lx_version failed: No symbol table is loaded", "lx_symbol gave None", "lx_mapped gave b'needle'",
        "lx_unmapped failed: Cannot access memory at address 0x12345000", "lx_server gave a monitor",
        "lx_search gave 18446744071562104832", "lx_threads gave [(1, 1, 0), (1, 2, 0)]"})
    EXPECT_THAT(gdb.of[1], HasSubstr(line));
  EXPECT_THAT(gdb.of[1], Not(HasSubstr("Traceback")));
}

TEST_F(GdbTest, SearchAndMonitor) {
  const auto gdb = run_gdb({pipe_command(), "find /b 0xffffffff80000000, +0x100000, 'n', 'e', 'e', 'd', 'l', 'e'",
                            "monitor find needle", "monitor vtop 0x400000", "monitor phys on", "maint flush dcache",
                            "x/s 0x9000", "monitor info version"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("1 pattern found"));
  EXPECT_THAT(gdb.output, HasSubstr("0xffffffff80009000\n"));
  EXPECT_THAT(gdb.output, HasSubstr("PML4E"));
  EXPECT_THAT(gdb.output, HasSubstr("0x400000 is guest-physical 0x8000"));
  EXPECT_THAT(gdb.output, HasSubstr("\"needle in RAM\""));
  EXPECT_THAT(gdb.output, HasSubstr("gcore-serve "));
}

TEST_F(GdbTest, KdserverIsADropIn) {
  std::filesystem::copy_file(dump, folder.path("kdump.elf"));
  for (const std::string& call : {" " + dump, std::string(), std::string(" -v"), " -v -v -P 32 " + dump, " -P4 " + dump,
                                  " -vP4 " + dump, " -vvP 4 " + dump}) {
    const auto gdb = run_gdb({"cd " + folder.path(), "target remote | " + program("kdserver") + call, "info threads",
                              "x/s 0xffffffff80009000", "monitor info version", "detach"});
    ASSERT_FALSE(gdb.timed_out) << gdb.output;
    ASSERT_EQ(gdb.of.size(), 6u);
    const bool verbose = call.starts_with(" -v");
    EXPECT_EQ(gdb.of[1].find(": qnx dump, x86_64") != std::string::npos, verbose) << gdb.of[1];
    EXPECT_THAT(gdb.of[2], HasSubstr("vCPU 1 [kernel, CPL 0]"));
    EXPECT_THAT(gdb.of[3], HasSubstr("needle in RAM"));
    EXPECT_THAT(gdb.of[4], testing::StartsWith("kdserver "));
  }
}

TEST_F(GdbTest, KdserversFailuresAreOneLine) {
  const std::pair<std::vector<std::string>, int> cases[] = {
      {{"/no/such/kdump.elf"}, 1}, {{"-P"}, 2},        {{"-P", "many", dump}, 2}, {{"-x", dump}, 2},
      {{"-vx", dump}, 2},          {{"-vP", dump}, 2}, {{dump, dump}, 2}};
  for (const auto& [arguments, status] : cases) {
    std::vector<std::string> argv = {program("kdserver")};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const auto done = run(argv);
    EXPECT_EQ(done.status, (ExitStatus{.code = status})) << done.err;
    EXPECT_THAT(done.err, testing::StartsWith("kdserver: "));
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
  }
}

TEST_F(GdbTest, SymbolsAreOffered) {
  const std::string symbols = write_small_symbols(folder.path());
  const auto gdb = run_gdb({pipe_command("--symbols " + symbols), "info symbol $pc", "compare-sections"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("guest_loop in section .text"));
  EXPECT_THAT(gdb.output, HasSubstr("Section .text, range 0xffffffff80008000 -- 0xffffffff80008040: matched."));
}

TEST_F(GdbTest, AMovedKernelsSymbolsMoveToo) {
  const std::string symbols = write_small_symbols(folder.path());
  dump = folder.path("moved.core");
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0xffffffff81008004}})) +
               elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\nKERNELOFFSET=1000000\n"));
  builder.memory(0, std::string(4096, 'a')).memory(0x10000, std::string(4096, 'b')).write(dump);
  const auto gdb = run_gdb({pipe_command("--symbols " + symbols), "info symbol $pc"}, {symbols});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("guest_loop + 4 in section .text"));
}

/// After `info threads` the server has been asked about each of them.
TEST_F(GdbTest, TheVcpuThatTheMonitorIsAboutIsNamedAndChosen) {
  const auto gdb =
      run_gdb({pipe_command(), "info threads", "monitor vtop $pc", "monitor cpu 1", "monitor vtop $pc", "thread 2",
               "monitor vtop $pc", "monitor cpu off", "maint flush register-cache", "print $pc", "monitor vtop $pc",
               "thread 1", "maint flush register-cache", "print $pc", "monitor vtop $pc"});
  ASSERT_EQ(gdb.of.size(), 15u) << gdb.output;
  for (const size_t at : {2, 4, 6, 10, 14}) {
    const bool kernel = gdb.of[at].starts_with("vCPU 1: ");
    EXPECT_THAT(gdb.of[at], testing::StartsWith(kernel ? "vCPU 1: x86_64" : "vCPU 0: x86_64"));
    EXPECT_THAT(gdb.of[at], HasSubstr(kernel ? "0xffffffff80008000 is guest-physical 0x8000"
                                             : "0x400010 is guest-physical 0x8010"));
    if (at != 2) {
      EXPECT_EQ(kernel, at != 10) << at;
    }
  }
}

TEST_F(GdbTest, Aarch64) {
  dump = write_arm_dump();
  const auto gdb = run_gdb({pipe_command(), "info threads", "info registers x0 pc cpsr sp", "print/x $TTBR1_EL1",
                            "print $v0.d.u", "print $fpsr", "print $MPIDR_EL1", "x/i 0", "maint print xml-tdesc",
                            "print $SCTLR == $SCTLR_EL1", "print $VBAR", "print $VBAR_EL1", "print $CPACR"},
                           {}, 60s, "gdb-multiarch");
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("vCPU 0 [kernel, EL1]"));
  EXPECT_THAT(gdb.output, HasSubstr("0x1234"));
  EXPECT_THAT(gdb.output, HasSubstr("EL=1"));
  EXPECT_THAT(gdb.output, HasSubstr("= 0x41000"));
  EXPECT_THAT(gdb.output, HasSubstr("= {1, 2}"));
  EXPECT_THAT(gdb.output, HasSubstr("= <unavailable>"));
  EXPECT_THAT(gdb.output, HasSubstr("0x0:\tnop"));
  EXPECT_THAT(gdb.output, Not(HasSubstr("packet")));
}

TEST_F(GdbTest, EveryWayToGoOnEndsWithBreakpointsSet) {
  const std::string symbols = write_small_symbols(folder.path());
  const auto gdb = run_gdb({pipe_command(), "break guest_loop", "hbreak *0xffffffff80008008", "watch *(int*)0x400000",
                            "rwatch *(int*)0x400008", "awatch *(int*)0x400010", "continue", "stepi", "nexti", "finish",
                            "advance *0xffffffff80008004", "until", "info registers rip"},
                           {symbols});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  ASSERT_EQ(gdb.of.size(), 13u) << gdb.output;
  EXPECT_THAT(gdb.output, Not(HasSubstr("annot insert")));
  for (size_t at : {6, 7, 8}) EXPECT_THAT(gdb.of[at], HasSubstr("cannot run or step")) << at;
  EXPECT_THAT(gdb.of[12], HasSubstr("rip            0xffffffff80008000"));
}

TEST_F(GdbTest, AnExtendedRemoteSessionAttachesAgain) {
  std::string connect = serve();
  connect.replace(0, 13, "target extended-remote");
  const auto gdb = run_gdb({connect, "kill", "attach 1", "info registers rip", "detach", "attach 1",
                            "info registers rip", "detach", "attach 7", "run"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  ASSERT_EQ(gdb.of.size(), 10u) << gdb.output;
  for (size_t at : {3, 6}) EXPECT_THAT(gdb.of[at], HasSubstr("0xffffffff80008000")) << gdb.output;
  EXPECT_THAT(gdb.of[8], HasSubstr("failed")) << gdb.output;
}

/// What a distribution's vmlinux has: location and range lists of DWARF 5, in sections that GDB reads late, through a
/// descriptor that is not the one it closed.
TEST_F(GdbTest, AnOfferedFileWithDwarf5IsReadTillTheEnd) {
  const std::string source = folder.write("guest.c", R"(
struct task { int pid; char comm[16]; };
struct task first = {7, "guest"};
static int sum(const struct task* t, int n) {
  int total = 0;
  for (int i = 0; i < n; ++i) { int x = t->pid * i; total += x ^ n; n -= total & 1; }
  return total;
}
int guest_loop(int n) { int local = n * 3; local += sum(&first, local); return local; }
void _start(void) { for (;;) first.pid = guest_loop(first.pid); }
)");
  const std::string elf = folder.path("vmlinux");
  const auto compiled = run({"gcc", "-gdwarf-5", "-O2", "-fno-pic", "-mcmodel=kernel", "-static", "-nostdlib",
                             "-ffunction-sections", "-fno-asynchronous-unwind-tables", "-Wl,-Ttext=0xffffffff80008000",
                             "-Wl,--build-id=sha1", "-o", elf, source});
  ASSERT_EQ(compiled.status.code, 0) << compiled.err;
  const auto gdb = run_gdb({pipe_command("--symbols " + elf), "info scope guest_loop", "print first.comm",
                            "ptype struct task", "info line guest_loop", "info threads"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  ASSERT_EQ(gdb.of.size(), 6u) << gdb.output;
  EXPECT_THAT(gdb.output, Not(HasSubstr("Dwarf Error")));
  EXPECT_THAT(gdb.of[1], HasSubstr("Symbol local is"));
  EXPECT_THAT(gdb.of[1], HasSubstr("location"));
  EXPECT_THAT(gdb.of[3], HasSubstr("char comm[16]"));
  EXPECT_THAT(gdb.of[4], HasSubstr("guest.c"));
  EXPECT_THAT(gdb.of[5], HasSubstr("vCPU 1"));
}

TEST_F(GdbTest, OtherFilesOfTheHostAreNot) {
  const std::string symbols = write_small_symbols(folder.path());
  const auto gdb =
      run_gdb({pipe_command("--symbols " + symbols), "remote get /etc/passwd " + folder.path() + "/stolen"});
  EXPECT_THAT(gdb.output, HasSubstr("No such file"));
}

TEST_F(GdbTest, AnInterruptAtThePromptDoesNothing) {
  serve({"--unix", folder.path() + "/socket"});
  auto client = RspClient::unix_socket(folder.path() + "/socket");
  client.handshake();
  client.send_raw("\x03");
  EXPECT_EQ(client.request("qAttached"), "1");
}

TEST_F(GdbTest, SignalsEndTheServerCleanly) {
  for (const int number : {SIGTERM, SIGINT}) {
    serve();
    ASSERT_TRUE(server->signal(number));
    EXPECT_EQ(server->wait(), (ExitStatus{.code = 0}));
    EXPECT_EQ(server->out(), "");
  }
}

TEST_F(GdbTest, TheGdbLineIsPrinted) {
  serve();
  const auto line = server->wait_for_line(Process::Stream::err, "connect with: ");
  ASSERT_TRUE(line.has_value());
  EXPECT_THAT(*line, testing::MatchesRegex("gcore-serve: connect with: gdb -ex 'target remote 127.0.0.1:[0-9]+'"));
}

TEST_F(GdbTest, FailuresAreOneLine) {
  const std::string taken = serve().substr(std::string("target remote ").size());
  struct {
    std::vector<std::string> arguments;
    int status;
    std::string text;
  } const cases[] = {
      {{dump, "--listen", taken}, 1, "gcore-serve: cannot listen on " + taken + ": Address already in use\n"},
      {{"/no/such.gcore"}, 1, "No such file"},
      {{"/etc/passwd"}, 1, "/etc/passwd"},
      {{dump, "--symbols", "/etc/passwd"}, 1, "it is not an ELF file"},
      {{dump, "--log", "/no/such/folder/log"}, 1, "No such file"},
      {{dump, "--listen", "nowhere"}, 2, "HOST:PORT"},
      {{dump, "--stdio", "--unix", "x"}, 2, "exclude each other"},
      {{}, 2, "which dump?"},
      {{dump, "--nonsense"}, 2, "nonsense"},
      {{dump, "--log", dump}, 1, "cannot write the log " + dump + ": that is the dump itself"},
  };
  for (const auto& each : cases) {
    std::vector<std::string> argv = {program("gcore-serve")};
    argv.insert(argv.end(), each.arguments.begin(), each.arguments.end());
    const auto done = run(argv);
    EXPECT_FALSE(done.timed_out) << each.text;
    EXPECT_EQ(done.status, (ExitStatus{.code = each.status})) << done.err;
    EXPECT_THAT(done.err, HasSubstr(each.text));
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    EXPECT_EQ(done.out, "");
  }
}

TEST_F(GdbTest, TheLogHasEveryPacket) {
  const std::string log = folder.path() + "/log";
  run_gdb({pipe_command("--log " + log), "detach"});
  std::ifstream in(log);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  EXPECT_THAT(text, HasSubstr("1 > qSupported"));
  EXPECT_THAT(text, HasSubstr("\n1 < PacketSize=20020"));
  EXPECT_THAT(text, HasSubstr("\n1 > D;1\n1 < OK\n"));
}

TEST_F(GdbTest, TheLogTellsClientsApart) {
  const std::string log = folder.write("log", std::string(100000, 'x'));
  serve({"--unix", folder.path("socket"), "--log", log});
  EXPECT_EQ(read_file(log), "") << "it begins anew";
  auto one = RspClient::unix_socket(folder.path("socket")), two = RspClient::unix_socket(folder.path("socket"));
  EXPECT_EQ(one.request("qAttached"), "1");
  EXPECT_EQ(two.request("qC"), "QC2");
  EXPECT_EQ(one.request("mffffffff80000000,1000").size(), 0x2000u);
  const std::string text = read_file(log);
  EXPECT_THAT(text, testing::StartsWith("1 > qAttached\n1 < 1\n2 > qC\n2 < QC2\n"));
  EXPECT_THAT(text, testing::EndsWith("0 ... (8192 bytes)\n"));
}

TEST_F(GdbTest, ALogThatCannotBeWrittenIsAFailure) {
  serve({"--unix", folder.path("socket"), "--log", "/dev/full"});
  auto client = RspClient::unix_socket(folder.path("socket"));
  EXPECT_EQ(client.request("qAttached"), "1");
  ASSERT_TRUE(server->signal(SIGTERM));
  EXPECT_EQ(server->wait(), (ExitStatus{.code = 1}));
  EXPECT_THAT(server->err(),
              HasSubstr("gcore-serve: cannot write all of the log /dev/full: No space left on device\n"));
}

TEST_F(GdbTest, AServerThatStartsLateIsNoTrouble) {
  // GDB sends its first packet again every 2 seconds.
  const auto gdb = run_gdb({"target remote | sleep 3; exec " + program("gcore-serve") + " --stdio " + dump,
                            "info threads", "x/s 0xffffffff80009000"});
  ASSERT_FALSE(gdb.timed_out) << gdb.output;
  EXPECT_THAT(gdb.output, HasSubstr("\"vCPU 1 [kernel, CPL 0]\""));
  EXPECT_THAT(gdb.output, HasSubstr("needle in RAM"));
}

TEST_F(GdbTest, AClientIsKeptWaitingWhileADumpIsLongInOpening) {
  const std::string fifo = folder.path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const std::vector<std::string>& command :
       {std::vector{program("gcore-serve"), std::string("--stdio"), fifo}, {program("kdserver"), fifo}}) {
    Process::Options options;
    options.pipe_stdin = true;
    Process serving(command, options);
    std::ofstream into(fifo, std::ios::binary);
    ASSERT_TRUE(serving.write_stdin("+$qAttached#8f"));
    EXPECT_TRUE(serving.wait_for_line(Process::Stream::out, "^[+][+]$")) << serving.out();
    into << std::ifstream(dump, std::ios::binary).rdbuf() << std::flush;
    into.close();
    EXPECT_TRUE(serving.wait_for_line(Process::Stream::out, "^[+]+[$]1#31$")) << serving.out();
    serving.close_stdin();
    EXPECT_EQ(serving.wait(), (ExitStatus{.code = 0}));
  }
}

TEST_F(GdbTest, StdioEndsWithItsInput) {
  const auto done = run({program("gcore-serve"), "--stdio", dump}, 20s, "$qAttached#8f");
  EXPECT_EQ(done.status, (ExitStatus{.code = 0}));
  EXPECT_EQ(done.out, "+$1#31");
  EXPECT_EQ(done.err, "");
}

}  // namespace
}  // namespace gcore::tests
