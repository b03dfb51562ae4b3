// tools/gdb/guest.py in the installed gdb: the `guest` commands, and what they say when something is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/gdbstub/small_dump.h"
#include "tests/support/dump_builder.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

struct GuestHelper : testing::Test {
  GuestHelper() : dump(write_small_dump(folder.path())) {}

  /// Runs commands in a gdb that has read the helper; `of` has their outputs.
  GdbResult helped(std::vector<std::string> commands, const std::vector<std::string>& arguments = {},
                   const std::string& debugger = "gdb") {
    commands.insert(commands.begin(), "source " + script);
    auto gdb = run_gdb(commands, arguments, 60s, debugger);
    EXPECT_FALSE(gdb.timed_out) << gdb.output;
    EXPECT_EQ(gdb.of.size(), commands.size()) << gdb.output;
    EXPECT_THAT(gdb.output, Not(HasSubstr("Python Exception")));
    gdb.of.resize(commands.size());
    EXPECT_EQ(gdb.of[0], "") << "a script that is read says nothing";
    gdb.of.erase(gdb.of.begin());
    return gdb;
  }

  std::string write_arm_dump() {
    QnxNote note;
    note.machine = kEmAarch64;
    note.extra_names = {"sctlr_el1"};
    note.cpus.push_back({.pgtbl = 0,
                         .number = 0,
                         .process = "",
                         .registers = {{"elr", 0x1000}, {"sp", 0x800}, {"pstate", 0x3c5}, {"sctlr_el1", 0}}});
    DumpBuilder builder;
    builder.machine = kEmAarch64;
    builder.note(note.build()).memory(0, std::string(8192, 'a')).write(folder.path("arm.gcore"));
    return folder.path("arm.gcore");
  }

  TempDir folder;
  std::string dump;
  std::string script = build_dir() + "/share/gcore/gdb/guest.py";
};

/// Per-CPU symbols of an x86_64 kernel are distances: what KASLR adds to the others is no part of them.
TEST_F(GuestHelper, PerCpuSymbolsStayWhereTheyAre) {
  const std::string script_of_linker = folder.write("kernel.lds", R"(
PHDRS { text PT_LOAD FLAGS(5); percpu PT_LOAD FLAGS(6); }
SECTIONS {
  . = 0xffffffff80008000;
  .text : { *(.text*) } :text
  .data : { *(.data) } :text
  .data..percpu 0 : AT(0x2000000) { *(.data..percpu) } :percpu
  /DISCARD/ : { *(.note*) *(.eh_frame*) }
}
)");
  const std::string source = folder.write("kernel.c", R"(
__attribute__((section(".data..percpu"))) long fixed_percpu_data = 1, current_one = 2;
long moved = 3;
void _start(void) { for (;;) moved += current_one; }
)");
  const std::string elf = folder.path("vmlinux");
  const auto compiled = run({"gcc", "-g", "-fno-pic", "-mcmodel=kernel", "-static", "-nostdlib",
                             "-Wl,-T," + script_of_linker, "-Wl,--no-warn-rwx-segments", "-o", elf, source});
  ASSERT_EQ(compiled.status.code, 0) << compiled.err;
  const std::string moved_dump = folder.path("moved.core");
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0xffffffff81008000}})) +
               elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\nKERNELOFFSET=1000000\n"));
  builder.memory(0, std::string(4096, 'a')).memory(0x10000, std::string(4096, 'b')).write(moved_dump);
  for (const std::string& how : {"guest open --symbols " + elf + " ", std::string("guest open ")}) {
    const std::vector<std::string> own = how == "guest open " ? std::vector{elf} : std::vector<std::string>{};
    const auto gdb = helped({how + moved_dump, "print &current_one", "info symbol $pc", "info address moved",
                             "monitor info", how + moved_dump, "print &current_one", "info symbol $pc"},
                            own);
    for (const size_t at : {0u, 5u}) {
      EXPECT_THAT(gdb.of[at + 1], HasSubstr("(long *) 0x8 <current_one>")) << how << gdb.output;
      EXPECT_THAT(gdb.of[at + 2], HasSubstr("_start in section .text")) << how;
    }
    EXPECT_THAT(gdb.of[3], testing::ContainsRegex("0xffffffff8100[0-9a-f]+"));
    EXPECT_THAT(gdb.of[4], HasSubstr("add-symbol-file " + elf + " -o 0x1000000 -s .data..percpu 0\n"));
  }
  // Without the helper: a file that gdb is offered is right by itself, one that it was given by that line.
  const std::string connect =
      "target remote | " + program("gcore-serve") + " --stdio --symbols " + elf + " " + moved_dump;
  const auto offered = run_gdb({connect, "print &current_one", "info symbol $pc", "print &moved"});
  EXPECT_THAT(offered.of.at(1), HasSubstr("(long *) 0x8 <current_one>")) << offered.output;
  EXPECT_THAT(offered.of.at(2), HasSubstr("_start in section .text"));
  EXPECT_THAT(offered.of.at(3), testing::ContainsRegex("0xffffffff8100[0-9a-f]+ <moved>"));
  EXPECT_THAT(offered.output, Not(HasSubstr("warning: Loadable section")));
  const auto given = run_gdb({connect, "symbol-file", "add-symbol-file " + elf + " -o 0x1000000 -s .data..percpu 0",
                              "print &current_one", "info symbol $pc"},
                             {elf});
  EXPECT_THAT(given.of.at(3), HasSubstr("(long *) 0x8 <current_one>")) << given.output;
  EXPECT_THAT(given.of.at(4), HasSubstr("_start in section .text"));
}

