// What is said about the guest system, its kernel's displacement, and what the vCPUs were doing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/inspect/sample.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// An x86_64 kernel that is linked to 0xffffffff81000000 and runs 0x1e000000 above; one large page of it is in memory.
constexpr uint64_t kPhysical = 0x200000, kIdle = 0x100;
constexpr uint64_t kRunning = 0xffffffff9f000000;

/// One vCPU in kernel mode, in front of whose pc these instructions are.
DumpBuilder kernel_dump(const std::string& code) {
  Bytes memory;
  memory.put(0x1000 + 511 * 8, 0x2003, 8).put(0x2000 + 510 * 8, 0x3003, 8).put(0x3000 + 248 * 8, kPhysical | 0x81, 8);
  memory.pad_to(kPhysical + kIdle).text(code).text("\xc3").pad_to(0x400000);
  const std::map<std::string, uint64_t> registers = {{"rip", kRunning + kIdle + code.size()},
                                                     {"cs", 0x10},
                                                     {"cr0", 0x80000001},
                                                     {"cr3", 0x1000},
                                                     {"cr4", 0x20},
                                                     {"rflags", 2},
                                                     {"rsp", kRunning}};
  DumpBuilder dump;
  dump.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, registers)) + elf_note("QEMU", 0, qemu_note(registers)) +
            elf_note("VMCOREINFO", 0, "OSRELEASE=6.1.0-test\nKERNELOFFSET=1e000000\n"));
  dump.memory(0, memory.str().substr(0, kPhysical)).memory(kPhysical, memory.str().substr(kPhysical));
  return dump;
}

const std::string kStiHlt = "\xfb\xf4";

/// Inspect, with the kernel's file.
struct KernelInspect : Inspect {
  KernelInspect() {
    const std::string source = folder().write("kernel.s", R"(.globl _text, do_idle
.text
_text: .skip 0x100
.type do_idle, @function
do_idle: sti
hlt
ret
.size do_idle, . - do_idle
)");
    const Completed built =
        run({"clang-19", "--target=x86_64-linux-gnu", "-nostdlib", "-static", "-fuse-ld=lld",
             "-Wl,--entry=_text,--image-base=0xffffffff80000000,--section-start=.text=0xffffffff81000000", source, "-o",
             folder().path("vmlinux")});
    if (built.status != ExitStatus{0, 0}) throw std::runtime_error(built.err);
  }
  Completed summary(std::vector<std::string> more) const {
    more.insert(more.begin(), {"--symbols", "vmlinux"});
    return with(kernel_dump(kStiHlt), more);
  }
};

TEST(Guest, IsInTheSummaryAndInJson) {
  const Inspect inspect;
  const Completed summary = inspect.with(kernel_dump(kStiHlt), {});
  EXPECT_EQ(summary.status, (ExitStatus{0, 0})) << summary.err;
  EXPECT_THAT(summary.out, AllOf(HasSubstr("guest     Linux 6.1.0-test\n"),
                                 HasSubstr("displaced by 0x1e000000 (KASLR), VMCOREINFO in a note\n"),
                                 HasSubstr("with notes as QEMU has them"), HasSubstr("kernel, CPL 0, halted")));
  const Completed json = inspect.with(kernel_dump(kStiHlt), {"--json"});
  EXPECT_THAT(json.out, AllOf(HasSubstr(R"("kind": "linux")"), HasSubstr(R"("release": "6.1.0-test")"),
                              HasSubstr(R"("kaslr_offset": "0x1e000000")"), HasSubstr(R"("vmcoreinfo_source": "note")"),
                              HasSubstr(R"("halted": true)")));
}

TEST(Guest, IsSaidToBeUnknown) {
  EXPECT_THAT(Inspect()({"sample.gcore"}).out, HasSubstr("guest     not recognized: neither a Linux kernel nor QNX"));
  EXPECT_THAT(Inspect()({"sample.gcore", "--json"}).out, HasSubstr(R"("kind": "unknown")"));
}

TEST(Guest, IsHaltedBehindAnInstructionThatWaits) {
  const Inspect inspect;
  const auto mode = [&](const std::string& code) { return inspect.with(kernel_dump(code), {}).out; };
  EXPECT_THAT(mode("\x90\xfa\xf4"), HasSubstr("CPL 0, halted"));        // CLI; HLT
  EXPECT_THAT(mode("\x0f\x01\xc9"), HasSubstr("CPL 0, halted"));        // MWAIT
  EXPECT_THAT(mode("\xb8\x01\x01\x01\xf4"), Not(HasSubstr("halted")));  // MOV EAX, 0xf4010101
  EXPECT_THAT(mode("\x90\x90\x90"), Not(HasSubstr("halted")));
}

TEST(KaslrOffset, IsThatOfTheDump) {
  const KernelInspect inspect;
  EXPECT_THAT(inspect.summary({}).out, HasSubstr("do_idle+0x2"));
  EXPECT_THAT(inspect.summary({"--kaslr-offset", "auto"}).out, HasSubstr("do_idle+0x2"));
  EXPECT_THAT(inspect.summary({"--kaslr-offset", "0x1e000000"}).out, HasSubstr("do_idle+0x2"));
  EXPECT_THAT(inspect.summary({"--kaslr-offset", "none"}).out, Not(HasSubstr("do_idle")));
  EXPECT_THAT(inspect.summary({"--kaslr-offset", "0x1000"}).out, Not(HasSubstr("do_idle")));
  EXPECT_THAT(inspect.summary({"--backtrace"}).out, HasSubstr("0xffffffff9f000102  do_idle"));
}

TEST(KaslrOffset, IsMissedWhereTheGuestIsNotThatKernel) {
  const KernelInspect inspect;
  const Completed done = inspect({"sample.gcore", "--symbols", "vmlinux"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_THAT(done.err, HasSubstr("no Linux kernel was found in the guest; --kaslr-offset says it"));
}

TEST(KaslrOffset, WrongUses) {
  const Inspect inspect;
  const Completed alone = inspect({"sample.gcore", "--kaslr-offset", "1"});
  EXPECT_EQ(alone.status, (ExitStatus{2, 0}));
  EXPECT_THAT(alone.err, HasSubstr("--kaslr-offset needs --symbols"));
  const Completed word = inspect({"sample.gcore", "--symbols", "x", "--kaslr-offset", "some"});
  EXPECT_EQ(word.status, (ExitStatus{2, 0}));
  EXPECT_THAT(word.err, HasSubstr("'some' is neither a number, auto nor none"));
}

}  // namespace
}  // namespace gcore::tests
