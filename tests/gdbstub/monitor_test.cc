#include <gtest/gtest.h>

#include <sstream>

#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/fake_target.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using testing::AssertionFailure;
using testing::AssertionSuccess;

struct MonitorTest : testing::Test {
  testing::AssertionResult says(std::string_view command, std::string_view expected) {
    const std::string text = gdb.monitor(command);
    if (text.find(expected) != std::string::npos) return AssertionSuccess();
    return AssertionFailure() << "monitor " << command << " said: " << text;
  }

  FakeTarget target;
  Conversation gdb{target, {.program = "gcore-serve 1.2"}};
};

TEST_F(MonitorTest, HelpListsEveryCommand) {
  const std::string help = gdb.monitor("help");
  for (const char* command : {"help", "info", "xp", "gva2gpa", "vtop", "map", "segments", "as", "phys", "find", "why",
                              "kprintf", "pid", "cpu"})
    EXPECT_NE(("\n" + help).find(std::string("\n") + command + " "), std::string::npos) << command;
  EXPECT_EQ(gdb.monitor(""), help);
  EXPECT_TRUE(says("help vtop", "vtop ADDRESS"));
  EXPECT_TRUE(says("help nonsense", "there is no command \"nonsense\""));
  EXPECT_EQ(gdb.monitor("nonsense"), "there is no command \"nonsense\": monitor help lists what there is\n");
  EXPECT_EQ(gdb.monitor("vtpo 1"), "there is no command \"vtpo\": did you mean monitor vtop?\n");
  EXPECT_EQ(gdb.monitor("segment"), "there is no command \"segment\": did you mean monitor segments?\n");
  EXPECT_TRUE(says("\x1b[31m", "there is no command \"\\x1b[31m\"")) << "nothing that a terminal would obey";
  EXPECT_LT(gdb.monitor(std::string(60000, 'v')).size(), 200u);
}

TEST_F(MonitorTest, BadHexIsAnError) { EXPECT_EQ(gdb.ask("qRcmd,6"), "E01"); }

TEST_F(MonitorTest, InfoVersionIsNotEmpty) { EXPECT_EQ(gdb.monitor("info version"), "gcore-serve 1.2\n"); }

TEST_F(MonitorTest, InfoRegistersShowsWhatIsThere) {
  gdb.ask("Hg1");
  target.registers["fstat"] = 0x3800;  // top: 7
  EXPECT_EQ(gdb.monitor("info registers"),
            "\nCPU#0\n"
            "RAX=1122334455667788 RBX=???????????????? RCX=???????????????? RDX=????????????????\n"
            "RSI=???????????????? RDI=???????????????? RBP=???????????????? RSP=????????????????\n"
            "R8 =???????????????? R9 =???????????????? R10=???????????????? R11=????????????????\n"
            "R12=???????????????? R13=???????????????? R14=???????????????? R15=????????????????\n"
            "RIP=ffffffff80000010 RFL=00000246 [---Z-P-] CPL=0 II=? A20=? SMM=? HLT=?\n"
            "CS =0010 ???????????????? ???????? ????????\n"
            "CR0=???????? CR2=???????????????? CR3=0000000000008000 CR4=????????\n"
            "FCW=???? FSW=3800 [ST=7] FTW=?? MXCSR=????????\n"
            "FPR0=???????????????? ???? FPR1=???????????????? ????\n"
            "FPR2=???????????????? ???? FPR3=???????????????? ????\n"
            "FPR4=???????????????? ???? FPR5=???????????????? ????\n"
            "FPR6=???????????????? ???? FPR7=0000000000000001 3fff\n"
            "XMM00=???????????????? 0000000000000002 XMM01=???????????????? ????????????????\n"
            "XMM02=???????????????? ???????????????? XMM03=???????????????? ????????????????\n"
            "XMM04=???????????????? ???????????????? XMM05=???????????????? ????????????????\n"
            "XMM06=???????????????? ???????????????? XMM07=???????????????? ????????????????\n"
            "XMM08=???????????????? ???????????????? XMM09=???????????????? ????????????????\n"
            "XMM10=???????????????? ???????????????? XMM11=???????????????? ????????????????\n"
            "XMM12=???????????????? ???????????????? XMM13=???????????????? ????????????????\n"
            "XMM14=???????????????? ???????????????? XMM15=???????????????? ????????????????\n");
}

