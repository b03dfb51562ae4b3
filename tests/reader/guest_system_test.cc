// Which guest system a dump is of. The guests here are made of a few pages; tests/e2e/guest_system_test.cc has real
// ones.
#include "reader/guest/guest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "reader/space/address_space.h"
#include "tests/support/dump_builder.h"

namespace gcore::tests {
namespace {

using reader::AddressSpace;
using reader::Dump;
using reader::Guest;
using reader::GuestSearch;
using reader::GuestSystem;
using reader::PhysAddr;
using reader::VirtAddr;
using testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;
constexpr char kBanner[] = "Linux version 6.1.0-9-amd64 (builder@host) (gcc 12.2.0) #1 SMP Debian 6.1.27-1";

/// An x86_64 kernel, displaced by 0x9000000, in 16 MiB of memory at 0:
///
///   0x1000    root, 0x2000 PDPT, 0x3000 PD, 0x4000 PT of the image's fourth 2 MiB; 0x5000, 0x6000 of the direct map
///   0x200000  the image: two large pages of text, one of read-only data (banner), one of 4K pages that can be written
///   0xa00000  the kernel's VMCOREINFO note, at 0xffff888000a00000 in the direct map
///
/// 0xffffffff8a000000 is the image's first address.
struct X86Kernel {
  static constexpr uint64_t kImage = 0xffffffff8a000000, kPhysical = 2 * kMiB, kNote = 10 * kMiB;
  static constexpr uint64_t kDisplacement = 0x9000000;

  Bytes memory;
  bool with_note = true, with_banner = true, with_cr3 = true;
  std::string vmcoreinfo =
      "OSRELEASE=6.1.0-9-amd64\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff8a000000\nSYMBOL(init_top_pgt)=ffffffff89e01000\n"
      "NUMBER(phys_base)=-165675008\nNUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=9000000\n";

  X86Kernel() {
    constexpr uint64_t kTable = 0x3, kText = 0x1 | 0x80, kData = 0x3 | uint64_t{1} << 63;
    memory.put(0x1000 + 511 * 8, 0x2000 | kTable, 8).put(0x1000 + 273 * 8, 0x5000 | kTable, 8);
    memory.put(0x2000 + 510 * 8, 0x3000 | kTable, 8);
    memory.put(0x3000 + 80 * 8, kPhysical | kText, 8).put(0x3000 + 81 * 8, (kPhysical + 2 * kMiB) | kText, 8);
    memory.put(0x3000 + 82 * 8, (kPhysical + 4 * kMiB) | 0x81 | uint64_t{1} << 63, 8);
    memory.put(0x3000 + 83 * 8, 0x4000 | kTable, 8);
    for (uint64_t i = 256; i < 272; ++i) memory.put(0x4000 + i * 8, (kPhysical + 6 * kMiB + i * 4096) | kData, 8);
    memory.put(0x5000, 0x83 | uint64_t{1} << 63, 8);
  }

