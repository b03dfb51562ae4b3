#include "gdbstub/dump_target.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "gdbstub/protocol/packet.h"
#include "reader/dump/dump.h"
#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/small_dump.h"
#include "tests/support/dump_builder.h"
#include "tests/support/kdump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

struct DumpTargetTest : testing::Test {
  void open(const std::string& path) {
    auto opened = reader::Dump::open(path);
    if (!opened) throw std::runtime_error(opened.error().text);
    target.reset();
    dump = std::move(*opened);
    target = gdbstub::make_dump_target(*dump);
  }

  TempDir folder;
  std::unique_ptr<reader::Dump> dump;
  std::unique_ptr<gdbstub::Target> target;
};

TEST_F(DumpTargetTest, CpusAndTheirRegisters) {
  open(write_small_dump(folder.path()));
  EXPECT_EQ(target->cpu_count(), 2u);
  EXPECT_EQ(target->faulting_cpu(), 1u);
  EXPECT_EQ(target->cpu_name(0), "vCPU 0 [user, CPL 3]");
  EXPECT_EQ(target->cpu_name(1), "vCPU 1 [kernel, CPL 0]");
  EXPECT_EQ(target->cpu_details(0), "process init");
  EXPECT_EQ(target->register_value(0, "rip"), 0x400010u);
  EXPECT_EQ(target->register_value(0, "cr8"), std::nullopt);
  EXPECT_EQ(target->register_value(9, "rip"), std::nullopt);
  EXPECT_FALSE(target->unpaged());
}

TEST_F(DumpTargetTest, MemoryIsThatOfTheSpace) {
  open(write_small_dump(folder.path()));
  char text[6] = {};
  const auto bytes = std::as_writable_bytes(std::span(text, 6));
  EXPECT_EQ(target->read({.cpu = 1, .physical = false, .root = {}}, 0xffffffff80009000, bytes), 6u);
  EXPECT_EQ(std::string(text, 6), "needle");
  EXPECT_EQ(target->read({.cpu = 1, .physical = true, .root = {}}, 0x9000, bytes), 6u);
  EXPECT_EQ(target->read({.cpu = 1, .physical = true, .root = {}}, 0x1ffffd, bytes), 3u);
  EXPECT_EQ(target->read({.cpu = 0, .physical = false, .root = {}}, 0x401000, bytes), 0u);
  EXPECT_NE(target->why_unreadable({}, 0x401000).find("in no segment of the dump"), std::string::npos);
  EXPECT_NE(target->why_unreadable({}, 0x8000000000000000).find("canonical"), std::string::npos);
  EXPECT_EQ(target->why_unreadable({}, 0x400000), "");
  EXPECT_EQ(target->read({.cpu = 0, .physical = false, .root = gdbstub::Root{"cr3", 0x7000}}, 0x400000, bytes), 0u)
      << "an empty table";
}

TEST_F(DumpTargetTest, ZerosThatTheFileLacksAreToldApart) {
  QnxNote note;
  note.cpus.resize(1);
  DumpBuilder dump_file;
  dump_file.note(note.build()).memory(0x1000, std::string(0x1000, 'x'), 0x2000).hole(0x10000, 0x4000);
  const std::string path = folder.path("zeros.gcore");
  dump_file.write(path);
  open(path);
  Conversation gdb(*target, {.program = "test"});
  gdb.monitor("phys on");
  EXPECT_EQ(gdb.monitor("why 0x1fff"), "0x1fff can be read\n");
  EXPECT_EQ(gdb.monitor("why 0x2000"),
            "0x2000 can be read; it is zero: the file has only the first part of its segment (p_filesz < p_memsz)\n");
  EXPECT_EQ(gdb.monitor("why 0x11000"), "0x11000 can be read; it is zero: the file has a hole there\n");
  EXPECT_EQ(gdb.monitor("why 0x3000"),
            "0x3000: guest-physical 0x3000 cannot be read: it is in no segment of the dump\n");
}

TEST_F(DumpTargetTest, WalksAndMappings) {
  open(write_small_dump(folder.path()));
  const auto walk = target->walk({}, 0x400010);
  ASSERT_EQ(walk.steps.size(), 4u);
  EXPECT_EQ(walk.steps[3].level, "PTE");
  EXPECT_EQ(walk.steps[3].entry_address, 0x6000u);
  EXPECT_EQ(walk.physical, 0x8010u);
  EXPECT_EQ(walk.mapping.page_size, 4096u);
  EXPECT_FALSE(target->walk({}, 0).fault.empty());
  std::vector<uint64_t> starts;
  target->mappings({}, [&](const gdbstub::Mapping& mapping) {
    starts.push_back(mapping.start);
    return true;
  });
  EXPECT_EQ(starts, (std::vector<uint64_t>{0x400000, 0x401000, 0xffffffff80000000}));
}