TEST_F(MonitorTest, InfoRegistersSaysWhatASegmentIs) {
  gdb.ask("Hg1");
  target.registers = {{"eax", 1},           {"efl", 0x20246},   {"eip", 0x7c00},        {"cs", 0x8},
                      {"cs_base", 0},       {"cs_limit", ~0U},  {"cs_flags", 0xcf9a00}, {"ss", 0x10},
                      {"ss_flags", 0x9300}, {"tr", 0x28},       {"tr_flags", 0x8b00},   {"ldtr", 0},
                      {"ldt_flags", 0},     {"gdt_base", 0x99}, {"gdt_limit", 0x7f},    {"cr0", 1}};
  target.machine = gdbstub::Arch::i386;
  EXPECT_TRUE(says("info registers", "EAX=00000001 EBX=???????? "));
  EXPECT_TRUE(says("info registers", "EIP=00007c00 EFL=00020246 [---Z-P-] CPL=3 II=? ")) << "virtual-8086 mode";
  EXPECT_TRUE(says("info registers", "\nCS =0008 00000000 ffffffff 00cf9a00 DPL=0 CS32 [-R-]\n"));
  EXPECT_TRUE(says("info registers", "\nSS =0010 ???????? ???????? 00009300 DPL=0 DS16 [-WA]\n"));
  EXPECT_TRUE(says("info registers",
                   "\nLDT=0000 ???????? ???????? 00000000\nTR =0028 ???????? ???????? 00008b00 DPL=0 TSS32-busy\n"));
  EXPECT_TRUE(says("info registers", "\nGDT=     00000099 0000007f\nCR0=00000001 CR2="));
  target.registers["cr0"] = 0;
  EXPECT_TRUE(says("info registers", "00cf9a00\n")) << "in real mode the flags mean nothing";
}

TEST_F(MonitorTest, InfoRegistersOfAarch64) {
  gdb.ask("Hg1");
  target.machine = gdbstub::Arch::aarch64;
  target.registers = {{"elr", 0x1000}, {"sp", 0x2000}, {"x0", 5}, {"pstate", 0x600003c5}, {"v1.lo", 1}, {"v1.hi", 2}};
  EXPECT_TRUE(says("info registers", "\nCPU#0\n PC=0000000000001000 X00=0000000000000005 X01=????????????????\nX02="));
  EXPECT_TRUE(says("info registers", " X30=????????????????  SP=0000000000002000\nPSTATE=600003c5 -ZC- EL1h\n"));
  target.registers["fpsr"] = 0;
  EXPECT_TRUE(says("info registers", "EL1h    FPCR=???????? FPSR=00000000\nQ00=????????????????:????????????????"));
  EXPECT_TRUE(says("info registers", " Q01=0000000000000002:0000000000000001\n"));
}

TEST_F(MonitorTest, InfoMemAndTlbHaveQemusLayout) {
  EXPECT_EQ(gdb.monitor("info mem"),
            "0000000000400000-0000000000403000 0000000000003000 urw\n"
            "ffffffff80000000-ffffffff80003000 0000000000003000 -r-\n"
            "fffffffffffff000-0001000000000000 0000000000001000 -rw\n");
  target.registers["cr4"] = 0x1000;
  EXPECT_TRUE(says("info mem", "fffffffffffff000-0200000000000000 0000000000001000 -rw\n")) << "with 5 levels";
  target.registers.erase("cr4");
  EXPECT_TRUE(says("info tlb", "0000000000401000: 0000000000002000 --------W\n"));
  EXPECT_TRUE(says("info tlb", "fffffffffffff000: 0000000000001000 --------W\n"));
  for (const auto& [bit, attributes] : {std::pair{63, "X--------"},
                                        {8, "-G-------"},
                                        {7, "--P------"},
                                        {6, "---D-----"},
                                        {5, "----A----"},
                                        {4, "-----C---"},
                                        {3, "------T--"},
                                        {2, "-------U-"}}) {
    target.entry = uint64_t{1} << bit;
    EXPECT_TRUE(says("info tlb", std::string("0000000000400000: 0000000000001000 ") + attributes + "\n"));
  }
  target.entry.reset();
  EXPECT_TRUE(says("info tlb", "0000000000400000: 0000000000001000 ?????????\n"));
  EXPECT_TRUE(says("info mtree -f", "  0000000000000000-0000000000002fff (prio 0, ram): ram\n"));
}

TEST_F(MonitorTest, InfoAloneIsASummary) {
  EXPECT_EQ(gdb.monitor("info"), "a fake dump\nvCPU 2: root 0x8000 from cr3\n");
  EXPECT_TRUE(says("info cpus", "* thread 3: vCPU 2 [kernel, CPL 0]\n"));
  EXPECT_TRUE(says("info nonsense", "info: there is no \"nonsense\""));
}