TEST_F(GuestHelper, OpensADumpAndLooksAtIt) {
  const auto gdb = helped({"guest open " + dump, "guest vcpus", "guest vtop $pc + 0x20", "guest map 0x400000 4096",
                           "guest info", "info mem", "x/s 0xffffffff80009000"});
  EXPECT_THAT(gdb.of[0], HasSubstr("0xffffffff80008000"));
  EXPECT_THAT(gdb.of[1], HasSubstr("vCPU 0 [user, CPL 3]         0x0000000000400010"));
  EXPECT_THAT(gdb.of[1], testing::ContainsRegex("\\* [12] +vCPU 1 \\[kernel, CPL 0\\]"));
  EXPECT_THAT(gdb.of[2], HasSubstr("PML4E  at 0x0000000000001ff8"));
  EXPECT_THAT(gdb.of[2], HasSubstr("0xffffffff80008020 is guest-physical 0x8020 (2M pages"));
  EXPECT_THAT(gdb.of[3], HasSubstr("0000000000400000-"));
  EXPECT_THAT(gdb.of[3], Not(HasSubstr("ffffffff80000000-")));
  EXPECT_THAT(gdb.of[4], HasSubstr("qnx dump, x86_64"));
  EXPECT_THAT(gdb.of[5], HasSubstr("ro cache"));
  EXPECT_THAT(gdb.of[6], HasSubstr("needle in RAM"));
}

TEST_F(GuestHelper, TheSelectedThreadIsMeant) {
  // gdb has both threads' registers when it returns to the first one, and need not tell the server.
  const auto gdb = helped({"guest open " + dump, "thread 1", "guest vtop $sp", "thread 2", "guest vtop $sp", "thread 1",
                           "guest vtop $sp", "guest vcpus", "thread"});
  EXPECT_NE(gdb.of[2], gdb.of[4]);
  EXPECT_EQ(gdb.of[2], gdb.of[6]);
  EXPECT_THAT(gdb.of[2], testing::StartsWith("vCPU "));
  EXPECT_THAT(gdb.of[7], HasSubstr("* 1 "));
  EXPECT_THAT(gdb.of[8], HasSubstr("[Current thread is 1 "));
}

TEST_F(GuestHelper, WhatGdbCachedIsForgottenWithTheAddressSpace) {
  const auto gdb = helped({"guest open " + dump, "x/2xb 0x9000", "guest phys on", "x/s 0x9000", "guest phys off",
                           "x/2xb 0x9000", "x/2xb 0x400000", "guest as cr3=0x2000", "x/2xb 0x400000", "guest as off",
                           "x/2xb 0x400000", "guest as ttbr0=1"});
  EXPECT_THAT(gdb.of[1], HasSubstr("Cannot access"));
  EXPECT_THAT(gdb.of[3], HasSubstr("needle in RAM"));
  EXPECT_THAT(gdb.of[5], HasSubstr("Cannot access"));
  EXPECT_THAT(gdb.of[6], HasSubstr("0x90"));
  EXPECT_THAT(gdb.of[8], HasSubstr("Cannot access"));
  EXPECT_THAT(gdb.of[10], HasSubstr("0x90"));
  EXPECT_THAT(gdb.of[11], HasSubstr("this machine has no \"ttbr0\""));
}