TEST_F(DumpTargetTest, RootsAreChecked) {
  open(write_small_dump(folder.path()));
  EXPECT_EQ(target->table_of(0, {"cr3", 0x1000}), 0x1000u);
  EXPECT_EQ(target->table_of(0, {"cr3", 0x8000000000001fff}), 0x1000u) << "a PCID, and no flush";
  EXPECT_FALSE(target->table_of(0, {"cr3", 0x40000000}).has_value());
  EXPECT_FALSE(target->table_of(0, {"ttbr0", 0x1000}).has_value());
}

/// One aarch64 vCPU with its registers, and 64 KiB of memory whose tables at 0x1000 and 0x2000 map nothing.
std::string write_arm_dump(const std::string& path, std::map<std::string, uint64_t> registers) {
  QnxNote note;
  note.machine = kEmAarch64;
  for (const auto& [name, value] : registers)
    if (name.find("_el") != std::string::npos) note.extra_names.push_back(name);
  note.cpus.push_back({.pgtbl = 0, .number = 0, .process = "", .registers = std::move(registers)});
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  builder.note(note.build()).memory(0, std::string(0x10000, '\0')).write(path);
  return path;
}

constexpr uint64_t kTcr48Bits = 16 | 16 << 16 | uint64_t{2} << 30;

TEST_F(DumpTargetTest, AnAsidIsNoPartOfARoot) {
  open(write_arm_dump(folder.path("arm"), {{"elr", 0x1000},
                                           {"pstate", 5},
                                           {"sctlr_el1", 1},
                                           {"tcr_el1", kTcr48Bits},
                                           {"ttbr0_el1", 0x5a1b000000001001},
                                           {"ttbr1_el1", 0x5a1b000000002001}}));
  EXPECT_EQ(target->table_of(0, {"ttbr1", 0x5a1b000000002001}), 0x2000u);
  EXPECT_EQ(target->table_of(0, {"ttbr0", 0x000b000000001000}), 0x1000u) << "an address has 48 bits with this TCR";
  EXPECT_FALSE(target->table_of(0, {"ttbr0", 0x5a1b000000010000}).has_value()) << "there is no memory";
  Conversation gdb(*target);
  EXPECT_NE(gdb.monitor("as ttbr1=$TTBR1_EL1").find("TTBR1 0x2000 "), std::string::npos) << gdb.console;
}

TEST_F(DumpTargetTest, AuthenticationMasksAreWhatTcrLeaves) {
  open(write_arm_dump(folder.path("arm"), {{"elr", 0x1000}, {"tcr_el1", 25 | 12 << 16}}));
  EXPECT_EQ(target->register_value(0, "pauth_mask"), 0xffffff8000000000);
  EXPECT_EQ(target->register_value(0, "pauth_mask_high"), 0xfff0000000000000);
  open(write_arm_dump(folder.path("bare"), {{"elr", 0x1000}}));
  EXPECT_EQ(target->register_value(0, "pauth_mask"), std::nullopt);
}

TEST_F(DumpTargetTest, A32BitMachineHasTablesAndSegments) {
  DumpBuilder builder;
  builder.machine = kEmX86;
  builder.elf32 = true;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86, 1, {{"eip", 0x1000}, {"cs", 8}})) +
               elf_note("QEMU", 0,
                        qemu_note({{"gdt_base", 0xc0001000},
                                   {"gdt_limit", 0x7f},
                                   {"tr", 0x28},
                                   {"fs_limit", 0xfffff},
                                   {"cs_limit", 0xffffffff},
                                   {"cr0", 1}})));
  builder.memory(0, std::string(4096, 'm')).write(folder.path("x86"));
  open(folder.path("x86"));
  Conversation gdb(*target);
  const std::string xml = gdb.ask("qXfer:features:read:target.xml:0,10000");
  for (const auto& [name, value] : {std::pair{"gdt_base", "001000c0"},
                                    {"gdt_limit", "7f000000"},
                                    {"tr", "28000000"},
                                    {"cs_limit", "ffffffff"},
                                    {"fs_limit", "ffff0f00"},
                                    {"dr7", "xxxxxxxx"}}) {
    const size_t at = xml.find(std::string("<reg name=\"") + name + "\"");
    ASSERT_NE(at, std::string::npos) << name;
    const auto number = static_cast<uint64_t>(std::stoi(xml.substr(xml.find("regnum=\"", at) + 8)));
    EXPECT_EQ(gdb.ask("p" + gdbstub::hex_number(number)), value) << name;
  }
}

