// gcore-dump against QEMU machines that run no operating system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::SizeIs;

TEST(GcoreDump, NamesTheFileAfterTheGuestAndLetsItGoOn) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-name", "engine"}));
  machine.start();
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
  ASSERT_THAT(out.entries(), SizeIs(1));
  EXPECT_EQ(done.out, out.path(out.entries()[0]) + "\n");
  EXPECT_THAT(out.entries()[0], MatchesRegex("engine-[0-9]{8}-[0-9]{6}\\.gcore"));
  EXPECT_TRUE(machine.runs());
  const auto dump = open_dump(line(done.out));
  EXPECT_EQ(dump->dialect(), reader::Dialect::qnx);
  ASSERT_EQ(dump->cpus().size(), 1u);
  EXPECT_EQ(dump->cpus()[0].registers.get("cs"), 0xf000u);
  EXPECT_EQ(dump->cpus()[0].registers.get("rip"), 0xfff0u);
  EXPECT_EQ(dump->cpus()[0].registers.get("efer"), 0u);
  std::byte code[2];
  EXPECT_EQ(dump->read(reader::PhysAddr(0xfffffff0), code).bytes, 2u);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(code), 2), kLoop);
}

TEST(GcoreDump, LeavesAPausedGuestPaused) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  EXPECT_EQ(gcore_dump({"--qmp", machine.socket(), out.path()}).status, kDone);
  EXPECT_FALSE(machine.runs());
  ASSERT_THAT(out.entries(), SizeIs(1));
  EXPECT_THAT(out.entries()[0], HasSubstr("qvm-guest-"));
}

TEST(GcoreDump, ReadsMemfdsAboveFourGiBAndSeveralBlocks) {
  BareMachine machine(kX86, kLoop,
                      {"-machine", "q35", "-m", "5G", "-object", "memory-backend-memfd,id=a,size=1G,share=on",
                       "-object", "memory-backend-file,id=b,size=4G,mem-path=FOLDER/ram,share=on", "-numa",
                       "node,memdev=a", "-numa", "node,memdev=b", "-smp", "2"});
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", "--system", "numa", out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_THAT(done.err, testing::Not(HasSubstr("copied through QEMU")));
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "begin": 4294967296, "length": 4096, "protocol": )" +
                                                 Qmp::quote("file:" + machine.folder().path("high")) + "}");
  const CoreFile ours(line(done.out));
  const auto coverage = ours.coverage();
  EXPECT_EQ(coverage.at(0), 0x80000000u);
  EXPECT_EQ(coverage.rbegin()->second, 0x1c0000000u);
  EXPECT_EQ(ours.read(0x100000000, 4096), CoreFile(machine.folder().path("high")).read(0x100000000, 4096));
  EXPECT_THAT(ours.notes(), SizeIs(4));
}

TEST(GcoreDump, CopiesPrivateMemoryThroughQemuAndSaysSo) {
  BareMachine machine(kX86, kLoop, {"-m", "96M"});
  const TempDir out;
  const Completed done = untraced_gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, MatchesRegex("gcore-dump: memory \"pc.ram\" \\([0-9.]+ MiB\\) is copied through QEMU, which is "
                                     "slower: .*(\n.*)*"));
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" +
                                                 Qmp::quote("file:" + machine.folder().path("oracle")) + "}");
  const CoreFile ours(line(done.out)), theirs(machine.folder().path("oracle"));
  EXPECT_EQ(ours.coverage(), theirs.coverage());
  EXPECT_EQ(first_difference(theirs, ours), "");
}

TEST(GcoreDump, ReadsThePrivatelyMappedFileNotTheFile) {
  BareMachine machine(kX86, kPanic,
                      {"-machine", "q35,memory-backend=mem", "-m", "64M", "-object",
                       "memory-backend-file,id=mem,size=64M,mem-path=FOLDER/ram,share=off"});
  const TempDir out;
  const Completed done = untraced_gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, HasSubstr("share=off"));
}

TEST(GcoreDump, FindsADeletedBackingFile) {
  BareMachine machine(kX86, kLoop, kShared);
  ASSERT_EQ(unlink(machine.folder().path("ram").c_str()), 0);
  machine.folder().write("ram", std::string(64 << 20, 'x'));  // another file of that name and size
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
  std::byte first[1];
  EXPECT_EQ(open_dump(line(done.out))->read(reader::PhysAddr(0x1000), first).bytes, 1u);
  EXPECT_NE(std::to_integer<char>(first[0]), 'x');
}