  DumpBuilder build() {
    Bytes all = memory;
    const auto place = [&](uint64_t at, const std::string& text) {
      for (size_t i = 0; i < text.size(); ++i) all.put(at + i, static_cast<unsigned char>(text[i]), 1);
    };
    if (with_banner) place(kPhysical + 5 * kMiB, std::string(kBanner) + "\n" + '\0');
    if (with_note) {
      place(kNote, elf_note("VMCOREINFO", 0, vmcoreinfo));
      all.put(kPhysical + 7 * kMiB + 0x2348, 0xffff888000000000 + kNote, 8);  // vmcoreinfo_note
    }
    all.pad_to(16 * kMiB);
    std::map<std::string, uint64_t> control = {{"cr0", 0x80000001}, {"cr3", 0x1000}, {"cr4", 0x20}};
    DumpBuilder dump;
    dump.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", kImage}})) +
              (with_cr3 ? elf_note("QEMU", 0, qemu_note(control)) : ""));
    return dump.memory(0, all.str().substr(0, 8 * kMiB)).memory(8 * kMiB, all.str().substr(8 * kMiB));
  }
};

std::unique_ptr<Dump> open(const DumpBuilder& builder) {
  auto dump = Dump::open_descriptor(builder.descriptor(), "test.gcore");
  EXPECT_TRUE(dump) << dump.error().text;
  return dump ? *std::move(dump) : nullptr;
}

TEST(GuestSystem, LinuxByAPointerInItsImage) {
  const auto dump = open(X86Kernel().build());
  const Guest found(*dump);
  const GuestSystem& guest = found.system();
  EXPECT_EQ(guest.kind, GuestSystem::Kind::linux_kernel);
  EXPECT_EQ(guest.release, "6.1.0-9-amd64");
  EXPECT_EQ(guest.banner, kBanner);
  EXPECT_EQ(guest.kaslr_offset, X86Kernel::kDisplacement);
  EXPECT_EQ(guest.image_address, VirtAddr(X86Kernel::kImage));
  EXPECT_EQ(guest.image_physical, PhysAddr(X86Kernel::kPhysical));
  EXPECT_EQ(guest.vmcoreinfo_source, GuestSystem::Source::memory);
  EXPECT_EQ(guest.vmcoreinfo_address, PhysAddr(X86Kernel::kNote));
  EXPECT_THAT(guest.vmcoreinfo, HasSubstr("KERNELOFFSET=9000000"));
  EXPECT_EQ(guest.page_offset, 0xffff888000000000);
  EXPECT_EQ(guest.page_size, 4096u);
  EXPECT_EQ(&found.system(), &guest);
}

TEST(GuestSystem, NoDirectMapWhereMemoryIsElsewhere) {
  X86Kernel kernel;
  kernel.memory.put(0x5000, 0x40000083 | uint64_t{1} << 63, 8);  // the next gigabyte
  const auto dump = open(kernel.build());
  EXPECT_EQ(Guest(*dump).system().banner, kBanner);
  EXPECT_EQ(Guest(*dump).system().page_offset, std::nullopt);
}

TEST(GuestSystem, LinuxWithoutVmcoreinfo) {
  X86Kernel kernel;
  kernel.with_note = false;
  const auto dump = open(kernel.build());
  const Guest found(*dump);
  const GuestSystem& guest = found.system();
  EXPECT_EQ(guest.kind, GuestSystem::Kind::linux_kernel);
  EXPECT_EQ(guest.release, "6.1.0-9-amd64");
  EXPECT_EQ(guest.banner, kBanner);
  EXPECT_EQ(guest.kaslr_offset, X86Kernel::kDisplacement);
  EXPECT_EQ(guest.vmcoreinfo_source, GuestSystem::Source::none);
  EXPECT_EQ(guest.page_offset, 0xffff888000000000);
  EXPECT_EQ(guest.page_size, 4096u);
  ASSERT_EQ(guest.notes.size(), 1u);
  EXPECT_THAT(guest.notes[0], HasSubstr("where the kernel's image starts"));
}

TEST(GuestSystem, RootlessLinuxByItsNoteInMemory) {
  X86Kernel kernel;
  kernel.with_cr3 = false;
  const auto dump = open(kernel.build());
  const auto space = Guest(*dump).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(),
            "x86_64, 4-level, root 0x1000 from VMCOREINFO, found in guest memory at 0xa00000 (the kernel's)");
  const auto there = space->translate(VirtAddr(X86Kernel::kImage + 0x123));
  ASSERT_TRUE(there) << there.error().text;
  EXPECT_EQ(there->address, PhysAddr(X86Kernel::kPhysical + 0x123));
  EXPECT_EQ(Guest(*dump).system().banner, kBanner);
}

TEST(GuestSystem, ANoteThatTheTablesContradictIsOfAnotherKernel) {
  for (const bool with_cr3 : {true, false}) {
    SCOPED_TRACE(with_cr3);
    X86Kernel kernel;
    kernel.with_cr3 = with_cr3;
    kernel.vmcoreinfo.replace(kernel.vmcoreinfo.find("8a000000"), 8, "8b000000");  // _stext
    const auto dump = open(kernel.build());
    EXPECT_EQ(Guest(*dump).system().vmcoreinfo_source, GuestSystem::Source::none);
    const auto space = Guest(*dump).space_of_cpu(0);
    ASSERT_TRUE(space) << space.error().text;
    EXPECT_EQ(space->describe().find("VMCOREINFO"), std::string::npos) << space->describe();
  }
}

