// Which memory of a QEMU guest gcore-dump takes, how it gets at it, and what it finds there.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"
#include "tests/support/dump_builder.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr char kNoVmcoreinfo[] = "the dump has no VMCOREINFO";

/// gcore-dump's file of a machine, and QEMU's own, must be of the same memory.
void expect_as_qemu(BareMachine& machine, const std::string& ours_path) {
  const std::string path = machine.folder().path("oracle");
  machine.qmp().execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + path) + "}");
  const CoreFile ours(ours_path), theirs(path);
  EXPECT_EQ(ours.coverage(), theirs.coverage());
  EXPECT_EQ(first_difference(theirs, ours), "");
}

const std::vector<std::string> kNvdimm{"-machine", "nvdimm=on",
                                       "-object",  "memory-backend-file,id=nv,size=16M,mem-path=FOLDER/nv,share=on",
                                       "-device",  "nvdimm,memdev=nv,id=nv0"};

std::vector<std::string> virtio_mem(const std::string& backend) {
  return {"-machine", "q35,memory-backend=mem",
          "-m",       "64M,slots=4,maxmem=2G",
          "-object",  "memory-backend-memfd,id=mem,size=64M,share=on",
          "-object",  backend + ",id=vmem,size=64M",
          "-device",  "virtio-mem-pci,memdev=vmem,id=vm0,requested-size=16M"};
}

TEST(DumpedMemory, OfPrivateVirtioMemIsWhatQemuTakes) {
  // Beside the firmware, with which it is copied, and behind an NVDIMM, by itself.
  for (const auto& more : {std::vector<std::string>(), kNvdimm}) {
    auto arguments = virtio_mem("memory-backend-ram");
    arguments.insert(arguments.begin(), more.begin(), more.end());
    BareMachine machine(kX86, kLoop, arguments);
    const TempDir out;
    const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
    EXPECT_EQ(done.status, kDone);
    EXPECT_THAT(done.err, HasSubstr("left out, as QEMU's dump-guest-memory does: 64.0 MiB of the "));
    expect_as_qemu(machine, line(done.out));
  }
}

TEST(DumpedMemory, OfSharedVirtioMemHasTheRestAsZeros) {
  BareMachine machine(kX86, kLoop, virtio_mem("memory-backend-memfd,share=on"));
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, HasSubstr("memory \"vmem\" of a virtio-mem device is in the dump with all of its 64.0 MiB: of "
                                  "these the guest uses 0 B, and the rest is zeros\n"));
}

TEST(DumpedMemory, HasNvdimms) {
  std::vector<std::string> arguments{"-machine", "q35,memory-backend=mem",
                                     "-m",       "64M,slots=4,maxmem=2G",
                                     "-object",  "memory-backend-memfd,id=mem,size=64M,share=on"};
  arguments.insert(arguments.end(), kNvdimm.begin(), kNvdimm.end());
  BareMachine machine(kX86, kLoop, arguments);
  const int fd = open(machine.folder().path("nv").c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(pwrite(fd, "persistent", 10, 0x12345), 10);
  close(fd);
  const TempDir out;
  const Completed done = gcore_dump({"--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
  EXPECT_EQ(CoreFile(line(done.out)).read((uint64_t{4} << 30) + 0x12345, 10), "persistent");
  expect_as_qemu(machine, line(done.out));
}

// ---- QEMU and gcore-dump in different PID namespaces ----

const std::vector<std::string> kMemfd{
    "-machine", "q35,memory-backend=mem", "-m", "64M", "-object", "memory-backend-memfd,id=mem,size=64M,share=on"};

TEST(DumpedMemory, OfAQemuInAContainerIsReadDirectly) {
  const TempDir folder;
  const std::string qemu =
      folder.write("qemu", "#!/bin/sh\nexec unshare --pid --fork --kill-child " + std::string(kX86) + " \"$@\"\n");
  chmod(qemu.c_str(), 0755);
  BareMachine machine(qemu, kLoop, kMemfd);
  const Completed done = gcore_dump({"--qmp", machine.socket(), folder.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
}

TEST(DumpedMemory, OfAQemuOutsideTheContainerIsCopiedAndTheRemedyNamed) {
  BareMachine machine(kX86, kLoop, kMemfd);
  const TempDir out;
  const Completed done =
      run({"unshare", "--pid", "--fork", "--mount-proc", program("gcore-dump"), "--qmp", machine.socket(), out.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, MatchesRegex("gcore-dump: memory \"mem\" .*QEMU's process is not to be seen from here; run in "
                                     "QEMU's PID namespace, or in that of the host, gcore-dump reads it directly\n"));
}

// ---- VMCOREINFO ----

/// A machine that is not started has no paging, and QEMU "translates" with the 52 bits that an address can have.
constexpr char kStart[] = "ffffffff81000000", kIdentity[] = "4503597479886848";  // 0xfffff80000000

std::string vmcoreinfo(const std::string& release, const std::string& phys_base) {
  return "OSRELEASE=" + release + "\nSYMBOL(_stext)=" + kStart + "\nNUMBER(phys_base)=" + phys_base + "\n";
}

std::vector<std::string> loaded(std::vector<std::string> arguments, const TempDir& folder, const std::string& text,
                                const std::string& address) {
  const std::string file = folder.write("note-" + address, elf_note("VMCOREINFO", 0, text));
  return with(std::move(arguments), {"-device", "loader,file=" + file + ",addr=" + address + ",force-raw=on"});
}

TEST(DumpedVmcoreinfo, IsFoundInPrivateMemory) {
  const TempDir folder;
  BareMachine machine(kX86, kLoop, loaded({"-m", "64M"}, folder, vmcoreinfo("6.1", "0"), "0x1234000"));
  const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", folder.path()});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, Not(HasSubstr(kNoVmcoreinfo)));
  EXPECT_EQ(open_dump(line(done.out))->vmcoreinfo(), vmcoreinfo("6.1", "0"));
}

TEST(DumpedVmcoreinfo, IsThatOfTheKernelThatRuns) {
  const TempDir folder;
  for (const auto& memory : {std::vector<std::string>{"-m", "64M"}, kMemfd}) {
    auto arguments = loaded(memory, folder, vmcoreinfo("stale", "0"), "0x5000");
    arguments = loaded(arguments, folder, vmcoreinfo("running", kIdentity), "0x1234000");
    arguments = loaded(arguments, folder, vmcoreinfo("crash-kernel", "4096"), "0x2345000");
    BareMachine machine(kX86, kLoop, arguments);
    const Completed done = gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", folder.path()});
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_EQ(open_dump(line(done.out))->vmcoreinfo(), vmcoreinfo("running", kIdentity));
  }
}

TEST(DumpedVmcoreinfo, IsMissedAloud) {
  BareMachine machine(kX86, kLoop, kMemfd);
  const TempDir out;
  EXPECT_THAT(gcore_dump({"--qmp", machine.socket(), "--dialect", "vmcore", out.path()}).err, HasSubstr(kNoVmcoreinfo));
  EXPECT_EQ(gcore_dump({"--qmp", machine.socket(), out.path()}).err, "");  // a qnx dump has no place for one
}

}  // namespace
}  // namespace gcore::tests
