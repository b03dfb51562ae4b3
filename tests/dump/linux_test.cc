// Debian's kernel in QEMU, stopped: gcore-dump's dump against QEMU's own, byte by byte, and before the tools that
// people use.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "reader/dump/dump.h"
#include "tests/dump/dump_files.h"
#include "tests/support/dump_builder.h"
#include "tests/support/paths.h"
#include "tests/support/qemu_guest.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

std::string dumped(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program("gcore-dump"));
  const Completed done = run(std::move(arguments));
  if (done.status != ExitStatus{0, 0}) throw std::runtime_error(done.err);
  for (const char* trouble : {"copied through QEMU", "no VMCOREINFO", "left out"})
    if (done.err.find(trouble) != std::string::npos) throw std::runtime_error(done.err);
  return done.out.substr(0, done.out.find('\n'));
}

std::string value_in(const std::string& text, const std::string& name) {
  RegexMatch found;
  return regex_search(text, found, Regex("\\b" + name + " *=([0-9a-f]+)")) ? found[1] : "";
}

/// drgn and makedumpfile open a dump only with VMCOREINFO in it. The banner is read by its physical address: this
/// version of drgn translates no virtual ones in dumps that QEMU's notes describe.
void expect_tools_open(const std::string& path) {
  const TempDir folder;
  const std::string script = folder.write("banner.py", R"(import re
for address in range(16 << 20, 64 << 20, 1 << 20):
    found = re.search(rb"Linux version [^ ]*", prog.read(address, (1 << 20) + 256, True))
    if found:
        print(found[0].decode())
        break
)");
  const Completed drgn = run({"drgn", "-q", "--no-default-symbols", "-c", path, script});
  EXPECT_THAT(drgn.out, HasSubstr("Linux version 6")) << drgn.err;
  const Completed dmesg = run({"makedumpfile", "--dump-dmesg", path, folder.path("dmesg")});
  EXPECT_EQ(dmesg.status, (ExitStatus{0, 0})) << dmesg.out << dmesg.err;
  EXPECT_THAT(read_file(folder.path("dmesg")), HasSubstr("Linux version"));
  const Completed gdb = run({"gdb", "-batch", "-nx", "-ex", "info threads", "-ex", "p/x $rip", "-c", path});
  EXPECT_THAT(gdb.out, HasSubstr("LWP 2"));
  EXPECT_THAT(gdb.out, HasSubstr("$1 = 0x"));
}

class LinuxDump : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    guest_ = new QemuGuest({.cpus = 2, .memory_mib = 1024, .name = "linux", .append = "nokaslr", .arguments = {}});
    guest_->wait_until_booted();
  }
  static void TearDownTestSuite() { delete guest_; }
  static QemuGuest* guest_;
  TempDir folder_;
};
QemuGuest* LinuxDump::guest_ = nullptr;

TEST_F(LinuxDump, IsWhatQemusOwnDumpIs) {
  guest_->stop();
  const std::string ours_path = dumped({"--qmp", guest_->qmp_socket(), "--dialect", "vmcore", folder_.path()});
  const std::string theirs_path = folder_.path("oracle");
  guest_->dump_guest_memory(theirs_path);
  const CoreFile ours(ours_path), theirs(theirs_path);
  EXPECT_EQ(ours.coverage(), theirs.coverage());
  EXPECT_EQ(first_difference(theirs, ours), "");
  ASSERT_EQ(theirs.notes().size(), 4u);  // two vCPUs
  ASSERT_EQ(ours.notes().size(), theirs.notes().size() + 1);
  for (size_t i = 0; i < theirs.notes().size(); ++i) {
    const CoreFile::Note &one = ours.notes()[i], &other = theirs.notes()[i];
    EXPECT_EQ(one.name, other.name);
    EXPECT_EQ(one.type, other.type);
    EXPECT_EQ(one.bytes, other.bytes) << "note " << i;
  }
  EXPECT_EQ(ours.notes().back().name, "VMCOREINFO");  // QEMU has it only from a guest with the qemu_fw_cfg module
  EXPECT_THAT(ours.notes().back().bytes, HasSubstr("OSRELEASE="));
  expect_tools_open(ours_path);
  guest_->resume();
}