TEST_F(DumpTargetTest, AVcpusNameSaysItsMode) {
  const auto name_of = [&](uint16_t machine, std::map<std::string, uint64_t> registers) {
    QnxNote note;
    note.machine = machine;
    note.extra_names = {"cr0", "efer"};
    note.cpus.push_back({.pgtbl = 0, .number = 0, .process = "", .registers = std::move(registers)});
    DumpBuilder builder;
    builder.machine = machine;
    builder.note(note.build()).memory(0, "m").write(folder.path("mode"));
    open(folder.path("mode"));
    return target->cpu_name(0);
  };
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x80000011}, {"cs", 0x33}, {"efer", 0x500}}), "vCPU 0 [user, CPL 3]");
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x60000010}, {"cs", 0xf000}}), "vCPU 0 [real mode]");
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x60000010}, {"cs", 0xf003}}), "vCPU 0 [real mode]");
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x11}, {"cs", 0x10}}), "vCPU 0 [kernel, CPL 0]") << "protected mode";
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x11}, {"cs", 0x10}, {"rflags", 0x20002}}), "vCPU 0 [virtual-8086 mode]");
  EXPECT_EQ(name_of(kEmX86_64, {{"cr0", 0x80000011}, {"cs", 0x10}, {"rflags", 0x20002}, {"efer", 0x500}}),
            "vCPU 0 [kernel, CPL 0]")
      << "long mode has no such thing";

  const auto arm_name = [&](std::map<std::string, uint64_t> registers) {
    open(write_arm_dump(folder.path("arm"), std::move(registers)));
    return target->cpu_name(0);
  };
  constexpr uint64_t kE2h = uint64_t{1} << 34;
  EXPECT_EQ(arm_name({{"pstate", 5}, {"hcr_el2", kE2h}}), "vCPU 0 [kernel, EL1]");
  EXPECT_EQ(arm_name({{"pstate", 9}, {"hcr_el2", kE2h}}), "vCPU 0 [kernel, EL2 (VHE)]");
  EXPECT_EQ(arm_name({{"pstate", 9}, {"hcr_el2", 0}}), "vCPU 0 [hypervisor, EL2]");
  EXPECT_EQ(arm_name({{"pstate", 9}}), "vCPU 0 [hypervisor, EL2]");
}

/// A 32-bit kernel on a 64-bit machine: QEMU's dumps of it are of an x86_64 machine.
TEST_F(DumpTargetTest, AMachineThatNeverWentToLongModeIsShownAsOneOf32Bits) {
  const auto with = [&](uint64_t cr0, uint64_t efer, bool narrow = false) {
    QnxNote note = small_note();
    for (auto& cpu : note.cpus) {
      cpu.registers["cr0"] = cr0;
      cpu.registers["efer"] = efer;
      cpu.registers["rip"] = 0x1122334455667788;
    }
    DumpBuilder().note(note.build()).memory(0, small_memory()).write(folder.path("width.gcore"));
    target.reset();
    dump = *reader::Dump::open(folder.path("width.gcore"));
    target = gdbstub::make_dump_target(*dump, {.narrow = narrow});
    return target->arch();
  };
  EXPECT_EQ(with(0x80000011, 0x500), gdbstub::Arch::x86_64);
  EXPECT_EQ(with(0x80000011, 0x500, true), gdbstub::Arch::i386) << "as the debugger's file is";
  EXPECT_EQ(with(0x10, 0), gdbstub::Arch::x86_64) << "in real mode it may become anything";
  EXPECT_EQ(with(0x11, 0), gdbstub::Arch::i386);
  Conversation gdb(*target, {.program = "test"});
  gdb.ask("qXfer:features:read:target.xml:0,ffff");
  EXPECT_EQ(gdb.ask("p8"), "88776655") << "eip";
  EXPECT_NE(gdb.monitor("info registers").find("EIP=55667788"), std::string::npos) << gdb.console;
}

