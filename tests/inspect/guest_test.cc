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

// Where it has its build ID, behind the head of a note.
constexpr uint64_t kBuildIdNote = 0x800;
const std::string kBuildId = "\x01\x23\x45\x67\x89\xab\xcd\xef";

/// One vCPU in kernel mode, with these instructions before its pc.
DumpBuilder kernel_dump(const std::string& code, const std::string& build_id = kBuildId,
                        const std::string& vmcoreinfo = "") {
  Bytes memory;
  memory.put(0x1000 + 511 * 8, 0x2003, 8).put(0x2000 + 510 * 8, 0x3003, 8).put(0x3000 + 248 * 8, kPhysical | 0x81, 8);
  memory.pad_to(kPhysical + kIdle).text(code).text("\xc3");
  memory.pad_to(kPhysical + kBuildIdNote + 16).text(build_id).pad_to(0x400000);
  const std::map<std::string, uint64_t> registers = {{"rip", kRunning + kIdle + code.size()},
                                                     {"cs", 0x10},
                                                     {"cr0", 0x80000001},
                                                     {"cr3", 0x1000},
                                                     {"cr4", 0x20},
                                                     {"rflags", 2},
                                                     {"rsp", kRunning}};
  DumpBuilder dump;
  dump.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, registers)) + elf_note("QEMU", 0, qemu_note(registers)) +
            elf_note("VMCOREINFO", 0, "OSRELEASE=6.1.0-test\nKERNELOFFSET=1e000000\n" + vmcoreinfo));
  dump.memory(0, memory.str().substr(0, kPhysical)).memory(kPhysical, memory.str().substr(kPhysical));
  return dump;
}

const std::string kStiHlt = "\xfb\xf4";

/// Inspect, with the kernel's file.
struct KernelInspect : Inspect {
  explicit KernelInspect(const std::string& text = "0xffffffff81000000",
                         const std::string& note = "0xffffffff81000800") {
    const std::string source = folder().write("kernel.s", R"(.globl _text, _stext, do_idle
.text
_text:
_stext: .skip 0x100
.type do_idle, @function
do_idle: sti
hlt
ret
.size do_idle, . - do_idle
)");
    const Completed built = run({"clang-19", "--target=x86_64-linux-gnu", "-nostdlib", "-static", "-fuse-ld=lld",
                                 "-Wl,--entry=_text,--image-base=0xffffffff80000000,--build-id=0x0123456789abcdef",
                                 "-Wl,--section-start=.text=" + text + ",--section-start=.note.gnu.build-id=" + note,
                                 source, "-o", folder().path("vmlinux")});
    if (built.status != ExitStatus{0, 0}) throw std::runtime_error(built.err);
  }
  Completed summary(std::vector<std::string> more, const DumpBuilder& dump = kernel_dump(kStiHlt)) const {
    more.insert(more.begin(), {"--symbols", "vmlinux"});
    return with(dump, more);
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

/// aarch64 without system registers and without VMCOREINFO: 80 MiB at 0x40000000, in the last 16 of which, where a
/// quick search does not look, tables at 0x44601000 map all of it from 0xffff000000000000 on, and a kernel's image from
/// 0xffff800008000000 on. The vCPU is behind `instruction`, the first one of that.
DumpBuilder rootless_dump(uint32_t instruction) {
  constexpr uint64_t kBase = 0x40000000, kRam = kBase + (64 << 20), kText = 0x781 | uint64_t{1} << 54,
                     kNever = uint64_t{3} << 53, kMiB = 1 << 20;
  Bytes memory;
  memory.put(0x2000, kBase | 0x701 | kNever, 8).put(0x3000, (kRam + 0x4000) | 3, 8);
  memory.put(0x4000 + 64 * 8, (kRam + 2 * kMiB) | kText, 8).put(0x4000 + 65 * 8, (kRam + 4 * kMiB) | kText, 8);
  memory.put(0x4000 + 66 * 8, (kRam + 6 * kMiB) | 0x781 | kNever, 8);
  memory.pad_to(2 * kMiB).u32(instruction).pad_to(7 * kMiB);
  memory.text("Linux version 6.1.0-test (gcc) #1 SMP\n").text(std::string(1, '\0')).pad_to(16 * kMiB);
  constexpr uint64_t kRoot = 6 * kMiB + 0x1000;  // in the image, as swapper_pg_dir
  memory.put(kRoot, (kRam + 0x2000) | 3, 8).put(kRoot + 256 * 8, (kRam + 0x3000) | 3, 8);
  DumpBuilder dump;
  dump.machine = kEmAarch64;
  const std::map<std::string, uint64_t> registers = {
      {"pc", 0xffff800008000004}, {"elr", 0xffff800008000004}, {"pstate", 5}};
  dump.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, registers)))
      .hole(kBase, kRam - kBase)
      .memory(kRam, memory.str());
  return dump;
}
constexpr uint32_t kWfi = 0xd503207f, kWfe = 0xd503205f;