TEST(GuestSystem, ANoteOfTheDumpThatTheVcpusContradictIsOfAnotherKernel) {
  X86Kernel kernel;
  std::string stale = kernel.vmcoreinfo;
  stale.replace(stale.find("8a000000"), 8, "8b000000").replace(stale.find("6.1.0-9"), 7, "5.9.9-1");
  const auto dump = open(kernel.build().note(elf_note("VMCOREINFO", 0, stale)));
  const Guest found(*dump);
  const GuestSystem& guest = found.system();
  EXPECT_EQ(guest.release, "6.1.0-9-amd64");
  EXPECT_EQ(guest.vmcoreinfo_source, GuestSystem::Source::memory);
  EXPECT_EQ(guest.kaslr_offset, X86Kernel::kDisplacement);
  EXPECT_THAT(guest.notes, testing::Contains(HasSubstr("(of 5.9.9-1-amd64) is of another kernel than the vCPUs run")));
}

/// As Hyper-V's, which says that no kernel was moved: there is one fact and one who is contradicted, not two facts.
TEST(GuestSystem, ANoteOfTheDumpThatIsWrongAboutTheKernelInMemory) {
  for (const bool with_own : {true, false}) {
    SCOPED_TRACE(with_own);
    X86Kernel kernel;
    kernel.with_note = with_own;
    std::string unmoved = kernel.vmcoreinfo, older = kernel.vmcoreinfo;
    unmoved.replace(unmoved.find("=9000000"), 8, "=0000000");
    older.replace(older.find("6.1.0-9"), 7, "5.4.0-9");
    for (const auto& [wrong, why] : {std::pair(unmoved, "moved by 0x0, and in guest memory it was by 0x9000000"),
                                     std::pair(older, "it says 5.4.0-9-amd64, and guest memory has 6.1.0-9-amd64")}) {
      const auto dump = open(kernel.build().note(elf_note("VMCOREINFO", 0, wrong)));
      const Guest found(*dump);
      const GuestSystem& guest = found.system();
      EXPECT_EQ(guest.kaslr_offset, X86Kernel::kDisplacement);
      EXPECT_EQ(guest.release, "6.1.0-9-amd64");
      EXPECT_EQ(guest.banner, kBanner);
      EXPECT_EQ(guest.image_address, VirtAddr(X86Kernel::kImage));
      EXPECT_THAT(guest.contradiction, HasSubstr(why));
      EXPECT_THAT(guest.notes, testing::Contains(guest.contradiction));
    }
  }
}

/// A kernel that was linked elsewhere (CONFIG_PHYSICAL_START) says of itself the same as the dump's notes.
TEST(GuestSystem, AnUnusualAddressOfTheImageIsNoContradiction) {
  X86Kernel kernel;
  kernel.vmcoreinfo.replace(kernel.vmcoreinfo.find("=9000000"), 8, "=8000000");
  const auto dump = open(kernel.build().note(elf_note("VMCOREINFO", 0, kernel.vmcoreinfo)));
  const Guest found(*dump);
  EXPECT_EQ(found.system().kaslr_offset, 0x8000000u);
  EXPECT_EQ(found.system().vmcoreinfo_source, GuestSystem::Source::note);
  EXPECT_EQ(found.system().contradiction, "");
}

TEST(GuestSystem, ANoteWhoseTablesAreNotInTheDumpIsBetterThanNothing) {
  X86Kernel kernel;
  kernel.with_cr3 = kernel.with_banner = false;
  kernel.vmcoreinfo.replace(kernel.vmcoreinfo.find("89e01000"), 8, "8f001000");  // init_top_pgt: beyond the memory
  const auto dump = open(kernel.build());
  const Guest found(*dump);
  const GuestSystem& guest = found.system();
  EXPECT_EQ(guest.kind, GuestSystem::Kind::linux_kernel);
  EXPECT_EQ(guest.release, "6.1.0-9-amd64");
  EXPECT_EQ(guest.vmcoreinfo_address, PhysAddr(X86Kernel::kNote));
  EXPECT_THAT(guest.notes, testing::Contains(HasSubstr("its page tables, which would confirm that, are not")));
}

