// What can be wrong with KVM and with what is to run on it: one line each, and nothing hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

constexpr auto kErr = Process::Stream::err;

class KvmBadInput : public testing::Test {
 protected:
  std::string guest(const std::string& more = "") {
    return dir_.write("vm.conf", "system bad\nengine kvm\nram 16M\nload " + build_dir() +
                                     "/tests/kvm/registers-x86_64.elf\ndump " + dir_.path() + "\n" + more);
  }
  /// gcore-vmm where /dev has only what `prepare` puts there.
  Completed with_dev(const std::string& prepare) {
    return run({"unshare", geteuid() == 0 ? "-m" : "-rm", "sh", "-c",
                "mount -t tmpfs none /dev && " + prepare + " && exec setpriv --bounding-set -all \"$@\"", "sh",
                program("gcore-vmm"), guest()});
  }
  static void expect_line(const Completed& done, const std::string& line) {
    EXPECT_EQ(done.err, line + "\n");
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_EQ(done.out, "");
  }

  TempDir dir_;
};

TEST_F(KvmBadInput, NoKvm) {
  expect_line(with_dev("true"),
              "gcore-vmm: starting the VM: KVM: /dev/kvm: No such file or directory (this machine has no KVM, or its "
              "module is not loaded)");
}

TEST_F(KvmBadInput, NoPermission) {
  expect_line(with_dev("touch /dev/kvm && chmod 0 /dev/kvm"),
              "gcore-vmm: starting the VM: KVM: /dev/kvm: Permission denied (who may use it is in the group kvm)");
}

TEST_F(KvmBadInput, SomethingElseInItsPlace) {
  expect_line(with_dev("touch /dev/kvm"), "gcore-vmm: starting the VM: KVM: /dev/kvm: not a KVM of version 12");
}

// With a /dev/kvm that agrees to everything, so that the files are what is looked at.
TEST_F(KvmBadInput, KernelsAndInitrds) {
  const std::string text = dir_.write("text", std::string(100000, 'x')), empty = dir_.write("empty", "");
  const struct {
    std::string config, line;
  } cases[] = {
      {"kernel /nowhere/vmlinuz", "the kernel /nowhere/vmlinuz: No such file or directory"},
      {"kernel " + dir_.path(), "the kernel " + dir_.path() + ": not a regular file, or empty"},
      {"kernel " + empty, "the kernel " + empty + ": not a regular file, or empty"},
      {"kernel " + text, "the kernel: not a bzImage (an x86 Linux kernel as /boot has it)"},
      {"kernel " + text + "\ninitrd /nowhere/initrd", "the initrd /nowhere/initrd: No such file or directory"},
      {"kernel " + guests_dir() + "/linux-x86_64/vmlinuz\nram 24M", "more than the RAM of 24.0 MiB"},
      {"kernel " + guests_dir() + "/linux-x86_64/vmlinuz\nram 128M\ninitrd " +
           dir_.write("large", std::string(120 << 20, 'i')),
       "the initrd: 120.0 MiB do not fit into the "},
  };
  for (const auto& each : cases) {
    const Completed done = run(
        {"env", "LD_PRELOAD=" GCORE_NEVER_LEAVES, program("gcore-vmm"), dir_.write("kernel.conf", each.config + "\n")});
    EXPECT_EQ(done.status, (ExitStatus{1, 0})) << each.config;
    EXPECT_THAT(done.err, HasSubstr("gcore-vmm: starting the VM: ")) << each.config;
    EXPECT_THAT(done.err, HasSubstr(each.line)) << each.config;
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
  }
}

TEST_F(KvmBadInput, AVcpuThatNeverLeavesTheGuest) {
  Process vmm({"env", "LD_PRELOAD=" GCORE_NEVER_LEAVES, program("gcore-vmm"), guest("cpu\ncpu\n"), "--pid-file",
               dir_.path("pid")});
  for (int i = 0; i < 3000 && !std::filesystem::exists(dir_.path("pid")); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  vmm.signal(SIGUSR1);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "status: bad: running, 2 vCPUs")) << vmm.err();
  vmm.signal(SIGUSR2);
  ASSERT_TRUE(vmm.wait_for_line(kErr, "dump failed: .*vCPU 0 does not leave the guest", 60s)) << vmm.err();
  // It says so again when it is told to end, and ends.
  vmm.signal(SIGTERM);
  EXPECT_EQ(vmm.wait(60s), (ExitStatus{1, 0})) << vmm.err();
  EXPECT_THAT(vmm.err(), HasSubstr("gcore-vmm: ending the VM: vCPU 0 does not leave the guest (10 seconds after it was "
                                   "told to)\n"));
  for (const std::string& name : dir_.entries()) EXPECT_EQ(name.find(".gcore"), std::string::npos) << name;
}

}  // namespace
}  // namespace gcore::tests