// A search of all of memory finds the root: each mode says the same of what it found, and the others how to have it.
TEST(Guest, WithoutARootIsLookedForInAllOfMemory) {
  const Inspect inspect;
  const DumpBuilder dump = rootless_dump(kWfi);
  const Completed summary = inspect.with(dump, {});
  EXPECT_THAT(summary.out,
              AllOf(HasSubstr("guest     not recognized"),
                    HasSubstr("1 vCPU without a known root table: --map, --translate, --read and --json")));
  EXPECT_THAT(inspect.with(dump, {"--map"}).out, HasSubstr("TTBR1 0x44601000"));
  EXPECT_THAT(
      inspect.with(dump, {"--json"}).out,
      AllOf(HasSubstr(R"("kind": "linux")"), HasSubstr(R"("release": "6.1.0-test")"), HasSubstr("TTBR1 0x44601000"),
            HasSubstr(R"("halted": true)"), HasSubstr(R"("waiting_for_event": false)")));
  EXPECT_THAT(inspect.with(dump, {"--backtrace"}).out, HasSubstr("vCPU 0: kernel, EL1, halted\n"));
  EXPECT_THAT(inspect.with(dump, {"--registers"}).out, HasSubstr("vCPU 0: kernel, EL1, halted; aarch64, "));
  const Completed read = inspect.with(dump, {"--read", "0xffff800008000000:4", "--raw"});
  EXPECT_EQ(read.out, "\x7f\x20\x03\xd5");
  EXPECT_THAT(read.err,
              testing::MatchesRegex("gcore-inspect: vCPU 0: aarch64, .* from guest memory, where these tables map "
                                    "a Linux kernel\n"));
}

TEST(Root, OfAarch64SaysWhichHalf) {
  const Inspect inspect;
  const DumpBuilder dump = rootless_dump(kWfi);
  const Completed read = inspect.with(dump, {"--read", "0xffff800008000000:4", "--raw", "--root", "ttbr1=0x44601000"});
  EXPECT_EQ(read.out, "\x7f\x20\x03\xd5") << read.err;
  EXPECT_EQ(inspect.with(dump, {"--read", "0x8000:4", "--root", "ttbr1=0x44601000"}).status, (ExitStatus{1, 0}));
  EXPECT_EQ(inspect.with(dump, {"--read", "0:4", "--raw", "--root", "ttbr0=0x44601000"}).out, std::string(4, '\0'));
  const Completed bare = inspect.with(dump, {"--map", "--root", "0x44601000"});
  EXPECT_EQ(bare.status, (ExitStatus{2, 0}));
  EXPECT_THAT(bare.err, HasSubstr("say ttbr0=ADDR (a process) or ttbr1=ADDR (the kernel)"));
}

// Linux' locks wait with WFE: who does is not idle.
TEST(Guest, ThatWaitsForAnEventIsNotHalted) {
  const Inspect inspect;
  EXPECT_THAT(inspect.with(rootless_dump(kWfe), {"--registers"}).out,
              HasSubstr("vCPU 0: kernel, EL1, waiting for an event (WFE); aarch64"));
  EXPECT_THAT(inspect.with(rootless_dump(kWfe), {"--json"}).out,
              AllOf(HasSubstr(R"("halted": false)"), HasSubstr(R"("waiting_for_event": true)")));
}