TEST(GuestSystem, RootlessLinuxByItsTablesAlone) {
  X86Kernel kernel;
  kernel.with_cr3 = kernel.with_note = false;
  const auto dump = open(kernel.build());
  EXPECT_EQ(Guest(*dump).system().kind, GuestSystem::Kind::unknown);
  const auto space = Guest(*dump).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(), "x86_64, 4-level, root 0x1000 from guest memory, where these tables map a Linux kernel");
  EXPECT_FALSE(space->has_root_of_cpu());
  const Guest found(*dump);
  const GuestSystem& guest = found.system(GuestSearch::thorough);
  EXPECT_EQ(guest.banner, kBanner);
  EXPECT_EQ(guest.kaslr_offset, X86Kernel::kDisplacement);

  kernel.with_banner = false;
  const auto nothing = open(kernel.build());
  const auto none = Guest(*nothing).space_of_cpu(0);
  ASSERT_FALSE(none) << none->describe();
  EXPECT_THAT(none.error().text, testing::EndsWith("no Linux kernel with its tables was found in guest memory"));
}

TEST(GuestSystem, OnlyARealBannerMakesALinux) {
  X86Kernel kernel;
  kernel.with_note = kernel.with_banner = false;
  const auto dump = open(kernel.build());
  EXPECT_EQ(Guest(*dump).system().kind, GuestSystem::Kind::unknown);
  EXPECT_EQ(Guest(*dump).system().kaslr_offset, std::nullopt);
  EXPECT_EQ(Guest(*dump).system(GuestSearch::thorough).kind, GuestSystem::Kind::unknown);
}

/// aarch64, 4K pages, 48 bits, 16 MiB of memory at 0x40000000. Root at 0x40601000: all of memory from
/// 0xffff000000000000 on, and the image (two large pages of text, one of read-only data, which has the roots) from
/// 0xffff800008000000 on. At 0x40600000, the tables that it booted with: the image alone.
TEST(GuestSystem, RootlessAarch64ByItsTablesAlone) {
  constexpr uint64_t kRam = 0x40000000, kText = 0x781 | uint64_t{1} << 54, kNever = uint64_t{3} << 53;
  Bytes memory;
  constexpr uint64_t kBooted = 6 * kMiB, kRoot = kBooted + 0x1000;
  memory.put(kRoot, (kRam + 0x2000) | 3, 8).put(kRoot + 256 * 8, (kRam + 0x3000) | 3, 8);
  memory.put(0x2000, kRam | 0x701 | kNever, 8);
  memory.put(0x3000, (kRam + 0x4000) | 3, 8);
  memory.put(0x4000 + 64 * 8, (kRam + 2 * kMiB) | kText, 8).put(0x4000 + 65 * 8, (kRam + 4 * kMiB) | kText, 8);
  memory.put(0x4000 + 66 * 8, (kRam + 6 * kMiB) | 0x781 | kNever, 8);
  memory.put(kBooted + 256 * 8, (kRam + 0x3000) | 3, 8).put(kBooted + 511 * 8, (kRam + 0x5000) | 3, 8);
  memory.pad_to(7 * kMiB).text(std::string(kBanner) + "\n" + '\0').pad_to(16 * kMiB);
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  const auto dump =
      open(builder.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {{"pc", 0x400000}}))).memory(kRam, memory.str()));
  const Guest found(*dump);
  EXPECT_EQ(found.system().banner, kBanner) << "a quick search looks where memory begins";
  const auto space = found.space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  EXPECT_EQ(space->describe(),
            "aarch64, TTBR0 none (the dump has no ttbr0_el1), TTBR1 0x40601000 (48-bit, 4K granule) from guest memory, "
            "where these tables map a Linux kernel");
  EXPECT_FALSE(space->has_root_of_cpu());
  const GuestSystem& guest = found.system();  // which was asked for no search of all of memory: that was made already
  EXPECT_EQ(guest.banner, kBanner);
  EXPECT_EQ(guest.image_address, VirtAddr(0xffff800008000000));
  EXPECT_EQ(guest.image_physical, PhysAddr(kRam + 2 * kMiB));
  EXPECT_EQ(guest.kaslr_offset, std::nullopt);  // it says nowhere to which address it is linked
  EXPECT_EQ(guest.page_offset, 0xffff000000000000 - kRam);
  EXPECT_EQ(guest.page_size, 4096u);
}