TEST_F(GuestHelper, HelpAndCompletion) {
  const auto gdb = helped({"help guest", "complete guest v", "complete guest phys o",
                           "complete guest open " + dump.substr(0, dump.size() - 3), "help guest open", "guest",
                           "show guest-server", "help gcore"});
  for (const char* command : {"as", "info", "map", "open", "phys", "vcpus", "vtop"})
    EXPECT_THAT(gdb.of[0], HasSubstr("guest " + std::string(command) + " -- "));
  EXPECT_THAT(gdb.of[1], HasSubstr("guest vcpus\nguest vtop"));
  EXPECT_THAT(gdb.of[2], HasSubstr("guest phys off\nguest phys on"));
  EXPECT_THAT(gdb.of[3], HasSubstr(dump));
  EXPECT_THAT(gdb.of[4], HasSubstr("guest open [--symbols ELF] FILE"));
  EXPECT_THAT(gdb.of[5], HasSubstr("guest vtop -- "));
  EXPECT_THAT(gdb.of[6], HasSubstr("beside this script"));
  EXPECT_THAT(gdb.of[7], HasSubstr("Save a core file")) << "gdb's own command";
}

TEST_F(GuestHelper, AnErrorIsALineThatSaysWhatToDo) {
  const std::string text = folder.write("text", "this is no dump, but twenty bytes long");
  const std::string no_server = folder.path("share/gcore/gdb");
  std::filesystem::create_directories(no_server);
  std::filesystem::copy_file(script, no_server + "/guest.py");
  const auto gdb = helped({"guest vcpus",
                           "guest vtop 1",
                           "guest open",
                           "guest open a b",
                           "guest open " + folder.path("nowhere"),
                           "guest open " + folder.path(),
                           "guest open " + text,
                           "guest open " + dump,
                           "guest vtop",
                           "guest vtop no_such_symbol",
                           "guest vtop 1x",
                           "set guest-server /nowhere",
                           "guest open " + dump,
                           "set guest-server /bin/false",
                           "guest open " + dump,
                           "set guest-server",
                           "source " + no_server + "/guest.py",
                           "python os.environ['PATH'] = '/nowhere'",
                           "guest open " + dump,
                           "guest nonsense"});
  const std::pair<size_t, const char*> expected[] = {{0, "no dump is open: guest open FILE"},
                                                     {1, "no dump is open"},
                                                     {2, "say guest open"},
                                                     {3, "say guest open"},
                                                     {4, "nowhere: No such file or directory"},
                                                     {5, "Is a directory"},
                                                     {6, "it is not an ELF file"},
                                                     {8, "which address? Any expression will do"},
                                                     {9, "No symbol table is loaded"},
                                                     {10, "Invalid number \"1x\""},
                                                     {12, "/nowhere, which guest-server names, is no program"},
                                                     {14, "guest open: "},
                                                     {18, "nor in PATH; `set guest-server PATH` names it"},
                                                     {19, "there is no command \"guest nonsense\": help guest"}};
  for (const auto& [at, why] : expected) {
    EXPECT_THAT(gdb.of[at], HasSubstr(why));
    EXPECT_EQ(std::ranges::count(gdb.of[at], '\n'), 1) << gdb.of[at];
  }
}

TEST_F(GuestHelper, MemoryMayChangeAgainAfterwards) {
  const auto gdb =
      helped({"guest open " + dump, "guest open " + dump, "info mem", "disconnect", "info mem", "guest info"});
  EXPECT_THAT(gdb.of[2], HasSubstr("ro cache"));
  EXPECT_THAT(gdb.of[4], HasSubstr("There are no memory regions defined"));
  EXPECT_THAT(gdb.of[5], HasSubstr("no dump is open"));
}

TEST_F(GuestHelper, SymbolsOfGdbsFileAreUsed) {
  const std::string symbols = write_small_symbols(folder.path());
  for (const bool loaded : {true, false}) {
    const auto gdb =
        helped({"guest open " + std::string(loaded ? "" : "--symbols " + symbols + " ") + dump, "guest vcpus"},
               loaded ? std::vector{symbols} : std::vector<std::string>{});
    EXPECT_THAT(gdb.of[1], HasSubstr("0xffffffff80008000 guest_loop in section .text"));
  }
}

TEST_F(GuestHelper, AarchSixtyFour) {
  const std::string arm = write_arm_dump();
  const auto gdb = helped({"guest open " + arm, "guest vcpus", "guest vtop $pc", "guest info"}, {}, "gdb-multiarch");
  EXPECT_THAT(gdb.of[1], HasSubstr("* 1    vCPU 0 [kernel, EL1]         0x0000000000001000"));
  EXPECT_THAT(gdb.of[2], HasSubstr("0x1000 is guest-physical 0x1000"));
  EXPECT_THAT(gdb.of[3], HasSubstr("aarch64"));
}

