// How the address space of a vCPU is found in a dump: which root, which mode, and what is said about it.
#include "reader/space/address_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "reader/guest/guest.h"
#include "tests/support/dump_builder.h"

namespace gcore::tests {
namespace {

using reader::AddressSpace;
using reader::Dump;
using reader::Guest;
using reader::PhysAddr;
using reader::VirtAddr;

/// 64 KiB of guest memory at physical address 0.
class Image {
 public:
  Image& entry(uint64_t address, uint64_t value) { return bytes_.put(address, value, 8), *this; }
  std::string str() {
    bytes_.pad_to(0x10000);
    return bytes_.str();
  }

 private:
  Bytes bytes_;
};

/// Address = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 to 0x9000, from root 0x1000, with entries of the given flags.
Image x86_image() {
  return Image().entry(0x1008, 0x4007).entry(0x4010, 0x5007).entry(0x5018, 0x6007).entry(0x6020, 0x9007);
}
constexpr uint64_t kMapped = 0x8080604000;

std::unique_ptr<Dump> open(const DumpBuilder& builder) {
  auto dump = Dump::open_descriptor(builder.descriptor(), "test.gcore");
  EXPECT_TRUE(dump) << dump.error().text;
  return dump ? *std::move(dump) : nullptr;
}

/// A qnx dump of one vCPU, with these registers (all others absent from the extra ones).
std::unique_ptr<Dump> qnx(uint16_t machine, Image image, uint64_t pgtbl, std::map<std::string, uint64_t> registers,
                          std::vector<std::string> extra, uint64_t cpu_info = 1) {
  QnxNote note;
  note.machine = machine;
  note.cpu_info = cpu_info;
  note.extra_names = std::move(extra);
  note.cpus.push_back({pgtbl, 0, "", std::move(registers)});
  DumpBuilder builder;
  builder.machine = machine;
  return open(builder.note(note.build()).memory(0, image.str()));
}

std::unique_ptr<Dump> vmcore(uint16_t machine, Image image, const std::string& vmcoreinfo,
                             const std::string& more_notes = "") {
  DumpBuilder builder;
  builder.machine = machine;
  return open(
      builder.note(elf_note("CORE", 1, prstatus(machine, 1, {})) + more_notes + elf_note("VMCOREINFO", 0, vmcoreinfo))
          .memory(0, image.str().substr(0, 0x8000))
          .memory(0x8000, image.str().substr(0x8000)));
}

uint64_t physical(const AddressSpace& space, uint64_t address) {
  const auto got = space.translate(VirtAddr(address));
  EXPECT_TRUE(got) << got.error().text;
  return got ? got->address.value : ~uint64_t{0};
}

const std::vector<std::string> kControl = {"cr0", "cr3", "cr4", "efer"};

TEST(AddressSpace, FromControlRegisters) {
  const auto dump = qnx(kEmX86_64, x86_image(), 0x7000,
                        {{"cr0", 0x80000001}, {"cr3", 0x1018}, {"cr4", 0x20}, {"efer", 0xd00}}, kControl);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x1000 from cr3");
  EXPECT_EQ(physical(*space, kMapped + 0x123), 0x9123u);
  EXPECT_TRUE(space->paging());
  EXPECT_EQ(space->walk(VirtAddr(kMapped)).note, "");
}

TEST(AddressSpace, FromTheRecordAlone) {
  const auto dump = qnx(kEmX86_64, x86_image(), 0x1000, {}, {});
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(),
            "x86_64, 4-level, root 0x1000 from the vCPU's record in the dump; assumed: 4-level long mode (the dump has "
            "no cr4)");
  EXPECT_EQ(physical(*space, kMapped), 0x9000u);
  EXPECT_EQ(space->walk(VirtAddr(kMapped)).note, "assumed: 4-level long mode (the dump has no cr4)");
}

TEST(AddressSpace, PagingOff) {
  const auto dump = qnx(kEmX86_64, x86_image(), 0, {{"cr0", 0x11}, {"cr3", 0}, {"cr4", 0}, {"efer", 0}}, kControl);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_FALSE(space->paging());
  EXPECT_EQ(space->describe(), "x86, paging off, virtual addresses are physical ones");
  EXPECT_EQ(physical(*space, 0x1008), 0x1008u);
  std::vector<std::byte> buffer(16);
  const auto got = space->read(VirtAddr(0xfff8), buffer);
  EXPECT_EQ(got.bytes, 8u);
  EXPECT_EQ(got.why, "physical 0x10000 cannot be read: it is in no segment of the dump");

  // Another root is looked at in the mode that the machine most likely has.
  const auto other = AddressSpace::with_root(*dump, 0, 0x1000);
  ASSERT_TRUE(other) << other.error().text;
  EXPECT_EQ(physical(*other, kMapped), 0x9000u);
  EXPECT_EQ(other->describe(),
            "x86_64, 4-level, root 0x1000 from the request; assumed: 4-level long mode (the dump has no cr4)");
}

TEST(AddressSpace, AnotherRoot) {
  const auto dump = qnx(kEmX86_64, x86_image(), 0x7000,
                        {{"cr0", 0x80000001}, {"cr3", 0x7000}, {"cr4", 0x20}, {"efer", 0xd00}}, kControl);
  EXPECT_FALSE(AddressSpace::of_cpu(*dump, 0)->translate(VirtAddr(kMapped)));
  const auto space = AddressSpace::with_root(*dump, 0, 0x6000000000001abc);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(physical(*space, kMapped), 0x9000u);
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x1000 from the request");
}

TEST(AddressSpace, NoSuchCpu) {
  const auto dump = qnx(kEmX86_64, x86_image(), 0x1000, {}, {});
  const auto space = AddressSpace::of_cpu(*dump, 1);
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().kind, reader::Error::Kind::usage);
  EXPECT_EQ(space.error().text, "cannot use the address space of vCPU 1 of test.gcore: the dump has 1 vCPU");
  EXPECT_EQ(AddressSpace::with_root(*dump, 7, 0).error().kind, reader::Error::Kind::usage);
}

