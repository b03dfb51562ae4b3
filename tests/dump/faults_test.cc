// What can go wrong around a dump of a QEMU guest. Whatever it is: one clear line, no file, and a guest that was
// running runs.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"
#include "tests/support/small_disk.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;
using testing::SizeIs;

/// The guest's RAM, of which the second 32 MiB are full of bytes that are no zeros.
void fill_ram(const std::string& path, int mib_in_all = 64) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::string piece(1 << 20, 'r');
  for (int mib = 32; mib < 64; ++mib)
    if (pwrite(fd, piece.data(), piece.size(), off_t{mib} << 20) != static_cast<ssize_t>(piece.size()))
      throw std::runtime_error("cannot fill " + path);
  if (ftruncate(fd, off_t{mib_in_all} << 20) != 0) throw std::runtime_error("cannot make " + path);
  close(fd);
}

/// A guest that runs, with RAM that takes its time when it is dumped slowly.
class Faults : public testing::Test {
 protected:
  Faults() : machine_(kX86, kLoop, kShared) {
    fill_ram(machine_.folder().path("ram"));
    machine_.start();
  }
  /// gcore-dump in the middle of a dump into out_, with the guest paused.
  Process begin_dump(std::vector<std::string> more = {}) {
    std::vector<std::string> argv{
        program("gcore-dump"), "--qmp", machine_.socket(), "--aside", "0", "--rate", "1M", out_.path()};
    argv.insert(argv.end(), more.begin(), more.end());
    Process dumper(argv);
    while (machine_.runs())
      if (dumper.wait(0ms)) throw std::runtime_error("it ended: " + dumper.err());
    return dumper;
  }
  static void expect_one_line(Process& dumper, const std::string& why) {
    EXPECT_EQ(dumper.wait(), kFailed);
    EXPECT_EQ(dumper.out(), "");
    EXPECT_THAT(dumper.err(), MatchesRegex("gcore-dump: dump .*" + why + ".*\n"));
    EXPECT_EQ(std::ranges::count(dumper.err(), '\n'), 1) << dumper.err();
  }

  BareMachine machine_;
  TempDir out_;
};

TEST_F(Faults, QemuKilledInMidDump) {
  auto dumper = begin_dump();
  machine_.process().signal(SIGKILL);
  expect_one_line(dumper, "QEMU ended while its guest was dumped");
  EXPECT_THAT(out_.entries(), IsEmpty());
}

/// Shuts the connection of another process to a UNIX socket.
void break_connection(pid_t process, const std::string& path) {
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
  bool found = false;
  for (int number = 3; number < 64 && !found; ++number) {
    const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, handle, number, 0));
    sockaddr_un peer{};
    socklen_t size = sizeof peer;
    if (copy >= 0 && getpeername(copy, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && path == peer.sun_path)
      found = shutdown(copy, SHUT_RDWR) == 0;
    close(copy);
  }
  close(handle);
  if (!found) throw std::runtime_error("there is no connection to " + path);
}

TEST_F(Faults, ConnectionClosedInMidDump) {
  auto dumper = begin_dump();
  break_connection(dumper.pid(), machine_.socket());
  expect_one_line(dumper, "QEMU closed the connection while its guest was dumped");
  EXPECT_THAT(out_.entries(), IsEmpty());
  EXPECT_TRUE(machine_.runs());  // over a new connection
}

TEST_F(Faults, ConnectionClosedWhileWatchingIsMadeAgain) {
  Process watcher = watch(machine_.socket(), {"--aside", "0", "--rate", "1M", "--reconnect", out_.path()});
  watcher.signal(SIGUSR2);
  while (machine_.runs()) ASSERT_FALSE(watcher.wait(0ms));
  break_connection(watcher.pid(), machine_.socket());
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err, "closed the connection while")) << watcher.err();
  EXPECT_TRUE(watcher.wait_for_line(Process::Stream::err, "watching")) << watcher.err();
  EXPECT_TRUE(machine_.runs());
  EXPECT_THAT(out_.entries(), IsEmpty());
}

TEST_F(Faults, DiskFull) {
  const SmallDisk disk("1m");
  const Completed done = gcore_dump({"--qmp", machine_.socket(), disk.directory().path()});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, MatchesRegex("gcore-dump: dump .*it needs [0-9]+ bytes, [0-9]+ are free.*\n"));
  EXPECT_THAT(disk.directory().entries(), IsEmpty());
  EXPECT_TRUE(machine_.runs());
}

/// What is free of a file system.
uint64_t free_blocks(const std::string& path) {
  struct statvfs disk{};
  if (statvfs(path.c_str(), &disk) != 0) throw std::runtime_error("cannot ask how full " + path + " is");
  return disk.f_bfree;
}