TEST_F(MonitorTest, XpReadsPhysicalMemoryWhateverTheSpace) {
  EXPECT_EQ(gdb.monitor("xp 0x1004"), "0000000000001004: 0x07060504\n");
  EXPECT_EQ(gdb.monitor("xp /4xb 0x1000"), "0000000000001000: 0x00 0x01 0x02 0x03\n");
  EXPECT_EQ(gdb.monitor("xp /5dw 4096"),
            "0000000000001000: 50462976 117835012 185207048 252579084\n0000000000001010: 319951120\n");
  EXPECT_EQ(gdb.monitor("xp /2c 0x1040"), "0000000000001040: '@' 'A'\n");
  EXPECT_EQ(gdb.monitor("xp /1db 0x10ff"), "00000000000010ff: -1\n");
  EXPECT_EQ(gdb.monitor("xp /1ub 0x10ff"), "00000000000010ff: 255\n");
  EXPECT_EQ(gdb.monitor("xp /1ob 0x10ff"), "00000000000010ff: 0377\n");
  EXPECT_EQ(gdb.monitor("xp /2xg 0x2ff8"),
            "0000000000002ff8: 0x646e65206e612074\nxp: 0x3000: the dump's writer left it out\n");
  EXPECT_TRUE(says("xp /99999999999999999999x 0", "at most"));
  EXPECT_TRUE(says("xp /4q 0", "there is no format 'q'"));
  EXPECT_TRUE(says("xp", "xp: say xp"));
}

TEST_F(MonitorTest, TranslationIsShownStepByStep) {
  EXPECT_EQ(gdb.monitor("vtop 0x400010"),
            "vCPU 2: root 0x8000 from cr3\n"
            "  PML4E  at 0x0000000000008000: 0x0000000000009003\n"
            "  PTE    at 0x0000000000009000: 0x0000000000001003\n"
            "0x400010 is guest-physical 0x1010 (4K pages, rw--)\n");
  EXPECT_TRUE(says("vtop 0x402000", "the dump's writer left it out\n"));
  EXPECT_TRUE(says("vtop 0", "0x0: PTE at 0x9000 is 0x0: not present\n"));
  EXPECT_EQ(gdb.monitor("gva2gpa 0x400010"), "gpa: 0x1010\n");
  EXPECT_EQ(gdb.monitor("gva2gpa 0"), "Unmapped\n");
  EXPECT_EQ(gdb.monitor("why 0"), "vCPU 2: 0x0: nothing is mapped there\n");
  EXPECT_EQ(gdb.monitor("why 0x400000"), "vCPU 2: 0x400000 can be read\n");
  gdb.ask("Hg1");
  EXPECT_EQ(gdb.monitor("why $rip"), "vCPU 0: 0xffffffff80000010 can be read\n");
  EXPECT_EQ(gdb.monitor("why $pc"), gdb.monitor("why $rip"));
  EXPECT_TRUE(says("why $rbx", "the dump has no register $rbx for this vCPU"));
}

TEST_F(MonitorTest, NumbersAreChecked) {
  for (const char* bad : {"why", "why 12x", "why 0x", "why 99999999999999999999", "why -1", "why 1 2", "why $none",
                          "gva2gpa", "vtop", "map x", "map 0 0", "map 1 2 3"})
    EXPECT_TRUE(says(bad, std::string(bad).substr(0, std::string(bad).find(' ')) + ": ")) << bad;
  for (const char* bad : {"why K", "why 0xK", "why 4KK", "why 99999999999999999K", "why 0x10000000000000T", "why 4k"})
    EXPECT_TRUE(says(bad, "is no number: say 4096, 0x1000, 4K or a register such as $pc")) << bad;
}

TEST_F(MonitorTest, NumbersMayHaveUnits) {
  EXPECT_EQ(gdb.monitor("xp /1xb 4K"), gdb.monitor("xp /1xb 0x1000"));
  EXPECT_EQ(gdb.monitor("xp /1xb 0x4K"), gdb.monitor("xp /1xb 4096"));
  EXPECT_TRUE(says("why 1M", "0x100000: "));
  EXPECT_TRUE(says("why 2G", "0x80000000: "));
  EXPECT_TRUE(says("why 0x10T", "0x100000000000: "));
  EXPECT_TRUE(says("map 4M 12K", "0000000000400000-"));
}