TEST(GcoreDump, WritesIntoACommand) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "|cat > '" + out.path("piped") + "'"});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_EQ(open_dump(out.path("piped"))->cpus().size(), 1u);
  machine.start();
  const Completed failed = gcore_dump({"--qmp", machine.socket(), "|exit 3"});
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_THAT(failed.err, MatchesRegex("gcore-dump: dump .*status 3\n"));
  EXPECT_TRUE(machine.runs());
}

TEST(GcoreDump, WaitsForTheDiskUnlessToldNotTo) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  const auto dump = [&](const char* more) {
    std::vector<std::string> argv{
        "env", "LD_PRELOAD=" GCORE_FAILING_FSYNC, program("gcore-dump"), "--qmp", machine.socket(), out.path()};
    if (*more != '\0') argv.emplace_back(more);
    return run(std::move(argv));
  };
  const Completed failed = dump("");
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_THAT(failed.err, HasSubstr("fsync of the dump file in directory '" + out.path() + "': Input/output error"));
  EXPECT_TRUE(std::filesystem::is_empty(out.path()));
  const Completed done = dump("--no-sync");
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_EQ(open_dump(line(done.out))->cpus().size(), 1u);
}

TEST(GcoreDump, LetsTheGuestGoOnWhenItIsInterrupted) {
  BareMachine machine(kX86, kLoop, kShared);
  machine.start();
  Process dumper(
      {program("gcore-dump"), "--qmp", machine.socket(), "--aside", "0", "|echo begun >&2; exec sleep 1000"});
  ASSERT_TRUE(dumper.wait_for_line(Process::Stream::err, "begun"));
  while (machine.runs()) ASSERT_FALSE(dumper.wait(0ms));  // until it is paused: the pipe is full
  dumper.signal(SIGTERM);
  EXPECT_EQ(dumper.wait(), kFailed);
  EXPECT_TRUE(machine.runs());
}

TEST(GcoreDump, HasSystemRegistersOfAarch64) {
  BareMachine machine("qemu-system-aarch64", "",
                      {"-machine", "virt,memory-backend=mem", "-cpu", "cortex-a57", "-smp", "2", "-m", "64M", "-object",
                       "memory-backend-memfd,id=mem,size=64M,share=on"});
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
  EXPECT_FALSE(machine.runs());
  const auto dump = open_dump(line(done.out));
  EXPECT_EQ(dump->machine(), format::Machine::aarch64);
  ASSERT_EQ(dump->cpus().size(), 2u);
  for (const reader::Cpu& cpu : dump->cpus()) {
    EXPECT_EQ(cpu.registers.get("sctlr_el1"), 0xc50838u);  // a Cortex-A57's after reset
    for (const char* name : {"ttbr0_el1", "ttbr1_el1", "tcr_el1", "vbar_el1", "elr_el1", "sp_el0"})
      EXPECT_TRUE(cpu.registers.get(name)) << name;
  }
  EXPECT_THAT(machine.qmp().execute("query-chardev"), testing::Not(HasSubstr("gcore-dump")));  // our stub is gone again
}

TEST(GcoreDump, LeavesADebuggersStubAlone) {
  BareMachine machine(
      "qemu-system-aarch64", "",
      {"-machine", "virt", "-cpu", "cortex-a57", "-m", "64M", "-gdb", "unix:FOLDER/gdb,server=on,wait=off"});
  const TempDir out;
  const Completed free_stub = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(free_stub.status, kDone);
  EXPECT_EQ(open_dump(line(free_stub.out))->cpus()[0].registers.get("sctlr_el1"), 0xc50838u);
  Process debugger({"socat", "-u", "UNIX-CONNECT:" + machine.folder().path("gdb"), "STDOUT"});
  while (machine.qmp().execute("query-chardev").find("disconnected:unix:" + machine.folder().path("gdb")) !=
         std::string::npos)
    ASSERT_FALSE(debugger.wait(0ms));
  const Completed busy_stub = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(busy_stub.status, kDone);
  EXPECT_THAT(busy_stub.err, HasSubstr("a debugger is connected"));
  EXPECT_FALSE(open_dump(line(busy_stub.out))->cpus()[0].registers.get("sctlr_el1"));
}