TEST_F(Faults, DiskThatFillsUpInMidDump) {
  const SmallDisk disk("40m");  // the guest has 32 MiB that are no zeros
  const uint64_t empty = free_blocks(disk.directory().path());
  Process dumper(
      {program("gcore-dump"), "--qmp", machine_.socket(), "--aside", "0", "--rate", "1M", disk.directory().path()});
  // The stopped guest alone does not tell: whether there is room is looked at after that. The file has no name yet.
  while (free_blocks(disk.directory().path()) == empty) ASSERT_FALSE(dumper.wait(0ms)) << dumper.err();
  const int fd = open(disk.directory().path("other").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::string piece(1 << 16, 'o');
  while (write(fd, piece.data(), piece.size()) > 0) {
  }
  close(fd);
  expect_one_line(dumper, "No space left on device");
  EXPECT_THAT(disk.directory().entries(), testing::ElementsAre("other"));
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Faults, CommandThatNeverReads) {
  Process dumper({program("gcore-dump"), "--qmp", machine_.socket(), "--aside", "0", "--deadline", "0.2",
                  "|sleep 1000 & sleep 1000"});
  expect_one_line(dumper, "paused for 200 ms, the pause deadline");  // and its group is gone: stderr has ended
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Faults, InterruptedOrHungUp) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    auto dumper = begin_dump();
    dumper.signal(number);
    expect_one_line(dumper, "the dump was cancelled");
    EXPECT_TRUE(machine_.runs());
  }
  EXPECT_THAT(out_.entries(), IsEmpty());
}

TEST_F(Faults, QemuThatHangsWhenTheGuestIsToGoOnIsWaitedFor) {
  auto dumper = begin_dump();
  machine_.process().signal(SIGSTOP);
  dumper.signal(SIGTERM);
  EXPECT_TRUE(dumper.wait_for_line(Process::Stream::err, "does not let the guest go on")) << dumper.err();
  machine_.process().signal(SIGCONT);
  EXPECT_EQ(dumper.wait(), kFailed);
  EXPECT_THAT(dumper.err(), HasSubstr("the dump was cancelled\n"));
  EXPECT_THAT(dumper.err(), Not(HasSubstr("still paused")));
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Faults, QemuThatHangsIsLeftByWhoIsToldToEndAgain) {
  auto dumper = begin_dump();
  machine_.process().signal(SIGSTOP);
  dumper.signal(SIGTERM);
  EXPECT_TRUE(dumper.wait_for_line(Process::Stream::err, "does not let the guest go on")) << dumper.err();
  dumper.signal(SIGTERM);
  EXPECT_EQ(dumper.wait(), kFailed);
  EXPECT_THAT(dumper.err(), HasSubstr("the guest is still paused: cont: told to end\n"));
  machine_.process().signal(SIGCONT);
}

TEST_F(Faults, KeepsWhatWasWrittenWhenAskedTo) {
  auto dumper = begin_dump({"--deadline", "0.5", "--keep-partial"});
  expect_one_line(dumper, "pause deadline.*; what was written until then is in .*\\.partial");
  ASSERT_THAT(out_.entries(), SizeIs(1));
  EXPECT_THAT(open_dump(out_.path(out_.entries()[0]))->cpus(), SizeIs(1));
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Faults, ManySignalsDuringADumpAreOneMoreDump) {
  const std::string go = out_.path("go");
  ASSERT_EQ(mkfifo(go.c_str(), 0600), 0);
  const auto release = [&] {
    const int fd = open(go.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(write(fd, "go\n", 3), 3);
    close(fd);
  };
  Process watcher = watch(machine_.socket(), {"|echo begun >&2; read go < " + go + "; exec cat > /dev/null"});
  watcher.signal(SIGUSR2);
  for (int dump = 0; dump < 2; ++dump) {
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::err, "^begun$")) << watcher.err();
    for (int i = 0; i < 10'000 && dump == 0; ++i) ASSERT_TRUE(watcher.signal(SIGUSR2));
    release();
    ASSERT_TRUE(watcher.wait_for_line(Process::Stream::out, "^\\|echo")) << watcher.err();
  }
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_EQ(std::ranges::count(watcher.out(), '\n'), 2) << watcher.out();
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Faults, SomebodyElseLetsTheGuestGoOn) {
  auto dumper = begin_dump({"--deadline", "0.5", "--keep-partial"});
  machine_.qmp().execute("cont");
  EXPECT_EQ(dumper.wait(), kFailed);
  EXPECT_THAT(dumper.err(), HasSubstr("somebody else let the guest go on while it was dumped"));
}

TEST(PrivateMemory, DiskTooSmallForTheCopy) {
  TempDir folder;
  const std::string ram = folder.path("ram");
  fill_ram(ram, 128);
  BareMachine machine(kX86, kLoop,
                      {"-machine", "q35,memory-backend=mem", "-m", "128M", "-object",
                       "memory-backend-file,id=mem,size=128M,mem-path=" + ram + ",share=off"});
  machine.start();
  const SmallDisk disk("1m");
  const Completed done = untraced_gcore_dump({"--qmp", machine.socket(), disk.directory().path()});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("to a temporary file in " + disk.directory().path() + ": No space left on device\n"));
  EXPECT_THAT(disk.directory().entries(), IsEmpty());
  EXPECT_TRUE(machine.runs());
}