/// A kernel whose functions sign their return addresses: outer called middle, and that called inner.
TEST_F(GuestHelper, SignedReturnAddressesAreFollowed) {
  constexpr uint64_t kBase = 0xffff000000000000, kText = kBase + 0x8000, kStack = kBase + 0x4000, kFunction = 32;
  constexpr uint32_t kCode[] = {0xd503233f, 0xa9bf7bfd, 0x910003fd, 0x94000005,   // paciasp; stp x29, x30, ...; mov; bl
                                0xa8c17bfd, 0xd50323bf, 0xd65f03c0, 0xd503201f};  // ldp; autiasp; ret; nop
  Bytes code, memory;
  for (int i = 0; i < 3; ++i)
    for (const uint32_t instruction : kCode) code.u32(instruction);
  const auto signed_return = [](uint64_t function) { return (kText + function * kFunction + 16) ^ 0xa570000000000000; };
  memory.put(0x1000, 0x2003, 8).put(0x2000, 0x401, 8);  // TTBR1: a block of 1 GiB
  memory.put(0x4000, kStack + 16, 8).put(0x4008, signed_return(1), 8);
  memory.put(0x4010, kStack + 32, 8).put(0x4018, signed_return(0), 8).put(0x4020, 0, 8);
  memory.pad_to(0x8000).text(code.str()).pad_to(0x10000);
  QnxNote note;
  note.machine = kEmAarch64;
  note.extra_names = {"sctlr_el1", "tcr_el1", "ttbr1_el1"};
  note.cpus.push_back({.registers = {{"elr", kText + 2 * kFunction + 12},
                                     {"sp", kStack},
                                     {"x29", kStack},
                                     {"pstate", 0x3c5},
                                     {"sctlr_el1", 1},
                                     {"tcr_el1", 16 | 16 << 16 | uint64_t{2} << 30},
                                     {"ttbr1_el1", 0x1000}}});
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  builder.note(note.build()).memory(0, memory.str()).write(folder.path("signed.gcore"));
  const std::string symbols = folder.path("signed.elf");
  write_symbols(symbols, kEmAarch64, kText, code.str(), {{"outer", 0, 32}, {"middle", 32, 32}, {"inner", 64, 32}});
  const auto gdb =
      helped({"guest open --symbols " + symbols + " " + folder.path("signed.gcore"), "backtrace", "info inferiors"},
             {symbols}, "gdb-multiarch");
  EXPECT_THAT(gdb.of[1],
              testing::MatchesRegex("#0  0x[0-9a-f]+ in inner \\(\\)\n#[0-9]+  0x[0-9a-f]+ in middle \\(\\)\n"
                                    "#[0-9]+  0x[0-9a-f]+ in outer \\(\\)\n(Backtrace stopped.*\n)?"));
}

TEST_F(GuestHelper, ADumpWithoutRegisters) {
  DumpBuilder().note(elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n")).memory(0, "memory").write(folder.path("none.gcore"));
  const auto gdb = helped({"guest open " + folder.path("none.gcore"), "guest vcpus", "guest phys on", "x/s 0"});
  EXPECT_THAT(gdb.of[1], HasSubstr("* 1    vCPU 0                       0x0000000000000000"));
  EXPECT_THAT(gdb.of[3], HasSubstr("memory"));
}

TEST_F(GuestHelper, AMachineThatGdbDoesNotKnow) {
  const std::string arm = write_arm_dump();
  const auto gdb = helped({"guest open " + arm});
  EXPECT_EQ(gdb.of[0], "guest open: " + arm +
                           " is a dump of an aarch64 machine, which this gdb does not know: use gdb-multiarch\n");
  ASSERT_EQ(run({"zstd", "-q", arm}).status, (ExitStatus{.code = 0}));
  const auto packed = helped({"guest open " + arm + ".zst"});
  EXPECT_EQ(packed.of[0],
            "guest open: " + arm + ".zst is a dump of a machine that this gdb does not know: use gdb-multiarch\n");
  const auto other = helped({"guest open " + arm}, {write_small_symbols(folder.path())}, "gdb-multiarch");
  EXPECT_THAT(other.of[0],
              HasSubstr("is a dump of an aarch64 machine, " + folder.path() + "/guest.elf is for i386:x86-64"));
}

}  // namespace
}  // namespace gcore::tests
