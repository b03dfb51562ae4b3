// gcore-dump --live of Debian's kernel, byte by byte beside QEMU's own dump.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"
#include "tests/support/qemu_guest.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

/// Every vCPU stands in HLT with its interrupts off: QEMU runs the guest, and not a byte of it changes any more.
bool stands_still(QemuGuest& guest, unsigned cpus) {
  const std::string registers =
      guest.qmp().execute("human-monitor-command", R"({"command-line": "info registers -a"})");
  unsigned halted = 0;
  for (size_t at = registers.find("RFL="); at != std::string::npos; at = registers.find("RFL=", at + 1)) {
    constexpr uint64_t kInterrupts = 1 << 9;
    const bool off = (std::stoull(registers.substr(at + 4, 8), nullptr, 16) & kInterrupts) == 0;
    const size_t halt = registers.find("HLT=", at);
    if (off && halt != std::string::npos && registers[halt + 4] == '1') ++halted;
  }
  return halted == cpus;
}

// There is no pause in which both could be taken: QEMU's snapshot has one of its own. So the guest is one that runs and
// stands still. (That the dump of a guest that is busy is of one moment: Live.MemoryAndRegistersAreOfOneMoment.)
TEST(LinuxLive, HasEveryByteOfQemusOwnDumpOfTheSameMoment) {
  for (const std::string memory : {"memory-backend-ram,share=off", "memory-backend-memfd,share=on"}) {
    QemuGuest guest({.cpus = 2,
                     .memory_mib = 256,
                     .arguments = {"-machine", "memory-backend=live", "-object", memory + ",id=live,size=256M"}});
    guest.wait_until_booted();
    guest.command(
        "PATH=/bin; busybox insmod /modules/qemu_fw_cfg.ko; busybox dd if=/dev/urandom of=/random bs=1M count=8; "
        "for i in 1 2 3 4 5 6 7 8; do busybox cat /random; done > /dense; busybox halt -f");
    ASSERT_TRUE(guest.process().wait_for_line(Process::Stream::out, "System halted", 120s)) << guest.console();
    while (!stands_still(guest, 2)) ASSERT_FALSE(guest.process().wait(0ms));
    const TempDir folder;
    const Completed live = gcore_dump({"--qmp", guest.qmp_socket(), "--live", "--dialect", "vmcore", folder.path()});
    ASSERT_EQ(live.status, kDone) << live.err;
    EXPECT_EQ(open_dump(line(live.out))->info().consistency, "snapshot");
    guest.dump_guest_memory(folder.path("theirs"));
    expect_same(line(live.out), folder.path("theirs"));
  }
}

}  // namespace
}  // namespace gcore::tests
