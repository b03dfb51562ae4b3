#include "gdbstub/dump_target.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "reader/dump.h"
#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/small_dump.h"
#include "tests/support/dump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

struct DumpTargetTest : testing::Test {
  void open(const std::string& path) {
    auto opened = reader::Dump::open(path);
    if (!opened) throw std::runtime_error(opened.error().text);
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
  EXPECT_TRUE(target->check({"cr3", 0x1000}).has_value());
  EXPECT_FALSE(target->check({"cr3", 0x40000000}).has_value());
  EXPECT_FALSE(target->check({"ttbr0", 0x1000}).has_value());
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
    const auto messages = target->kernel_messages();
    EXPECT_EQ(messages.has_value(), good);
    EXPECT_EQ(messages.value_or("none"), good ? "hello world\n" : "none");
  }
}

}  // namespace
}  // namespace gcore::tests