TEST_F(MonitorTest, QemusOtherForms) {
  EXPECT_EQ(gdb.monitor("xp/4xb 0x1000"), gdb.monitor("xp /4xb 0x1000"));
  EXPECT_EQ(gdb.monitor("x/2xb 0x400010"), "0000000000400010: 0x10 0x11\n");
  EXPECT_TRUE(says("x /1xb 0", "x: 0x0: nothing is mapped there"));
  EXPECT_TRUE(says("x", "x: say x [/FORMAT] ADDRESS"));
  EXPECT_EQ(gdb.monitor("info status"), "VM status: paused\n");
  const std::string all = gdb.monitor("info registers -a");
  for (const char* part : {"CPU#0\nRAX=1122334455667788", "CPU#1\nRAX=1122334455667789", "CPU#2\nRAX=112233445566778a"})
    EXPECT_NE(all.find(part), std::string::npos) << all;
  EXPECT_TRUE(says("info registers 7", "info: say info registers"));
}

TEST_F(MonitorTest, TheVcpuThatIsMeantCanBeChosen) {
  EXPECT_EQ(gdb.monitor("cpu"),
            "monitor commands are about vCPU 2 [kernel, CPL 0], which the debugger asked about last\n");
  EXPECT_EQ(gdb.monitor("cpu 1"), "monitor commands are about vCPU 1 [kernel, CPL 0], until cpu off\n");
  EXPECT_EQ(gdb.monitor("cpu"), gdb.monitor("cpu 1"));
  EXPECT_TRUE(says("why $rip", "vCPU 1: 0xffffffff80000011 can be read\n"));
  EXPECT_TRUE(says("vtop $rip", "vCPU 1: root 0x8000 from cr3\n"));
  EXPECT_TRUE(says("map", "vCPU 1: root 0x8000 from cr3\n"));
  EXPECT_TRUE(says("as", "vCPU 1: root 0x8000 from cr3\n"));
  EXPECT_TRUE(says("info registers", "\nCPU#1\nRAX=1122334455667789 "));
  EXPECT_TRUE(says("info cpus", "* thread 2: "));
  EXPECT_EQ(gdb.ask("qC"), "QC3") << "the debugger's own choice stays";
  EXPECT_EQ(gdb.ask("p0"), "8a77665544332211");
  gdb.ask("Hg1");
  EXPECT_TRUE(says("why $rip", "vCPU 1: ")) << "and does not change this one";
  EXPECT_TRUE(says("cpu off", "about vCPU 0 "));
  EXPECT_TRUE(says("why $rip", "vCPU 0: "));
  EXPECT_TRUE(says("cpu 3", "cpu: there is no vCPU 3: the last one is 2"));
  EXPECT_TRUE(says("cpu x", "cpu: \"x\" is no number"));
  EXPECT_TRUE(says("cpu 1 2", "cpu: say cpu N"));
  gdb.monitor("phys on");
  EXPECT_EQ(gdb.monitor("why 0"), "0x0 can be read\n") << "the same for every vCPU";
}

TEST_F(MonitorTest, AListSaysWhatItLeavesOut) {
  target.note = "a table is missing";
  EXPECT_TRUE(says("map", "\nnote: a table is missing\n"));
  const std::string found = gdb.monitor("find 0x00");
  EXPECT_NE(found.find("\nfind: a table is missing\nthese are the first 100"), std::string::npos) << found;
  EXPECT_EQ(gdb.monitor("find absent"), "find: a table is missing\n");
}

/// As pwndbg's vmmap does it (pwndbg/gdblib/vmmap.py): it takes each line apart, and gives up at any other.
TEST_F(MonitorTest, EachLineOfQemusListsIsOneThatScriptsTakeApart) {
  target.note = "2032 repetitions of tables left out";
  const Regex mem("[0-9a-f]{16}-[0-9a-f]{16} [0-9a-f]{16} [-u]r[-w]"),
      tlb("[0-9a-f]{16}: [0-9a-f]{16} [-XGPDACTUW]{9}");
  for (const auto& [command, layout] : {std::pair("info mem", &mem), {"info tlb", &tlb}}) {
    std::istringstream lines(gdb.monitor(command));
    size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_TRUE(regex_match(line, *layout)) << line;
    EXPECT_GE(count, 3u);
  }
  target.registers["cr0"] = 0x11;
  EXPECT_EQ(gdb.monitor("info mem"), "PG disabled\n");
  EXPECT_EQ(gdb.monitor("info tlb"), "PG disabled\n");
}