TEST_F(DumpTargetTest, WhatACutOffKdumpFileLacksIsSaidAsGcoreInspectSaysIt) {
  KdumpBuilder builder;
  builder.notes = elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0x1234}}));
  const std::string bytes = builder.build();
  folder.write("cut.kdump", bytes.substr(0, bytes.size() - 100));
  open(folder.path("cut.kdump"));
  Conversation gdb(*target, {.program = "test"});
  size_t cut = 0;
  for (const auto& segment : dump->segments()) cut += dump->bytes_in_file(segment) < segment.file_size;
  const std::string said = gdb.monitor("segments");
  size_t lines = 0;
  for (size_t at = 0; (at = said.find("bytes, the dump file lacks ", at)) != std::string::npos; ++at) ++lines;
  EXPECT_GE(cut, 1u);
  EXPECT_EQ(lines, cut) << said;
}

TEST_F(DumpTargetTest, ALongListIsMadeInManySteps) {
  std::string memory(8 << 20, '\0');
  const auto entry = [&memory](size_t at, uint64_t value) {
    for (size_t i = 0; i < 8; ++i) memory[at + i] = static_cast<char>(value >> (8 * i));
  };
  entry(0x1000, 0x2003);  // 2048 tables of pages that alternate, so that no two make one line
  entry(0x1000 + 511 * 8, 0x2003);
  for (size_t i = 0; i < 4; ++i) entry(0x2000 + 8 * i, 0x3003 + 0x1000 * i);
  for (size_t i = 0; i < 2048; ++i) entry(0x3000 + 8 * i, 0x10003 + 0x1000 * (i % 1024));
  for (size_t table = 0; table < 1024; ++table) entry(0x10000 + 0x1000 * table, 0x8003);
  QnxNote note = small_note();
  DumpBuilder().note(note.build()).memory(0, memory).write(folder.path("wide.gcore"));
  open(folder.path("wide.gcore"));
  const auto list = target->list({.cpu = 1, .physical = false, .root = {}});
  size_t steps = 0, mappings = 0;
  while (list->step([&](const gdbstub::Mapping&) { return ++mappings, true; })) ++steps;
  EXPECT_GE(mappings, 1024u);
  EXPECT_GE(steps, 8u);
  Conversation gdb(*target, {.program = "test"});
  gdb.session.receive(packet("qMemoryRegionInfo:7fffffff0000"));
  for (int step = 0; step < 8; ++step) {
    EXPECT_TRUE(gdb.session.step());
    EXPECT_TRUE(gdb.session.busy());
  }
}

TEST_F(DumpTargetTest, WhatACutOffFileLacksIsSaid) {
  DumpBuilder builder;
  builder.note(small_note().build()).memory(0, small_memory());
  const size_t memory_at = builder.build().find("needle in RAM") - 0x9000;
  DumpBuilder cut = builder;
  cut.cut(memory_at + 0x5000).write(folder.path("cut.gcore"));  // the user half's last tables are lost
  open(folder.path("cut.gcore"));
  Conversation gdb(*target, {.program = "test"});
  const auto says = [&gdb](const char* command, const char* what) {
    EXPECT_NE(gdb.monitor(command).find(what), std::string::npos) << command << ": " << gdb.console;
  };
  says("segments", "0000000000000000-00000000001fffff 2097152 bytes, the dump file ends before 0x5000\n");
  says("vtop 0x400000", "  PDE    at 0x0000000000005010: cannot be read\n");
  says("map", "ffffffff80000000-ffffffff801fffff rwx-   2M pages -> 0x0\nnote: ");
  EXPECT_NE(gdb.ask("qMemoryRegionInfo:400000").find("start:400000;size:1;error:"), std::string::npos);
  EXPECT_EQ(gdb.ask("qMemoryRegionInfo:8000000123"), "start:8000000000;size:1000;") << "of that page it is known";

  builder.cut(memory_at + 0x1000).write(folder.path("rootless.gcore"));
  open(folder.path("rootless.gcore"));
  Conversation rootless(*target, {.program = "test"});
  for (const char* command : {"info mem", "info tlb", "map"}) {
    EXPECT_NE(rootless.monitor(command).find("note: "), std::string::npos) << rootless.console;
    EXPECT_EQ(rootless.console.find("nothing is mapped"), std::string::npos) << rootless.console;
  }
}