/// gcore-dump and what it needs, where any user may run it.
class Unprivileged : public testing::Test {
 protected:
  Unprivileged() : machine_(kX86, kLoop, kShared) {
    std::filesystem::copy_file(program("gcore-dump"), bin_.path("gcore-dump"));
    for (const std::string& path : {bin_.path(), bin_.path("gcore-dump"), out_.path(), machine_.folder().path()})
      chmod(path.c_str(), 0777);
    machine_.start();
  }
  Completed dump() {
    return run({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bin_.path("gcore-dump"), "--qmp",
                machine_.socket(), out_.path()});
  }
  TempDir bin_, out_;
  BareMachine machine_;
};

TEST_F(Unprivileged, MayNotConnect) {
  chmod(machine_.socket().c_str(), 0600);
  const Completed done = dump();
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("permission denied: run as the user that runs QEMU, or as root\n"));
}

TEST_F(Unprivileged, MayNotReadTheBackingFileAndTakesTheSlowWay) {
  chmod(machine_.socket().c_str(), 0666);
  chmod(machine_.folder().path("ram").c_str(), 0600);
  const Completed done = dump();
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_THAT(done.err,
              MatchesRegex("gcore-dump: memory \"mem\" .* is copied through QEMU, which is slower: cannot open "
                           ".*/ram: Permission denied; run as QEMU's user, or as root, gcore-dump reads "
                           "it directly\n"));
  EXPECT_EQ(open_dump(line(done.out))->cpus().size(), 1u);
  EXPECT_TRUE(machine_.runs());
}

TEST_F(Unprivileged, NeedsNoProcForAFileThatItMayRead) {
  chmod(machine_.socket().c_str(), 0666);
  chmod(machine_.folder().path("ram").c_str(), 0644);
  const Completed done = dump();
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
}

// ---- memory that comes and goes ----

TEST(Layout, HotPluggedMemory) {
  BareMachine machine(kX86, kLoop,
                      {"-machine", "q35,memory-backend=mem", "-m", "64M,slots=4,maxmem=8G", "-object",
                       "memory-backend-file,id=mem,size=64M,mem-path=FOLDER/ram,share=on"});
  machine.start();
  const TempDir out;
  Process watcher = watch(machine.socket(), {"--dialect", "vmcore", out.path()});
  const auto next_dump = [&] {
    watcher.signal(SIGUSR2);
    return watcher.wait_for_line(Process::Stream::out, "gcore").value_or("");
  };
  EXPECT_EQ(CoreFile(next_dump()).coverage().rbegin()->second, uint64_t{4} << 30);  // where the firmware ends
  const std::string file = machine.folder().path("dimm");
  machine.qmp().execute("object-add", R"({"qom-type": "memory-backend-memfd", "id": "m1", "size": 134217728})");
  machine.qmp().execute("object-add",
                        R"({"qom-type": "memory-backend-file", "id": "m2", "size": 134217728, "share": true,
                                         "mem-path": )" +
                            Qmp::quote(file) + "}");
  for (const char* id : {"1", "2"})
    machine.qmp().execute("device_add",
                          std::string(R"({"driver": "pc-dimm", "id": "d)") + id + R"(", "memdev": "m)" + id + "\"}");
  const int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(pwrite(fd, "plugged", 7, 0x12345), 7);
  close(fd);
  const std::string path = next_dump();
  machine.qmp().execute("dump-guest-memory",
                        R"({"paging": false, "protocol": )" + Qmp::quote("file:" + out.path("oracle")) + "}");
  const CoreFile ours(path), theirs(out.path("oracle"));
  EXPECT_EQ(ours.coverage(), theirs.coverage());
  EXPECT_EQ(first_difference(theirs, ours), "");
  const uint64_t plugged = ours.coverage().rbegin()->second - (128 << 20);
  EXPECT_GE(plugged, uint64_t{4} << 30);
  EXPECT_EQ(ours.read(plugged + 0x12345, 7), "plugged");
}

TEST(Layout, OneBlockInPiecesAroundTheHoleBelowFourGiB) {
  BareMachine machine(kX86, kLoop,
                      {"-machine", "q35,memory-backend=mem", "-m", "6G", "-object",
                       "memory-backend-memfd,id=mem,size=6G,share=on", "-vga", "std"});
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", out.path()});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_THAT(done.err,
              Not(HasSubstr("copied through QEMU")));  // video memory is a device's: nothing to complain about
  const CoreFile ours(line(done.out));
  EXPECT_EQ(ours.read(0x7ffff000, 8192).size(), 4096u);       // 2 GiB below 4 GiB,
  EXPECT_EQ(ours.coverage().rbegin()->second, 0x200000000u);  // and 4 above, behind the firmware
  machine.qmp().execute("dump-guest-memory",
                        R"({"paging": false, "begin": 2146435072, "length": 2149580800, "protocol": )" +
                            Qmp::quote("file:" + out.path("oracle")) + "}");
  const CoreFile theirs(out.path("oracle"));
  EXPECT_EQ(first_difference(theirs, ours), "");
}

}  // namespace
}  // namespace gcore::tests