/// Kernel half of the root at 0x2000, user half at 0x3000. The same user mapping in both (the kernel's copy with
/// no-execute, as Linux has it); kernel addresses in the first only.
Image isolated() {
  return Image()
      .entry(0x2008, 0x8000000000004007)
      .entry(0x3008, 0x4007)
      .entry(0x4010, 0x5007)
      .entry(0x5018, 0x6007)
      .entry(0x6020, 0x9007)
      .entry(0x2ff8, 0x7003)
      .entry(0x7ff0, 0x8003)
      .entry(0x8000, 0x12c00183);
}
constexpr uint64_t kKernel = 0xffffffff80000000;
const std::map<std::string, uint64_t> kUserMode = {
    {"cr0", 0x80000001}, {"cr3", 0x3801}, {"cr4", 0x20020}, {"efer", 0xd00}};

TEST(AddressSpace, PageTableIsolation) {
  const auto dump = qnx(kEmX86_64, isolated(), 0x3000, kUserMode, kControl);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(),
            "x86_64, 4-level, root 0x3000 from cr3; kernel addresses through root 0x2000 (page-table isolation)");
  EXPECT_EQ(physical(*space, kMapped), 0x9000u);
  EXPECT_EQ(physical(*space, kKernel), 0x12c00000u);
  EXPECT_EQ(space->walk(VirtAddr(kMapped)).note, "");
  const auto walk = space->walk(VirtAddr(kKernel));
  EXPECT_EQ(walk.steps.at(0).entry_address.value, 0x2ff8u);
  EXPECT_EQ(walk.note, "through root 0x2000: that of cr3 (0x3000) is the user half of page-table isolation");
  std::vector<VirtAddr> listed;
  space->enumerate([&](const reader::Mapping& mapping) { return listed.push_back(mapping.start), true; });
  EXPECT_EQ(listed, (std::vector{VirtAddr(kMapped), VirtAddr(kKernel)}));
}

TEST(AddressSpace, PageTableIsolationCanBeSwitchedOff) {
  const auto dump = qnx(kEmX86_64, isolated(), 0x3000, kUserMode, kControl);
  const auto space = AddressSpace::of_cpu(*dump, 0, {.kpti_fallback = false});
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x3000 from cr3");
  EXPECT_EQ(space->translate(VirtAddr(kKernel)).error().text, "PML4E at 0x3ff8 is 0x0: not present");
}

