#include "tools/gcore-dump/register_text.h"

#include <gtest/gtest.h>

#include "tools/gcore-dump/gdb_registers.h"

namespace gcore::tests {
namespace {

using namespace tools::qemu;

// QEMU 7.2; what repeats is left out, and the x87 state is made up: TOP is 6, so FPR6 is st0.
constexpr char kLong[] = R"(
CPU#0
RAX=000000000001ad40 RBX=0000000000000001 RCX=0000000000000002 RDX=4000000000000000
R8 =0000000000000008 R9 =0000000000000007 R10=0000000000000000 R11=0000000000000001
RIP=ffffffff81a592eb RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 00000000 00000000
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
FS =0033 00007f0000001000 00000000 00000000
GS =0000 ff1100003ea00000 00000000 00000000
LDT=0000 0000000000000000 00000000 00008200 DPL=0 LDT
TR =0040 fffffe0000003000 00004087 00008900 DPL=0 TSS64-avl
GDT=     fffffe0000001000 0000007f
IDT=     fffffe0000000000 00000fff
CR0=80050033 CR2=00000000005794a9 CR3=00000000052d0000 CR4=00751ef0
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 
DR6=00000000ffff0ff0 DR7=0000000000000400
EFER=0000000000000d01
FCW=037f FSW=3000 [ST=6] FTW=e0 MXCSR=00001f80
FPR0=0000000000000000 0000 FPR1=0000000000000000 0000
FPR2=0000000000000000 0000 FPR3=0000000000000000 0000
FPR4=0000000000000000 0000 FPR5=8000000000000000 7fff
FPR6=c90fdaa22168c235 4000 FPR7=0000000000000000 0000
YMM00=0000000000000000 0000000000000001 0000000000000002 0000000000000003
XMM01=aaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb
XMM02=0123456789abcdeffedcba9876543210

CPU#1
RAX=0000000000000011 RBX=0000000000000000
)";

TEST(RegisterText, ReadsALongModeCpu) {
  const auto cpus = parse_x86_registers(kLong);
  ASSERT_EQ(cpus.size(), 2u);
  const std::pair<const char*, uint64_t> expected[] = {{"rax", 0x1ad40},
                                                       {"r8", 8},
                                                       {"r11", 1},
                                                       {"rip", 0xffffffff81a592eb},
                                                       {"rflags", 0x246},
                                                       {"cs", 0x10},
                                                       {"fs", 0x33},
                                                       {"fs_base", 0x7f0000001000},
                                                       {"es", 0},
                                                       {"gs_base", 0xff1100003ea00000},
                                                       {"ldtr", 0},
                                                       {"tr", 0x40},
                                                       {"tr_limit", 0x4087},
                                                       {"gdt_base", 0xfffffe0000001000},
                                                       {"gdt_limit", 0x7f},
                                                       {"idt_limit", 0xfff},
                                                       {"cr0", 0x80050033},
                                                       {"cr3", 0x52d0000},
                                                       {"cr4", 0x751ef0},
                                                       {"dr6", 0xffff0ff0},
                                                       {"dr7", 0x400},
                                                       {"efer", 0xd01},
                                                       {"fctrl", 0x37f},
                                                       {"fstat", 0x3000},
                                                       {"mxcsr", 0x1f80},
                                                       {"st0.lo", 0xc90fdaa22168c235},
                                                       {"st0.hi", 0x4000},
                                                       {"st7.lo", 0x8000000000000000},
                                                       {"st7.hi", 0x7fff},
                                                       {"ftag", 0b01'00'10'11'11'11'11'11},
                                                       {"xmm0.lo", 3},
                                                       {"xmm0.hi", 2},
                                                       {"xmm1.lo", 0xbbbbbbbbbbbbbbbb},
                                                       {"xmm2.hi", 0x0123456789abcdef},
                                                       {"xmm2.lo", 0xfedcba9876543210}};
  for (const auto& [name, value] : expected) EXPECT_EQ(cpus.at(0).get(name), value) << name;
  EXPECT_EQ(cpus.at(1).get("rax"), 0x11u);
  for (const char* absent : {"cr0", "rip", "ftag", "st0.lo", "xmm0.lo"}) EXPECT_FALSE(cpus.at(1).get(absent)) << absent;
}

TEST(RegisterText, ReadsA32BitCpu) {
  const auto cpus = parse_x86_registers(
      "CPU#0\nEAX=00000001 EBX=00000002 ECX=00000003 EDX=00000663\nESI=00000004 EDI=00000005 EBP=00000006 "
      "ESP=00000007\n"
      "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\nCS =f000 ffff0000 0000ffff 00009b00\n"
      "GDT=     00000000 0000ffff\nCR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000\n");
  ASSERT_EQ(cpus.size(), 1u);
  EXPECT_EQ(cpus.at(0).get("rdx"), 0x663u);
  EXPECT_EQ(cpus.at(0).get("rbp"), 6u);
  EXPECT_EQ(cpus.at(0).get("rip"), 0xfff0u);
  EXPECT_EQ(cpus.at(0).get("rflags"), 2u);
  EXPECT_EQ(cpus.at(0).get("cs"), 0xf000u);
  EXPECT_EQ(cpus.at(0).get("cr0"), 0x60000010u);
}

TEST(RegisterText, TakesNothingFromOtherText) {
  EXPECT_TRUE(parse_x86_registers("").empty());
  EXPECT_TRUE(parse_x86_registers("unknown command: 'info registers'").empty());
  EXPECT_TRUE(parse_x86_registers("CPU#99999999999999999999\nRAX=1 ").empty());
  const auto cpus = parse_x86_registers("CPU#3\nRAX=zz RBX== CS =\nXMM00=12 XMM99=\nFPR9=1 2\nGDT=\n=");
  ASSERT_EQ(cpus.size(), 1u);
  EXPECT_FALSE(cpus.at(3).get("rax"));
}

TEST(RegisterText, FindsCr8InTheTextOfTheApic) {
  EXPECT_EQ(parse_cr8("IRR\t (none)\n\nAPR 0x00 TPR 0x10 DFR 0x0f LDR 0x01 PPR 0x10\n"), 1u);
  EXPECT_FALSE(parse_cr8("no APIC in CPU"));
}

TEST(GdbRegisters, ReadsADescription) {
  const Description description =
      parse_description(R"(<?xml version="1.0"?><!-- <reg name="no"/> -->)"
                        R"(<target><xi:include href="core.xml"/><xi:include href='sys.xml'/>)"
                        R"(<feature name="f"><reg name="x0" bitsize="64"/><reg name="cpsr" bitsize="32" type="int"/>)"
                        R"(<reg name="TTBR0_EL1" bitsize="64" regnum="86" group="cp_regs"/>)"
                        R"(<reg bitsize="128" name="v0"/></feature></target>)",
                        5);
  EXPECT_EQ(description.includes, (std::vector<std::string>{"core.xml", "sys.xml"}));
  ASSERT_EQ(description.registers.size(), 4u);
  EXPECT_EQ(description.registers[0].number, 5u);
  EXPECT_EQ(description.registers[1].number, 6u);
  EXPECT_EQ(description.registers[1].bits, 32u);
  EXPECT_EQ(description.registers[2].number, 86u);
  EXPECT_EQ(description.registers[3].number, 87u);
  EXPECT_TRUE(parse_description("<reg name=\"x", 0).registers.empty());
}

TEST(GdbRegisters, NamesRegistersAsTheFormatDoes) {
  const auto machine = format::Machine::aarch64;
  EXPECT_EQ(our_register_name(machine, "TTBR0_EL1"), "ttbr0_el1");
  EXPECT_EQ(our_register_name(machine, "SCTLR"), "sctlr_el1");
  EXPECT_EQ(our_register_name(machine, "CPACR"), "cpacr_el1");
  EXPECT_EQ(our_register_name(machine, "ZCR_EL2"), "");
}

}  // namespace
}  // namespace gcore::tests