TEST_F(DumpTargetTest, ADumpWithoutCpusStillHasAThread) {
  DumpBuilder()
      .note(elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n"))
      .memory(0, std::string(4096, 'a'))
      .write(folder.path("none.gcore"));
  open(folder.path("none.gcore"));
  EXPECT_EQ(target->cpu_count(), 1u);
  EXPECT_EQ(target->faulting_cpu(), 0u);
  Conversation gdb(*target);
  EXPECT_EQ(gdb.ask("?"), "T00thread:1;");
  std::string registers = gdb.ask("g");
  EXPECT_EQ(registers.substr(16 * 16, 16), std::string(16, '0')) << "gdb does not stay without a program counter";
  registers.erase(16 * 16, 16);
  EXPECT_EQ(registers, std::string(registers.size(), 'x'));
  EXPECT_EQ(gdb.ask("m0,1"), "E01");
  gdb.monitor("phys on");
  EXPECT_EQ(gdb.ask("m0,1"), "61");
}

TEST_F(DumpTargetTest, KernelDisplacement) {
  for (const auto& [text, expected] : std::initializer_list<std::pair<const char*, std::optional<uint64_t>>>{
           {"OSRELEASE=6.1\nKERNELOFFSET=5400000\nX=1\n", 0x5400000},
           {"KERNELOFFSET=0\n", 0},
           {"OSRELEASE=6.1\nNOTKERNELOFFSET=1\n", std::nullopt},
           {"KERNELOFFSET=\n", std::nullopt},
           {"KERNELOFFSET=11111111111111111\n", std::nullopt}}) {
    DumpBuilder builder;
    builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) + elf_note("VMCOREINFO", 0, text));
    builder.memory(0, std::string(4096, 'a')).memory(0x10000, std::string(4096, 'b')).write(folder.path("core"));
    open(folder.path("core"));
    EXPECT_EQ(target->kernel_displacement(), expected) << text;
  }
}

/// What gcore-inspect --write-symbols makes has the running kernel's addresses already.
TEST_F(DumpTargetTest, AFileThatHasTheRunningAddressesIsNotMoved) {
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) +
               elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff86400000\nKERNELOFFSET=5400000\n"));
  builder.memory(0, std::string(4096, 'a')).memory(0x10000, std::string(4096, 'b')).write(folder.path("core"));
  open(folder.path("core"));
  for (const auto& [linked, displacement] : {std::pair<uint64_t, uint64_t>{0xffffffff81000000, 0x5400000},
                                             {0xffffffff86400000, 0},
                                             {0xffffffff86200000, 0x5400000},
                                             {0x400000, 0x5400000}}) {
    const auto with_file = gdbstub::make_dump_target(*dump, {.first_segment = linked});
    EXPECT_EQ(with_file->kernel_displacement(), displacement) << std::hex << linked;
  }
}

TEST_F(DumpTargetTest, TheSummarySaysWhatTheDumpSays) {
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) +
               elf_note("VMCOREINFO", 0, "OSRELEASE=6.1.0-\x1b[1m\nKERNELOFFSET=1000000\n"));
  builder.memory(0, std::string(4096, 'a')).cut(64 + 2 * 56 + 600).write(folder.path("core"));
  open(folder.path("core"));
  Conversation gdb(*target);
  const std::string text = gdb.monitor("info");
  for (const char* part : {"vmcore dump, x86_64, vCPUs: 1", "system: Linux 6.1.0-\\x1b[1m\n",
                           "moved from where it was linked by: 0x1000000\n", "warning: "})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(DumpTargetTest, WhySaysWhereATruncatedFileEnds) {
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})));
  builder.memory(0, std::string(8192, 'a')).cut(4096 + 5000).write(folder.path("core"));
  open(folder.path("core"));
  Conversation gdb(*target);
  gdb.monitor("phys on");
  EXPECT_EQ(gdb.monitor("why 0x1fff"), "0x1fff: guest-physical 0x1fff cannot be read: the file is truncated at 9096\n");
}

TEST_F(DumpTargetTest, TheMessageRingIsShownWhereThereIsOne) {
  const std::string text = "world\nhello ";
  Bytes info;
  info.u32(1).u32(0).u32(0).u32(0).u64(0).u32(0).u32(0).u32(0).u32(12).u32(6).text(text);
  for (const bool good : {true, false}) {
    QnxNote note;
    note.dumpinfo = good ? 1 : 0;
    note.cpus.push_back({});
    DumpBuilder()
        .note(note.build())
        .memory(0, std::string(4096, '\0'))
        .memory(0x10000, info.str())
        .write(folder.path("ring"));
    open(folder.path("ring"));
    const auto messages = target->kernel_text(gdbstub::Target::GuestText::messages, {});
    EXPECT_EQ(messages.has_value(), good);
    EXPECT_EQ(messages.value_or("none"), good ? "hello world\n" : "none");
  }
}

}  // namespace
}  // namespace gcore::tests