TEST(GcoreDumpErrors, AreOneLineEach) {
  const TempDir folder;
  const std::string file = folder.write("file", "");
  const auto fails = [](const Completed& done, const std::string& why) {
    EXPECT_EQ(done.status, kFailed);
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, HasSubstr(why));
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  };
  fails(gcore_dump({"--qmp", folder.path("none"), folder.path()}), "no such file");
  fails(gcore_dump({"--qmp", file, folder.path()}), "nobody listens");
  fails(gcore_dump({"--qmp", file, folder.path("none/at/all")}), "No such file or directory; make it with mkdir -p");
  fails(gcore_dump({"--qmp", file, file}), "Not a directory");
  fails(gcore_dump({"--qmp", file, "--watch", folder.path()}), "nobody listens");
  fails(gcore_dump({"--qmp", "unix:" + file + ",server=on", folder.path()}), "takes the path alone");
  fails(gcore_dump({"--qmp", "localhost:4444", folder.path()}), "takes the path of a UNIX socket");
  EXPECT_THAT(folder.entries(), testing::ElementsAre("file"));
  const Completed made = gcore_dump({"--qmp", file, folder.path("dumps")});
  EXPECT_THAT(made.err, testing::StartsWith("gcore-dump: made the dump directory '" + folder.path("dumps") +
                                            "' (mode 0700)\ngcore-dump: "));
}

TEST(GcoreDump, MakesTheDirectoryAndSaysSo) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir folder;
  const std::string target = folder.path("dumps");
  const Completed done = gcore_dump({"--qmp", machine.socket(), target});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "gcore-dump: made the dump directory '" + target + "' (mode 0700)\n");
  EXPECT_EQ(std::filesystem::status(target).permissions(), std::filesystem::perms::owner_all);
  EXPECT_EQ(gcore_dump({"--qmp", machine.socket(), target}).err, "");
}

TEST(GcoreDump, KeepsAnUmlaut) {
  BareMachine machine(kX86, kLoop, with(kShared, {"-name", "Müller"}));
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--log-format", "json", out.path()});
  EXPECT_EQ(done.status, kDone);
  const std::string path = line(done.out);
  EXPECT_THAT(path, HasSubstr("/Müller-"));
  EXPECT_THAT(done.err, HasSubstr(path));
  EXPECT_EQ(open_dump(path)->info().vm, "Müller");
  EXPECT_THAT(run({program("gcore-inspect"), path, "--json"}).out, testing::ContainsRegex("\"vm\": *\"Müller\""));
  EXPECT_THAT(run({program("gcore-inspect"), path}).out, HasSubstr("VM        Müller\n"));
}

TEST(GcoreDumpErrors, OfUsage) {
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"/tmp"},
      {"--qmp", "x"},
      {"--qmp", "x", "--dialect", "elf", "/tmp"},
      {"--qmp", "x", "--compress", "xz", "/tmp"},
      {"--qmp", "x", "--keep", "0", "/tmp"},
      {"--qmp", "x", "--keep", "many", "/tmp"},
      {"--qmp", "x", "--keep", "1", "|cat"},
      {"--qmp", "x", "--reconnect", "/tmp"},
      {"--qmp", "x", "--set-action", "/tmp"},
      {"--qmp", "x", "--log-format", "xml", "/tmp"},
      {"--qmp", "x", "|"},
      {"--qmp", "x", "|| "},
      {"--qmp", "x", "--keep-partial", "|cat"},
      {"--qmp", "x", "--no-sync", "|cat"},
      {"--qmp", "x", "--keep-partial", "--compress", "zstd", "/tmp"},
  };
  for (const auto& arguments : wrong) {
    const Completed done = gcore_dump(arguments);
    EXPECT_EQ(done.status, kUsage) << done.err;
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  }
}

TEST(GcoreDumpErrors, TellThatAnotherClientIsConnected) {
  BareMachine machine(kX86, kLoop, kShared);
  const TempDir out;
  const std::vector<std::string> arguments{"--pid-file", out.path("pid"), out.path()};
  Process watcher = watch(machine.socket(), arguments);
  const Completed done = gcore_dump(with({"--qmp", machine.socket()}, {arguments[0], arguments[1], arguments[2]}));
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("another client is connected"));
  EXPECT_EQ(read_file(out.path("pid")), std::to_string(watcher.pid()) + "\n");
}

}  // namespace
}  // namespace gcore::tests