TEST_F(MonitorTest, ListsAreMadeInSteps) {
  for (const char* command : {"map", "info mem", "info tlb"}) {
    gdb.session.receive(packet("qRcmd," + hex(command)));
    ASSERT_TRUE(gdb.session.step());
    for (int mapping = 0; mapping < 3; ++mapping) {
      EXPECT_TRUE(gdb.session.busy()) << command;
      gdb.session.step();
    }
    EXPECT_FALSE(gdb.session.busy()) << command;
    gdb.session.output().clear();
  }
}

TEST_F(MonitorTest, AnEntryThatCannotBeReadIsNotZero) {
  target.entry.reset();
  EXPECT_TRUE(says("vtop 0", "  PTE    at 0x0000000000009000: cannot be read\n"));
}

TEST_F(MonitorTest, MapCanBeNarrowed) {
  const std::string all = gdb.monitor("map");
  EXPECT_NE(all.find("0000000000400000-0000000000402fff rw-u   4K pages -> 0x1000\n"), std::string::npos) << all;
  EXPECT_NE(all.find("ffffffff80000000-"), std::string::npos);
  const std::string low = gdb.monitor("map 0x401000 0x1000");
  EXPECT_NE(low.find("0000000000400000-"), std::string::npos);
  EXPECT_EQ(low.find("ffffffff80000000-"), std::string::npos);
  EXPECT_TRUE(says("map 0 0x1000", "nothing is mapped there"));
  EXPECT_TRUE(says("segments", "0000000000003000-0000000000003fff 4096 bytes, left out by the dump's writer\n"));
}

TEST_F(MonitorTest, PhysIsTheClientsOwn) {
  EXPECT_TRUE(says("phys", "phys is off"));
  EXPECT_TRUE(says("phys on", "maint flush dcache"));
  EXPECT_EQ(gdb.ask("m1000,2"), "0001");
  EXPECT_EQ(gdb.ask("qqemu.PhyMemMode"), "1");
  EXPECT_TRUE(says("phys off", "root 0x8000 from cr3"));
  EXPECT_EQ(gdb.ask("m1000,2"), "E01");
  EXPECT_TRUE(says("phys maybe", "phys: say phys on or phys off"));
}

TEST_F(MonitorTest, AnotherRoot) {
  EXPECT_TRUE(says("as", "root 0x8000 from cr3"));
  EXPECT_EQ(gdb.monitor("as cr3=0x1000"),
            "vCPU 2: root 4096 from cr3\ngdb may have cached memory: `maint flush dcache` drops that\n");
  EXPECT_TRUE(
      says("as cr3=0x1a0f00", "0x1a0f00 names the table at 0x1a0000: its other bits are no part of the address\n"));
  EXPECT_TRUE(says("as cr3=0x10", "root 16 from cr3"));
  EXPECT_TRUE(says("as", "root 16 from cr3"));
  EXPECT_TRUE(says("as ttbr0=0x10", "as: this machine has no \"ttbr0\""));
  EXPECT_TRUE(says("as", "root 16 from cr3"));
  EXPECT_TRUE(says("as off", "root 0x8000 from cr3"));
  EXPECT_TRUE(says("as cr3", "as: say as cr3=ADDRESS"));
  EXPECT_TRUE(says("as cr3=x", "is no number"));
}

TEST_F(MonitorTest, Find) {
  EXPECT_EQ(gdb.monitor("find needle"), "0x401ff0\n0xffffffff80001ff0\n");
  EXPECT_EQ(gdb.monitor("find \"an end\""), "0x401ffa\n0xffffffff80001ffa\n");
  EXPECT_EQ(gdb.monitor("find 0x6e6565 0x500000"), "0xffffffff80001ff0\n");
  EXPECT_EQ(gdb.monitor("find needle 0 0x1000"), "not found\n");
  EXPECT_EQ(gdb.monitor("find absent"), "not found\n");
  EXPECT_TRUE(says("find 0x00", "these are the first 100"));
  gdb.monitor("phys on");
  EXPECT_EQ(gdb.monitor("find needle"), "0x2ff0\n");
  for (const char* bad : {"find", "find 0x", "find 0x1", "find 0xzz", "find a b", "find a 1 b", "find a 1 0",
                          "find \"\"", "find a 1 2 3"})
    EXPECT_TRUE(says(bad, "find: ")) << bad;
}

TEST_F(MonitorTest, CommandsAboutTheGuestSayWhatIsMissing) {
  EXPECT_TRUE(says("kprintf", "kprintf: no ring"));
  EXPECT_TRUE(says("pid 1", "processes are not known"));
  EXPECT_TRUE(says("pid 0", "own registers and address spaces"));
}

}  // namespace
}  // namespace gcore::tests
