// `monitor pid`, `ps`, `task` over a kernel that is built here from the documented offsets of a 64-bit kernel.
#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "gdbstub/dump_target.h"
#include "reader/dump/dump.h"
#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/small_dump.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

constexpr uint64_t kKernel = 0xffffffff80000000;
constexpr uint64_t kSystemPage = 0x10000000;

struct QnxTest : testing::Test {
  QnxTest() {
    put(0x20000 + 40, kKernel + 0x21000, 8);  // kdebug_info: kdebug_private
    put(0x20000 + 72, kKernel + 0x22000, 8);  // and kdump_private
    put(0x21000 + 32, kKernel + 0x23000, 8);  // the process vector
    put(0x21000 + 40, 1, 2);
    put(0x21000 + 44, 0x100, 2);          // th_reg_off
    put(0x21000 + 48, 0x10, 2);           // pr_pid_off
    put(0x21000 + 50, 0x18, 2);           // pr_debug_name_off
    put(0x21000 + 54, 0x40, 2);           // pr_threads_off
    put(0x21000 + 60, 0x8000 | 0x80, 2);  // pr_memory_off: a pointer stands there
    put(0x22000 + 16, 0x28, 2);           // as_pgdir_off
    put(0x23000 + 8, kKernel + 0x24000, 8);
    put(0x23000 + 16, 3, 2);
    put(0x24000, 0x1, 8);  // a free entry
    put(0x24000 + 8, kKernel + 0x25000, 8);
    put(0x24000 + 16, kKernel + 0x2a000, 8);  // a process whose pid is 0 and whose name is nowhere
    put(0x25000 + 0x10, 4099, 4);
    put(0x25000 + 0x18, kKernel + 0x26000, 8);
    std::memcpy(memory.data() + 0x26000, "proc/boot/devb", 14);
    put(0x25000 + 0x40 + 8, kKernel + 0x27000, 8);  // its threads
    put(0x25000 + 0x40 + 16, 2, 2);
    put(0x27000, 0x1, 8);
    put(0x27000 + 8, kKernel + 0x28000, 8);
    put(0x25000 + 0x80, kKernel + 0x29000, 8);  // -> where the pointer to the memory object stands
    put(0x29000, kKernel + 0x29100, 8);
    put(0x29100 + 0x28, kKernel + 0x1000, 8);  // the root table
    put(0x28000 + 0x100 + 120, 0x400008, 8);   // rip
    put(0x28000 + 0x100 + 144, 0x400ff0, 8);   // rsp
  }

  void put(size_t at, uint64_t value, int size) {
    for (int i = 0; i < size; ++i) memory[at + static_cast<size_t>(i)] = static_cast<char>(value >> (8 * i));
  }
  /// Opens the dump; the session is of the faulting vCPU 1.
  Conversation& open(uint16_t type = 0x100) {
    Bytes page;
    page.u16(512).u16(1024).u16(type).u16(2).u16(64).u16(256).pad_to(64 + 160).u64(kKernel + 0x20000).pad_to(1024);
    QnxNote note = small_note();
    note.syspage = 1;
    DumpBuilder().note(note.build()).memory(0, memory).memory(kSystemPage, page.str()).write(folder.path("qnx.gcore"));
    auto opened = reader::Dump::open(folder.path("qnx.gcore"));
    if (!opened) throw std::runtime_error(opened.error().text);
    dump = std::move(*opened);
    target = gdbstub::make_dump_target(*dump);
    gdb.emplace(*target);
    return *gdb;
  }

  TempDir folder;
  std::string memory = small_memory();
  std::unique_ptr<reader::Dump> dump;
  std::unique_ptr<gdbstub::Target> target;
  std::optional<Conversation> gdb;
};

TEST_F(QnxTest, ListsProcesses) { EXPECT_EQ(open().monitor("pid"), "      4099 proc/boot/devb\n         0 \n"); }

