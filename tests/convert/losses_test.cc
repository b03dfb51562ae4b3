// What gets lost on the way to the other dialect and back: what gcore-convert names, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "tests/convert/convert.h"
#include "tests/support/dump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> all;
  for (std::string word; stream >> word;) all.push_back(word);
  return all;
}

std::vector<std::string> numbered(const std::string& base, int count,
                                  std::initializer_list<const char*> endings = {""}) {
  std::vector<std::string> all;
  for (int i = 0; i < count; ++i)
    for (const char* ending : endings) all.push_back(base + std::to_string(i) + ending);
  return all;
}

/// A machine's registers (docs/format.md, which has them from the manuals): those of the CPU register set, the others
/// that the vmcore dialect's notes have a place for, and those that they have none for.
struct Registers {
  uint16_t machine;
  std::vector<std::string> core, carried, lost;
  std::string named;  // how the lost ones are named, with one that nobody knows among them
};

Registers x86_64() {
  Registers all{
      kEmX86_64, words("rdi rsi rdx r10 r8 r9 rax rbx rbp rcx r11 r12 r13 r14 r15 rip cs rflags rsp ss"),
      words("cr0 cr2 cr3 cr4 fs_base gs_base kernel_gs_base ds es fs gs tr ldtr gdt_base gdt_limit idt_base "
            "idt_limit tr_base tr_limit ldt_base ldt_limit"),
      words("cr8 efer xcr0 star lstar cstar fmask sysenter_cs sysenter_esp sysenter_eip apic_base pat dr0 dr1 "
            "dr2 dr3 dr6 dr7 fctrl fstat ftag fop fip fdp mxcsr"),
      "apic_base cr8 cstar dr0..dr3 dr6..dr7 efer fctrl fdp fip fmask fop fstat ftag lstar mxcsr own_register "
      "pat st0..st7 star sysenter_cs sysenter_eip sysenter_esp xcr0 xmm0..xmm15"};
  for (const auto& [base, count] : {std::pair("st", 8), std::pair("xmm", 16)})
    for (const std::string& name : numbered(base, count, {".lo", ".hi"})) all.lost.push_back(name);
  return all;
}

Registers aarch64() {
  Registers all{kEmAarch64, numbered("x", 31), numbered("v", 32, {".lo", ".hi"}),
                words("sctlr_el1 tcr_el1 ttbr0_el1 ttbr1_el1 mair_el1 vbar_el1 esr_el1 far_el1 elr_el1 spsr_el1 sp_el0 "
                      "sp_el1 tpidr_el0 tpidr_el1 tpidrro_el0 contextidr_el1 mpidr_el1 midr_el1 cpacr_el1 par_el1 "
                      "id_aa64mmfr0_el1"),
                "contextidr_el1 cpacr_el1 elr_el1 esr_el1 far_el1 id_aa64mmfr0_el1 mair_el1 midr_el1 mpidr_el1 "
                "own_register par_el1 sctlr_el1 sp_el0..sp_el1 spsr_el1 tcr_el1 tpidr_el0..tpidr_el1 tpidrro_el0 "
                "ttbr0_el1 ttbr1_el1 vbar_el1"};
  for (const char* name : {"sp", "elr", "pstate"}) all.core.push_back(name);
  for (const char* name : {"fpsr", "fpcr"}) all.carried.push_back(name);
  return all;
}

class Losses : public testing::TestWithParam<Registers (*)()> {};