TEST(Guest, AtEl2IsAHypervisorOrAKernel) {
  const Inspect inspect;
  const auto state = [&](uint64_t hcr) {
    QnxNote note;
    note.machine = kEmAarch64;
    note.extra_names = {"hcr_el2"};
    note.cpus = {
        QnxNote::Cpu{.pgtbl = 0, .number = 0, .process = "", .registers = {{"pstate", 0x3c9}, {"hcr_el2", hcr}}}};
    DumpBuilder dump;
    dump.machine = kEmAarch64;
    dump.note(note.build()).memory(0, std::string(4096, 'm'));
    return inspect.with(dump, {"--registers"}).out;
  };
  EXPECT_THAT(
      state(uint64_t{1} << 34 | uint64_t{1} << 27),
      AllOf(HasSubstr("vCPU 0: kernel, EL2 (VHE)"), HasSubstr("\n  EL2\n    hcr_el2 0x0000000408000000  E2H TGE\n")));
  EXPECT_THAT(state(uint64_t{1} << 31), HasSubstr("vCPU 0: hypervisor, EL2"));
}

TEST(Guest, OfADumpThatQemuWroteItself) {
  DumpBuilder dump = kernel_dump(kStiHlt);
  dump.sections_first = dump.section_zero = true;
  const Inspect inspect;
  EXPECT_THAT(inspect.with(dump, {}).out,
              HasSubstr("by        a writer that does not name itself, with notes as QEMU has"));
  dump.header_size = 8;
  EXPECT_THAT(inspect.with(dump, {}).out, HasSubstr("by        QEMU's dump-guest-memory, by the file's layout\n"));
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

// As of a file that was made from the running kernel: KERNELOFFSET would move it once too often.
TEST(KaslrOffset, IsNoneOfAFileThatHasTheRunningAddresses) {
  const KernelInspect inspect("0xffffffff9f000000", "0xffffffff9f000800");
  const DumpBuilder dump = kernel_dump(kStiHlt, kBuildId, "SYMBOL(_stext)=ffffffff9f000000\n");
  EXPECT_THAT(inspect.summary({}, dump).out, HasSubstr("do_idle+0x2"));
  EXPECT_EQ(inspect.summary({}, dump).err, "");
}

TEST(KernelFile, OfTheGuestIsTakenInSilence) {
  const KernelInspect inspect;
  EXPECT_EQ(inspect.summary({}).err, "");
  EXPECT_EQ(inspect.summary({}, kernel_dump(kStiHlt, "otherid!", "BUILD-ID=0123456789abcdef\n")).err, "");
}

TEST(KernelFile, OfAnotherBuildIsToldByItsBuildId) {
  const KernelInspect inspect;
  EXPECT_EQ(
      inspect.summary({}, kernel_dump(kStiHlt, "otherid!")).err,
      "gcore-inspect: vmlinux is not the file of the guest's kernel, or is displaced by another distance, so names and "
      "lines are wrong: its build ID, 0123456789abcdef, is not in guest memory at 0xffffffff9f000810\n");
  EXPECT_EQ(
      inspect.summary({}, kernel_dump(kStiHlt, kBuildId, "BUILD-ID=aa23456789abcdef\n")).err,
      "gcore-inspect: vmlinux is not the file of the guest's kernel, so names and lines are wrong: its build ID is "
      "0123456789abcdef, that of the kernel aa23456789abcdef\n");
}

TEST(KaslrOffset, IsMissedWhereTheGuestIsNotThatKernel) {
  const KernelInspect inspect;
  const Completed done = inspect({"sample.gcore", "--symbols", "vmlinux"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_THAT(done.err, HasSubstr("no Linux kernel was found in the guest; give it with --kaslr-offset"));
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