TEST_F(QnxTest, AThreadStandsForTheCpu) {
  Conversation& client = open();
  EXPECT_EQ(client.ask("p10"), "00800080ffffffff");
  EXPECT_EQ(client.monitor("pid 4099-2").substr(0, 67),
            "thread 2 of process 4099 (proc/boot/devb), root table 0x1000, stand");
  EXPECT_EQ(client.ask("p10"), "0800400000000000");
  EXPECT_EQ(client.ask("p7"), "f00f400000000000");
  client.ask("qXfer:features:read:target.xml:0,10");
  EXPECT_EQ(client.ask("p1d"), "xxxxxxxxxxxxxxxx") << "a thread has no cr3 of its own";
  EXPECT_EQ(client.ask("m400000,2"), "9090");
  EXPECT_EQ(client.ask("vCont;c"), "T00thread:2;") << "continue makes gdb look again";
  client.ask("Hg1");
  EXPECT_EQ(client.ask("p10"), "1000400000000000") << "the other vCPU is as it was";
  client.ask("Hg2");
  client.monitor("pid 0");
  EXPECT_EQ(client.ask("p10"), "00800080ffffffff");
}

TEST_F(QnxTest, WhatIsNotThereIsSaid) {
  Conversation& client = open();
  EXPECT_EQ(client.monitor("pid 4099"), "pid: process 4099 has no thread 1\n");
  EXPECT_EQ(client.monitor("pid 4099-3"), "pid: process 4099 has no thread 3\n");
  EXPECT_EQ(client.monitor("pid 7"), "pid: there is no process 7; `monitor pid` lists them\n");
  EXPECT_EQ(client.monitor("pid x"), "pid: \"x\" is no number: say 4096, 0x1000, 4K or a register such as $pc\n");
}

TEST_F(QnxTest, TasksAreShown) {
  Conversation& client = open();
  constexpr char kThread[] =
      "       PID   TID NAME                     PC                 SP\n"
      "      4099     2 proc/boot/devb           0x0000000000400008 0x0000000000400ff0\n";
  EXPECT_EQ(client.monitor("ps"),
            std::string(kThread) + "         0     -                          -                  -\n");
  EXPECT_EQ(client.monitor("task 4099"),
            std::string(kThread) +
                "process structure: 0xffffffff80025000\npage tables: 0x1000\n"
                "`pid 4099-2` puts a thread in place of the vCPU: registers, memory, and the debugger's stack\n");
  EXPECT_EQ(client.monitor("task 7"), "task: the guest has no process 7\n");
}

TEST_F(QnxTest, WhatItsKernelDoesNotTellIsSaid) {
  Conversation& client = open();
  EXPECT_EQ(client.monitor("why"),
            "why: the guest is a QNX system, whose kernel does not tell what its threads wait for\n");
  EXPECT_EQ(client.monitor("bt 4099"),
            "bt: of a QNX guest's thread the debugger makes the stack: pid PID-TID puts it in place of the vCPU\n");
  EXPECT_EQ(client.monitor("dmesg").substr(0, 44), "dmesg: this dump has no kernel message ring:");
}

TEST_F(QnxTest, AnotherMachinesSystemPageIsNotBelieved) {
  EXPECT_NE(open(0x101).monitor("pid").find("does not name a QNX system page"), std::string::npos);
}

/// Each field of the kernel's structures in turn points to nowhere, into itself, or counts far too many.
TEST_F(QnxTest, BrokenStructuresEndInWords) {
  const std::string good = memory;
  for (const size_t at : {0x20000 + 40, 0x20000 + 72, 0x21000 + 32, 0x21000 + 44, 0x21000 + 48, 0x21000 + 50,
                          0x21000 + 54, 0x21000 + 60, 0x22000 + 16, 0x23000 + 8, 0x23000 + 16, 0x24000 + 8,
                          0x25000 + 0x18, 0x25000 + 0x48, 0x25000 + 0x50, 0x25000 + 0x80, 0x29000, 0x29128, 0x27008}) {
    for (const uint64_t value : {uint64_t{0xfffe}, uint64_t{0x7fff}, UINT64_MAX - 1, kKernel + 0x20000, uint64_t{0}}) {
      memory = good;
      put(at, value, at < 0x23000 && at >= 0x21028 ? 2 : 8);
      EXPECT_FALSE(open().monitor("pid").empty());
      EXPECT_FALSE(gdb->monitor("pid 4099-2").empty());
      EXPECT_FALSE(gdb->monitor("ps").empty());
      EXPECT_EQ(gdb->ask("qAttached"), "1");
    }
  }
}

}  // namespace
}  // namespace gcore::tests