TEST_P(Losses, AreTheNamedRegistersAndNoOthers) {
  const Registers all = GetParam()();
  QnxNote note;
  note.machine = all.machine;
  for (const auto& list : {all.carried, all.lost})
    note.extra_names.insert(note.extra_names.end(), list.begin(), list.end());
  note.extra_names.push_back("own_register");
  for (uint32_t cpu = 0; cpu < 2; ++cpu) {
    std::map<std::string, uint64_t> values;
    uint64_t value = 0x100 * (cpu + 1);  // no two alike, none 0, and small enough for the narrowest
    for (const auto& list : {all.core, note.extra_names})
      for (const std::string& name : list) values[name] = ++value;
    note.cpus.push_back({.number = cpu, .registers = values});
  }
  DumpBuilder builder;
  builder.machine = all.machine;
  builder.note(note.build()).memory(0, std::string(8192, 'm'));
  const TempDir folder;
  builder.write(folder.path("in"));

  const Completed there = convert({folder.path("in"), folder.path("vmcore"), "--dialect", "vmcore"});
  ASSERT_EQ(there.status, kDone);
  EXPECT_EQ(there.err, "gcore-convert: not carried over, since the vmcore dialect has no place for it: registers " +
                           all.named + "\n");
  const Completed back = convert({folder.path("vmcore"), folder.path("back"), "--dialect", "qnx"});
  ASSERT_EQ(back.status, kDone);
  EXPECT_EQ(back.err, "");

  const auto before = open_dump(folder.path("in")), after = open_dump(folder.path("back"));
  ASSERT_EQ(after->cpus().size(), 2u);
  for (size_t cpu = 0; cpu < 2; ++cpu) {
    const auto& registers = after->cpus()[cpu].registers;
    for (const auto& list : {all.core, all.carried})
      for (const std::string& name : list) {
        EXPECT_EQ(registers.get(name), note.cpus[cpu].registers[name]) << name;
        EXPECT_TRUE(before->cpus()[cpu].registers.get(name)) << name;
      }
    for (const std::string& name : all.lost) {
      EXPECT_TRUE(before->cpus()[cpu].registers.get(name)) << name;
      EXPECT_EQ(registers.get(name), std::nullopt) << name;
    }
    EXPECT_EQ(before->cpus()[cpu].other_registers.size(), 1u);
    EXPECT_EQ(after->cpus()[cpu].other_registers.size(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Machine, Losses, testing::Values(x86_64, aarch64),
                         [](const auto& test) { return test.index == 0 ? "x86_64" : "aarch64"; });

TEST(LossesOfNotes, ThatNobodyReadsAreNamed) {
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  std::string notes;
  for (uint32_t cpu = 1; cpu <= 2; ++cpu)
    notes += elf_note("CORE", 1, prstatus(kEmAarch64, cpu, {{"pc", 0x1000}})) +
             elf_note("LINUX", 0x405, std::string(528, 's'));
  builder.note(notes).memory(0, std::string(8192, 'm'));
  const TempDir folder;
  builder.write(folder.path("in"));
  for (const char* dialect : {"vmcore", "qnx"}) {
    const Completed done = convert({folder.path("in"), folder.path(dialect), "--dialect", dialect});
    EXPECT_EQ(done.status, kDone);
    EXPECT_THAT(done.err, testing::HasSubstr("2 ELF notes LINUX 0x405, SVE registers, not interpreted by gcore\n"));
  }
}

// A register that the dump does not have is none that gets lost, nor one that comes into being.
TEST(LossesOfNothing, AreNotNamed) {
  QnxNote note;
  note.extra_names = {"cr3"};
  note.cpus.push_back({.registers = {{"rip", 1}, {"cr3", 0x1000}}});
  DumpBuilder builder;
  builder.note(note.build()).memory(0, std::string(8192, 'm'));
  const TempDir folder;
  builder.write(folder.path("in"));
  EXPECT_EQ(convert({folder.path("in"), folder.path("vmcore"), "--dialect", "vmcore"}).err, "");
  EXPECT_EQ(convert({folder.path("vmcore"), folder.path("back"), "--dialect", "qnx"}).err, "");
  const auto after = open_dump(folder.path("back"));
  for (const char* name : {"efer", "cr0", "cr4", "gs_base", "xmm0.lo"})
    EXPECT_EQ(after->cpus()[0].registers.get(name), std::nullopt) << name;
  EXPECT_EQ(after->cpus()[0].registers.get("cr3"), 0x1000u);
}

}  // namespace
}  // namespace gcore::tests