TEST(AddressSpace, AnUnrelatedPageIsNoKernelHalf) {
  const std::vector<Image> images = {
      isolated().entry(0x2008, 0xa007),              // another user mapping
      isolated().entry(0x2010, 0x4007),              // one more
      isolated().entry(0x3008, 0).entry(0x2008, 0),  // nothing that shows that they belong together
      isolated().entry(0x2ff8, 0),                   // no kernel in it
      isolated().entry(0x2ff8, 0x7fffffff003),       // its table is not in memory
      isolated().entry(0x2ff0, 0x7083),              // malformed
      isolated().entry(0x3ff0, 0x7003),              // lacks what the user half has
  };
  for (const Image& image : images) {
    SCOPED_TRACE(&image - images.data());
    const auto dump = qnx(kEmX86_64, image, 0x3000, kUserMode, kControl);
    const auto space = AddressSpace::of_cpu(*dump, 0);
    ASSERT_TRUE(space) << space.error().text;
    EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x3000 from cr3");
    EXPECT_FALSE(space->translate(VirtAddr(kKernel)));
  }
}

TEST(AddressSpace, KernelRootFromVmcoreinfo) {
  // init_top_pgt at its link address + 0x1000 - phys_base; nothing else is known.
  const auto dump = vmcore(kEmX86_64, x86_image(),
                           "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_top_pgt)=ffffffff82601000\n"
                           "NUMBER(phys_base)=-39845888\nNUMBER(pgtable_l5_enabled)=0\n");
  const auto space = Guest(*dump).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x1000 from VMCOREINFO (the kernel's)");
  EXPECT_EQ(physical(*space, kMapped), 0x9000u);
}

TEST(AddressSpace, NoRootAnywhere) {
  for (uint16_t machine : {kEmX86_64, kEmAarch64}) {
    const auto dump = vmcore(machine, x86_image(), "OSRELEASE=6.1.0\n");
    const auto space = AddressSpace::of_cpu(*dump, 0);
    ASSERT_FALSE(space) << space->describe();
    EXPECT_EQ(space.error().kind, reader::Error::Kind::not_present);
    EXPECT_TRUE(
        space.error().text.starts_with("cannot use the address space of vCPU 0 of test.gcore: the dump has neither "))
        << space.error().text;
  }
}

TEST(AddressSpace, MemoryEncryption) {
  constexpr uint64_t kC = uint64_t{1} << 47;
  const Image image =
      Image().entry(0x1008, kC | 0x4007).entry(0x4010, kC | 0x5007).entry(0x5018, kC | 0x6007).entry(0x6020, 0x9007);
  const auto dump = vmcore(kEmX86_64, image, "OSRELEASE=6.1.0\nNUMBER(sme_mask)=140737488355328\n",
                           elf_note("QEMU", 0, qemu_note({{"cr0", 0x80000001}, {"cr3", kC | 0x1000}, {"cr4", 0x20}})));
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x1000 from cr3, memory encryption mask 0x800000000000");
  EXPECT_EQ(physical(*space, kMapped), 0x9000u);
}

// aarch64. L0 at 0x1000 (user), 0x2000 (kernel); 2M blocks.
Image aarch64_image() {
  return Image()
      .entry(0x1008, 0x4003)
      .entry(0x4010, 0x0060000080000741)
      .entry(0x2000, 0x5003)
      .entry(0x5000, 0x0040000040000701);
}
constexpr uint64_t kTcr = 16 | 16 << 16 | uint64_t{2} << 30;

TEST(AddressSpace, Aarch64FromRegisters) {
  const auto dump =
      qnx(kEmAarch64, aarch64_image(), 0,
          {{"sctlr_el1", 1}, {"tcr_el1", kTcr}, {"ttbr0_el1", 0x1000}, {"ttbr1_el1", 0x2000}, {"pstate", 5}},
          {"sctlr_el1", "tcr_el1", "ttbr0_el1", "ttbr1_el1"});
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(
      space->describe(),
      "aarch64, TTBR0 0x1000 (48-bit, 4K granule), TTBR1 0x2000 (48-bit, 4K granule) from ttbr0_el1 and ttbr1_el1");
  EXPECT_EQ(physical(*space, 0x8080000123), 0x80000123u);
  EXPECT_EQ(physical(*space, 0xffff000000000123), 0x40000123u);

  const auto other = AddressSpace::with_root(*dump, 0, 0x2000);
  ASSERT_TRUE(other) << other.error().text;
  EXPECT_EQ(physical(*other, 0x123), 0x40000123u);
  EXPECT_EQ(physical(*other, 0xffff000000000123), 0x40000123u);
  const auto upper = AddressSpace::with_root(*dump, 0, 0x1000, AddressSpace::Root::upper);
  ASSERT_TRUE(upper) << upper.error().text;
  EXPECT_EQ(physical(*upper, 0xffff008080000123), 0x80000123u);
}

/// A Linux host with VHE: EL2's registers count, whatever EL1's are.
TEST(AddressSpace, Aarch64Hypervisor) {
  std::map<std::string, uint64_t> registers = {
      {"sctlr_el1", 0}, {"ttbr1_el1", 0x9000}, {"pstate", 0x3c9},     {"hcr_el2", 0x488000000},
      {"sctlr_el2", 1}, {"tcr_el2", kTcr},     {"ttbr0_el2", 0x1000}, {"ttbr1_el2", 0x0002000000002001}};
  const std::vector<std::string> names = {"sctlr_el1", "ttbr1_el1", "hcr_el2",  "sctlr_el2",
                                          "tcr_el2",   "ttbr0_el2", "ttbr1_el2"};
  const auto host = qnx(kEmAarch64, aarch64_image(), 0, registers, names);
  const auto space = AddressSpace::of_cpu(*host, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(
      space->describe(),
      "aarch64, TTBR0 0x1000 (48-bit, 4K granule), TTBR1 0x2000 (48-bit, 4K granule) from ttbr0_el2 and ttbr1_el2");
  EXPECT_EQ(physical(*space, 0xffff000000000123), 0x40000123u);

  registers["hcr_el2"] = 0x80000000, registers["tcr_el2"] = 0x80840010;
  const auto hypervisor = qnx(kEmAarch64, aarch64_image(), 0, registers, names);
  const auto one_half = AddressSpace::of_cpu(*hypervisor, 0);
  ASSERT_TRUE(one_half) << one_half.error().text;
  EXPECT_EQ(one_half->describe(), "aarch64, TTBR0 0x1000 (48-bit, 4K granule) from ttbr0_el2");
  EXPECT_EQ(physical(*one_half, 0x8080000123), 0x80000123u);
  EXPECT_FALSE(one_half->translate(VirtAddr(0xffff000000000123)));

  const auto lacking = qnx(kEmAarch64, aarch64_image(), 0, registers, {"sctlr_el1", "ttbr1_el1"});
  const auto none = AddressSpace::of_cpu(*lacking, 0);
  ASSERT_FALSE(none) << none->describe();
  EXPECT_THAT(none.error().text, testing::HasSubstr("the vCPU is in EL2, and the dump has no ttbr0_el2"));
}

/// tramp_pg_dir at 0x2000 maps the last page alone, swapper_pg_dir at 0x4000 that and ten gigabytes apart from each
/// other, as their common tables at 0x5000 to 0x7000 say.
Image aarch64_isolated() {
  Image image;
  image.entry(0x2ff8, 0x5003).entry(0x5ff8, 0x6003).entry(0x6ff8, 0x7003).entry(0x7ff8, 0x9783);
  image.entry(0x4ff8, 0x5003).entry(0x4000, 0x8003);
  for (uint64_t i = 0; i < 20; i += 2) image.entry(0x8000 + i * 8, 0x0040000040000701);
  return image;
}
const std::map<std::string, uint64_t> kAarch64User = {
    {"sctlr_el1", 1}, {"tcr_el1", kTcr}, {"ttbr0_el1", 0x1000}, {"ttbr1_el1", 0x00a1000000002001}, {"pstate", 0}};
const std::vector<std::string> kAarch64Control = {"sctlr_el1", "tcr_el1", "ttbr0_el1", "ttbr1_el1"};
constexpr uint64_t kTrampoline = 0xfffffffffffff000;

TEST(AddressSpace, Aarch64PageTableIsolation) {
  const auto dump = qnx(kEmAarch64, aarch64_isolated(), 0, kAarch64User, kAarch64Control);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_THAT(space->describe(), testing::EndsWith("; kernel addresses through root 0x4000 (page-table isolation)"));
  EXPECT_EQ(physical(*space, kTrampoline + 0x10), 0x9010u);
  EXPECT_EQ(physical(*space, 0xffff000080000123), 0x40000123u);
  EXPECT_EQ(space->walk(VirtAddr(kTrampoline)).note,
            "through root 0x4000: that of ttbr1_el1 (0x2000) is the trampoline of page-table isolation");
  const auto off = AddressSpace::of_cpu(*dump, 0, {.kpti_fallback = false});
  ASSERT_TRUE(off) << off.error().text;
  EXPECT_EQ(physical(*off, kTrampoline), 0x9000u);
  EXPECT_FALSE(off->translate(VirtAddr(0xffff000080000123)));
}

TEST(AddressSpace, AnUnrelatedTableIsNotBehindTheTrampoline) {
  const std::vector<Image> images = {
      aarch64_isolated().entry(0x4ff8, 0),                             // lacks the trampoline
      aarch64_isolated().entry(0x4ff8, 0xa003).entry(0xaff8, 0xb003),  // has something else there
      aarch64_isolated().entry(0x4000, 0),                             // has nothing beside it
      aarch64_isolated().entry(0x2000, 0x8003),                        // the root of ttbr1_el1 is a kernel's own
  };
  for (const Image& image : images) {
    SCOPED_TRACE(&image - images.data());
    const auto dump = qnx(kEmAarch64, image, 0, kAarch64User, kAarch64Control);
    const auto space = AddressSpace::of_cpu(*dump, 0);
    ASSERT_TRUE(space) << space.error().text;
    EXPECT_THAT(space->describe(), testing::Not(testing::HasSubstr("isolation")));
  }
}

TEST(AddressSpace, Aarch64FromTheRecordAlone) {
  // pgtbl is TTBR1's table in EL1 and TTBR0's in EL0; cpu_info is TCR_EL1 (here 39 bits, whose root is an L1 table).
  constexpr uint64_t kTcr39 = 25 | 25 << 16 | uint64_t{2} << 30;
  const auto kernel = qnx(kEmAarch64, aarch64_image(), 0x5000, {{"pstate", 5}}, {}, kTcr39);
  const auto in_el1 = AddressSpace::of_cpu(*kernel, 0);
  ASSERT_TRUE(in_el1) << in_el1.error().text;
  EXPECT_EQ(physical(*in_el1, 0xffffff8000000123), 0x40000123u);
  EXPECT_EQ(in_el1->translate(VirtAddr(0)).error().kind, reader::Fault::Kind::no_root);
  EXPECT_EQ(
      in_el1->describe(),
      "aarch64, TTBR0 none (the dump has no ttbr0_el1), TTBR1 0x5000 (39-bit, 4K granule) from the vCPU's record in "
      "the dump");

  const auto user = qnx(kEmAarch64, aarch64_image(), 0x4000, {{"pstate", 0}}, {}, kTcr39);
  const auto in_el0 = AddressSpace::of_cpu(*user, 0);
  ASSERT_TRUE(in_el0) << in_el0.error().text;
  EXPECT_EQ(physical(*in_el0, 0x80000123), 0x80000123u);
  EXPECT_EQ(in_el0->translate(VirtAddr(~uint64_t{0})).error().kind, reader::Fault::Kind::no_root);
}

TEST(AddressSpace, Aarch64KernelRootFromVmcoreinfo) {
  const auto dump =
      vmcore(kEmAarch64, aarch64_image(),
             "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffff800009402000\nNUMBER(VA_BITS)=48\n"
             "NUMBER(kimage_voffset)=0xffff800009400000\nNUMBER(TCR_EL1_T1SZ)=0x10\n");
  const auto space = Guest(*dump).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(physical(*space, 0xffff000000000123), 0x40000123u);
  EXPECT_EQ(space->describe(),
            "aarch64, TTBR0 none (the dump has no ttbr0_el1), TTBR1 0x2000 (48-bit, 4K granule) from VMCOREINFO (the "
            "kernel's)");
}

TEST(AddressSpace, Aarch64SwapperHasTheSizeThatTheKernelWasBuiltFor) {
  // 64K pages, built for 52 bits, on a CPU with 48: swapper_pg_dir (1024 entries) is indexed by all 52 bits.
  const Image image = Image().entry(0x2000 + 8 * 960, 0x0).entry(0x2000 + 8 * 1023, 0x3).entry(0x8, 0x0040000040000701);
  const auto dump =
      vmcore(kEmAarch64, image,
             "OSRELEASE=6.1.0\nPAGESIZE=65536\nSYMBOL(swapper_pg_dir)=ffff800009402000\nNUMBER(VA_BITS)=52\n"
             "NUMBER(kimage_voffset)=0xffff800009400000\nNUMBER(TCR_EL1_T1SZ)=0x10\n");
  const auto space = Guest(*dump).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(physical(*space, 0xfffffc0020000123), 0x40000123u);
}

}  // namespace
}  // namespace gcore::tests
