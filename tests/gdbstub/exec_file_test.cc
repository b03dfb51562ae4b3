#include "gdbstub/protocol/exec_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/fake_target.h"
#include "tests/gdbstub/small_dump.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

struct ExecFileTest : testing::Test {
  TempDir folder;
  std::string path = write_small_symbols(folder.path());
};

TEST_F(ExecFileTest, OpensElfFilesOnly) {
  EXPECT_TRUE(gdbstub::ExecFile::open(path).has_value());
  EXPECT_EQ(gdbstub::ExecFile::open(folder.path()).error(), "it is not a regular file");
  EXPECT_EQ(gdbstub::ExecFile::open("/etc/passwd").error(), "it is not an ELF file");
  DumpBuilder().write(folder.path("dump"));
  EXPECT_EQ(gdbstub::ExecFile::open(folder.path("dump")).error(),
            "it is a memory dump (a core file), not a program or kernel");
  EXPECT_EQ(gdbstub::ExecFile::open("/no/such").error(), "No such file or directory");
  const std::string fifo = folder.path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(gdbstub::ExecFile::open(fifo).error(), "it is not a regular file");
}

TEST_F(ExecFileTest, KnowsWhereItsFirstSegmentWasLinked) {
  EXPECT_EQ(gdbstub::ExecFile::open(path)->first_segment(), 0xffffffff80008000);
  std::string bytes = read_file(path);
  bytes.resize(70);
  EXPECT_EQ(gdbstub::ExecFile::open(folder.write("cut", bytes))->first_segment(), std::nullopt);
}

TEST_F(ExecFileTest, ADebuggerReadsItAndNothingElse) {
  const auto file = gdbstub::ExecFile::open(path);
  FakeTarget target;
  target.displacement = 0x1000;
  Conversation gdb(target, {.exec_file = &*file});
  EXPECT_NE(gdb.ask("qSupported").find("qXfer:exec-file:read+"), std::string::npos);
  EXPECT_EQ(gdb.ask("qXfer:exec-file:read:1:0,1000"), "l" + file->path());
  EXPECT_EQ(gdb.ask("qOffsets"), "TextSeg=ffffffff80009000");
  EXPECT_EQ(gdb.ask("vFile:setfs:0"), "F0");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4,0"), "F-1,9") << "not open yet";
  EXPECT_EQ(gdb.ask("vFile:open:" + hex("/etc/passwd") + ",0,0"), "F-1,2");
  EXPECT_EQ(gdb.ask("vFile:open:" + hex(file->path()) + ",1,0"), "F-1,d") << "for writing";
  EXPECT_EQ(gdb.ask("vFile:open:" + hex(file->path()) + ",0,0"), "F3");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4,0"), "F4;\177ELF");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4,ffffffffffffffff"), "F0;");
  EXPECT_EQ(gdb.ask("vFile:pread:4,4,0"), "F-1,9");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4"), "F-1,16");
  const std::string stat = gdb.ask("vFile:fstat:3");
  ASSERT_EQ(stat.size(), 4 + 64u);
  EXPECT_EQ(stat.substr(0, 4), "F40;");
  EXPECT_EQ(hex(stat.substr(4 + 28, 8)).substr(12),
            hex(std::string{static_cast<char>(file->size() >> 8), static_cast<char>(file->size())}));
  EXPECT_EQ(gdb.ask("vFile:readlink:" + hex(file->path())), "F-1,16");
  EXPECT_EQ(gdb.ask("vFile:unlink:" + hex(file->path())), "F-1,d");
  EXPECT_EQ(gdb.ask("vFile:close:3"), "F0");
  EXPECT_EQ(gdb.ask("vFile:close:3"), "F-1,9");
}

/// GDB opens a file with DWARF 5 twice, closes one descriptor, and reads on through the other.
TEST_F(ExecFileTest, EachOpenHasADescriptorOfItsOwn) {
  const auto file = gdbstub::ExecFile::open(path);
  FakeTarget target;
  Conversation gdb(target, {.exec_file = &*file});
  const std::string open = "vFile:open:" + hex(file->path()) + ",0,0";
  EXPECT_EQ(gdb.ask(open), "F3");
  EXPECT_EQ(gdb.ask(open), "F4");
  EXPECT_EQ(gdb.ask("vFile:close:3"), "F0");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4,0"), "F-1,9");
  EXPECT_EQ(gdb.ask("vFile:pread:4,4,0"), "F4;\177ELF");
  EXPECT_EQ(gdb.ask(open), "F3") << "the lowest one that is free";
  for (size_t more = 0; more < 254; ++more) EXPECT_NE(gdb.ask(open), "F-1,18");
  EXPECT_EQ(gdb.ask(open), "F-1,18") << "as many as a program may have";
}

/// GDB asks for as much as PacketSize says. What has to be escaped makes the reply longer, which GDB has room for.
TEST_F(ExecFileTest, IsReadInPiecesAsLargeAsADebuggerAsksFor) {
  std::string large = read_file(path);
  large.resize(300000, '}');
  const auto file = gdbstub::ExecFile::open(folder.write("large", large));
  FakeTarget target;
  Conversation gdb(target, {.exec_file = &*file});
  gdb.ask("vFile:open:" + hex(file->path()) + ",0,0");
  EXPECT_EQ(gdb.ask("vFile:pread:3,20020,8000"), "F20020;" + std::string(0x20020, '}'));
  EXPECT_EQ(gdb.ask("vFile:pread:3,20020,40000"), "F93e0;" + std::string(0x93e0, '}'));
}

/// Files that are there when they are asked for.
struct MadeFiles : gdbstub::LaterFile {
  explicit MadeFiles(const std::string& path) { list.push_back({std::move(*gdbstub::ExecFile::open(path)), 3}); }
  bool settled() const override { return ++asked > 0; }
  const gdbstub::ExecFile* file() const override { return nullptr; }
  bool has_libraries() const override { return true; }
  std::span<const gdbstub::Library> libraries() const override { return list; }
  mutable int asked = 0;
  std::vector<gdbstub::Library> list;
};

TEST_F(ExecFileTest, ModulesAreLibraries) {
  const MadeFiles made(path);
  const std::string& name = made.list[0].file.path();
  FakeTarget target;
  Conversation gdb(target, {.made_file = &made});
  EXPECT_NE(gdb.ask("qSupported").find(";qXfer:libraries:read+;qXfer:libraries-svr4:read+"), std::string::npos);
  EXPECT_EQ(made.asked, 0) << "nothing is made before it is asked for";
  EXPECT_EQ(gdb.ask("qXfer:libraries:read::0,1000"),
            "l<library-list>\n<library name=\"" + name +
                "\"><section address=\"0x0\"/><section address=\"0x0\"/><section address=\"0x0\"/></library>\n"
                "</library-list>\n");
  EXPECT_GT(made.asked, 0);
  EXPECT_EQ(gdb.ask("qXfer:libraries-svr4:read::0,1000"),
            "l<library-list-svr4 version=\"1.0\">\n<library name=\"" + name +
                "\" lm=\"0x1\" l_addr=\"0x0\" l_ld=\"0x0\" lmid=\"0x0\"/>\n</library-list-svr4>\n");
  EXPECT_EQ(gdb.ask("vFile:open:" + hex(name) + ",0,0"), "F3");
  EXPECT_EQ(gdb.ask("vFile:pread:3,4,0"), "F4;\177ELF");
  EXPECT_EQ(gdb.ask("vFile:open:" + hex("/etc/passwd") + ",0,0"), "F-1,2");
}

}  // namespace
}  // namespace gcore::tests