TEST(GuestSystem, LinuxByTheDumpsOwnNote) {
  DumpBuilder dump;
  dump.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) +
            elf_note("VMCOREINFO", 0, "OSRELEASE=5.4.0\nKERNELOFFSET=1e000000\n"));
  const auto open_dump = open(dump.memory(0, std::string(8192, '\0')));
  const Guest found(*open_dump);
  const GuestSystem& guest = found.system();
  EXPECT_EQ(guest.kind, GuestSystem::Kind::linux_kernel);
  EXPECT_EQ(guest.release, "5.4.0");
  EXPECT_EQ(guest.kaslr_offset, 0x1e000000u);
  EXPECT_EQ(guest.vmcoreinfo_source, GuestSystem::Source::note);
  EXPECT_EQ(guest.vmcoreinfo_address, std::nullopt);
}

/// A system page as segment 1 (the kdump note counts segments without the note).
std::string system_page(uint16_t size, uint16_t total, uint16_t type, uint16_t cpus) {
  return Bytes().u16(size).u16(total).u16(type).u16(cpus).pad_to(4096).str();
}

std::unique_ptr<Dump> qnx(const std::string& page, const std::string& image = std::string(4096, '\0')) {
  QnxNote note;
  note.syspage = 1;
  note.cpus.push_back({0x1000, 0, "", {}});
  return open(DumpBuilder().note(note.build()).memory(0, image).memory(0x10000, page));
}

TEST(GuestSystem, QnxByItsSystemPage) {
  const auto dump = qnx(system_page(200, 2048, 0x100, 4));
  EXPECT_EQ(Guest(*dump).system().kind, GuestSystem::Kind::qnx);
  EXPECT_THAT(Guest(*dump).system().notes.at(0), HasSubstr("system page at 0x10000 (2048 bytes, 4 CPUs)"));
}

TEST(GuestSystem, WhatIsNoSystemPage) {
  for (const std::string& page :
       {system_page(200, 2048, 0x101, 4), system_page(200, 100, 0x100, 4), system_page(200, 8192, 0x100, 4),
        system_page(200, 2048, 0x100, 0), system_page(4, 2048, 0x100, 1)})
    EXPECT_EQ(Guest(*qnx(page)).system().kind, GuestSystem::Kind::unknown);
}

std::string image_file_system(uint32_t size, uint32_t directory_end, uint32_t directory) {
  return Bytes().text("imagefs").u8(0).u32(size).u32(directory_end).u32(directory).pad_to(8192).str();
}

TEST(GuestSystem, QnxByItsImage) {
  const auto dump = qnx(std::string(4096, '\0'), std::string(4096, '\1') + image_file_system(8000, 512, 92));
  EXPECT_EQ(Guest(*dump).system().kind, GuestSystem::Kind::qnx);
  EXPECT_THAT(Guest(*dump).system().notes.at(0), HasSubstr("image file system at 0x1000 (8000 bytes)"));
  for (const std::string& image : {image_file_system(80000, 512, 92), image_file_system(8000, 80, 92),
                                   image_file_system(8000, 9000, 92), image_file_system(8000, 512, 8)})
    EXPECT_EQ(Guest(*qnx(std::string(4096, '\0'), image)).system().kind, GuestSystem::Kind::unknown);
}

TEST(GuestSystem, NothingIsKnownOfADumpWithoutMemoryOrVcpus) {
  EXPECT_EQ(Guest(*open(DumpBuilder().memory(0, std::string(64, 'x')))).system().kind, GuestSystem::Kind::unknown);
  const auto dump = open(DumpBuilder().note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {}))));
  EXPECT_EQ(Guest(*dump).system(GuestSearch::thorough).kind, GuestSystem::Kind::unknown);
}

/// Every page of hostile memory claims to be a note, and every entry of its tables to be a table.
TEST(GuestSystem, HostileMemoryEnds) {
  std::string page = elf_note("VMCOREINFO", 0,
                              "OSRELEASE=1\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=0\n"
                              "SYMBOL(init_top_pgt)=ffffffff80001000\n");
  Bytes rest;
  rest.text(page);
  rest.align(8);
  while (rest.size() < 4096) rest.u64(rest.size() / 8 % 8 * 4096 + 3);
  std::string memory;
  for (int i = 0; i < 64; ++i) memory += rest.str();
  DumpBuilder dump;
  dump.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) +
            elf_note("QEMU", 0, qemu_note({{"cr0", 0x80000001}, {"cr3", 0x1000}, {"cr4", 0x1020}})));
  const auto hostile = open(dump.memory(0, memory));
  EXPECT_EQ(Guest(*hostile).system(GuestSearch::thorough).banner, "");
}

}  // namespace
}  // namespace gcore::tests