// The guest's kernel does not touch the first pages of memory: there is room for what a kernel before it may have left.
TEST_F(LinuxDump, HasTheVmcoreinfoOfTheKernelThatRuns) {
  const std::string stale =
      elf_note("VMCOREINFO", 0,
               "OSRELEASE=stale\nSYMBOL(_stext)=ffffffff93000000\nNUMBER(phys_base)=301989888\nPAGESIZE=4096\n");
  const int fd = open(guest_->memory_file().c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(pwrite(fd, stale.data(), stale.size(), 0x2000), static_cast<ssize_t>(stale.size()));
  const auto dump = reader::Dump::open(dumped({"--qmp", guest_->qmp_socket(), "--dialect", "vmcore", folder_.path()}));
  EXPECT_EQ(pwrite(fd, std::string(stale.size(), '\0').data(), stale.size(), 0x2000),
            static_cast<ssize_t>(stale.size()));
  close(fd);
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_THAT((*dump)->vmcoreinfo(), testing::StartsWith("OSRELEASE=6."));
}

TEST_F(LinuxDump, HasTheRegistersThatQemuShows) {
  guest_->stop();
  const std::string path = dumped({"--qmp", guest_->qmp_socket(), folder_.path()});
  const auto dump = reader::Dump::open(path);
  ASSERT_TRUE(dump) << dump.error().text;
  ASSERT_EQ((*dump)->cpus().size(), 2u);
  for (int cpu = 0; cpu < 2; ++cpu) {
    const std::string shown = guest_->qmp().human("info registers", cpu);
    const format::RegisterFile& registers = (*dump)->cpus()[static_cast<size_t>(cpu)].registers;
    for (const auto& [name, theirs] : {std::pair{"rax", "RAX"},
                                       {"rip", "RIP"},
                                       {"rsp", "RSP"},
                                       {"r15", "R15"},
                                       {"cr0", "CR0"},
                                       {"cr2", "CR2"},
                                       {"cr3", "CR3"},
                                       {"cr4", "CR4"},
                                       {"efer", "EFER"},
                                       {"dr6", "DR6"},
                                       {"dr7", "DR7"},
                                       {"rflags", "RFL"},
                                       {"mxcsr", "MXCSR"},
                                       {"fctrl", "FCW"},
                                       {"cs", "CS"},
                                       {"tr", "TR"}})
      EXPECT_EQ(registers.get(name), std::stoull("0x" + value_in(shown, theirs), nullptr, 16)) << name << " of " << cpu;
    for (const char* name : {"cr8", "kernel_gs_base", "xmm15.hi", "st7.lo", "ftag", "gdt_base", "idt_limit"})
      EXPECT_TRUE(registers.get(name)) << name;
  }
  guest_->resume();
}

// Saved as an ordinary migration does it; the guest is stopped, so that both are of the same moment.
TEST_F(LinuxDump, SavedGuestSaysTheSame) {
  guest_->stop();
  const std::string stream = folder_.path("stream");
  const std::string dump = dumped({"--qmp", guest_->qmp_socket(), folder_.path()});
  save_guest(guest_->qmp(), stream);
  for (const char* mode : {"--tasks", "--dmesg", "--backtrace"}) {
    const Completed ours = run({program("gcore-inspect"), dump, mode}),
                    theirs = run({program("gcore-inspect"), stream, mode});
    EXPECT_EQ(theirs.status, (ExitStatus{0, 0})) << mode << theirs.err;
    EXPECT_EQ(theirs.out, ours.out) << mode;
    EXPECT_GT(ours.out.size(), 500u) << mode;
  }
  const Completed summary = run({program("gcore-inspect"), stream});
  EXPECT_THAT(summary.out + summary.err, HasSubstr("page tables of its vCPUs confirm it"));
  guest_->resume();
}

}  // namespace
}  // namespace gcore::tests
