// Debian's kernel in QEMU, watched: its watchdogs, its panic, and what it does to its memory between dumps.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "reader/dump/dump.h"
#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"
#include "tests/support/qemu_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
constexpr auto kOut = Process::Stream::out;
constexpr auto kErr = Process::Stream::err;

/// The dump that gcore-dump takes of a running guest, and QEMU's own, taken in the same pause: gcore-dump's command
/// waits until QEMU is done.
void expect_equal_in_one_pause(QemuGuest& guest, const TempDir& folder) {
  const std::string go = folder.path("go"), ours = folder.path("ours"), theirs = folder.path("theirs");
  ASSERT_EQ(mkfifo(go.c_str(), 0600), 0);
  Process dumper({program("gcore-dump"), "--qmp", guest.qmp_socket(), "--dialect", "vmcore",
                  "|echo begun >&2; read go < " + go + "; exec cat > " + ours});
  ASSERT_TRUE(dumper.wait_for_line(kErr, "^begun$")) << dumper.err();
  guest.qmp().wait_event("STOP");
  guest.dump_guest_memory(theirs);
  const int fd = open(go.c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(write(fd, "go\n", 3), 3);
  close(fd);
  EXPECT_EQ(dumper.wait(120s), kDone) << dumper.err();
  guest.qmp().wait_event("RESUME");
  expect_same(ours, theirs);
  for (const std::string& path : {go, ours, theirs}) unlink(path.c_str());
}

TEST(LinuxWatch, SignalWatchdogsAndPanicGiveOneDumpEachAndAStateAsConfigured) {
  QemuGuest guest({.cpus = 2,
                   .memory_mib = 512,
                   .name = "watched",
                   .append = "",
                   .arguments = {"-device", "ib700", "-device", "i6300esb", "-device", "pvpanic-pci", "-action",
                                 "watchdog=pause,panic=pause"}});
  guest.wait_until_booted();
  guest.command(
      "cd /modules; for m in pvpanic pvpanic-pci qemu_fw_cfg watchdog; do /bin/busybox insmod $m.ko; done; "
      "/bin/busybox insmod ib700wdt.ko timeout=2; /bin/busybox insmod i6300esb.ko heartbeat=2; echo drivers-$((6*7))");
  ASSERT_TRUE(guest.process().wait_for_line(kOut, "drivers-42", 60s)) << guest.console();

  // 120 MiB of memory written again and again, by one vCPU while the other is busy elsewhere.
  guest.command(
      "PATH=/bin; busybox dd if=/dev/urandom of=/piece bs=1M count=8; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; "
      "do busybox cat /piece; done > /source; (n=1; while :; do busybox dd if=/source of=/load iflag=skip_bytes "
      "skip=$((n%2000*4096)) bs=1M count=120 conv=notrunc; echo load-$n; n=$((n+1)); done) 2>/dev/null &");
  ASSERT_TRUE(guest.process().wait_for_line(kOut, "load-1\\b", 120s)) << guest.console();
  const TempDir folder, out;
  for (int round = 0; round < 2; ++round) {
    expect_equal_in_one_pause(guest, folder);
    ASSERT_TRUE(guest.process().wait_for_line(kOut, "load-", 120s)) << "it goes on";
  }

  Process watcher = watch(guest.qmp_socket(), {out.path()});
  const auto expect_one_dump = [&](const std::string& reason, const std::string& state, int signal = 6) {
    const auto path = watcher.wait_for_line(kOut, "gcore", 60s);
    ASSERT_TRUE(path) << watcher.err() << guest.console();
    const auto dump = open_dump(*path);
    EXPECT_EQ(dump->cpus().size(), 2u);
    EXPECT_THAT(dump->info_json(), HasSubstr(reason));
    EXPECT_EQ(dump->signal(), signal);
    EXPECT_THAT(guest.qmp().execute("query-status"), HasSubstr("\"" + state + "\""));
    unlink(path->c_str());
  };
  watcher.signal(SIGUSR2);
  expect_one_dump("SIGUSR2", "running", 0);
  ASSERT_TRUE(guest.process().wait_for_line(kOut, "load-", 120s)) << "it goes on";
  for (const char* device : {"/dev/watchdog", "/dev/watchdog1"}) {  // ib700, i6300esb
    guest.command(std::string("echo x > ") + device);               // opens it, and kicks it never again
    expect_one_dump("WATCHDOG (action pause)", "watchdog");
    guest.resume();
    ASSERT_TRUE(guest.process().wait_for_line(kOut, "load-", 120s)) << "it goes on";
  }
  guest.command("echo c > /proc/sysrq-trigger");
  expect_one_dump("GUEST_PANICKED (action pause)", "guest-panicked");
  watcher.signal(SIGTERM);
  EXPECT_EQ(watcher.wait(), kDone);
  EXPECT_EQ(std::ranges::count(watcher.out(), '\n'), 4) << watcher.out();
  EXPECT_THAT(out.entries(), SizeIs(0));
}

}  // namespace
}  // namespace gcore::tests
