// Files of other makers (tests/support/foreign_files.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "reader/dump/dump.h"
#include "tests/support/foreign_files.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Dump;
using reader::PhysAddr;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

reader::Expected<std::unique_ptr<Dump>> open(const std::string& bytes, const reader::OpenOptions& options = {}) {
  const TempDir folder;
  return Dump::open(folder.write("dump", bytes), options);
}

std::string memory(const Dump& dump, uint64_t address, size_t size) {
  std::string bytes(size, '\0');
  bytes.resize(dump.read(PhysAddr(address), std::as_writable_bytes(std::span(bytes))).bytes);
  return bytes;
}

std::vector<std::string> warnings_of(const Dump& dump) { return {dump.warnings().begin(), dump.warnings().end()}; }
std::vector<std::string> notices_of(const Dump& dump) { return {dump.notices().begin(), dump.notices().end()}; }

// ---- LiME ----

const std::string kPageA(4096, 'a'), kPageB(4096, 'b');

TEST(Lime, RangesAreMemory) {
  const auto dump = open(lime_range(0x1000, kPageA) + lime_range(0x100000000, kPageB + kPageA));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->foreign_format(), "LiME image");
  EXPECT_EQ((*dump)->machine(), format::Machine::x86_64);
  ASSERT_EQ((*dump)->segments().size(), 2u);
  EXPECT_TRUE((*dump)->has_file_offsets());
  EXPECT_EQ(memory(**dump, 0x1000, 5000), kPageA);
  EXPECT_EQ(memory(**dump, 0x100000fff, 2), "ba");
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  EXPECT_THAT(notices_of(**dump), testing::ElementsAre("the dump has no vCPUs: a LiME image has memory only"));
}

TEST(Lime, MachineIsThatOfTheKernelInIt) {
  std::string image(0x210000, '\0');
  image.replace(0x200000 + 56, 4, "ARM\x64");
  const auto dump = open(lime_range(0x40000000, image));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->machine(), format::Machine::aarch64);
}

TEST(Lime, MachineIsKnownByWhereItsMemoryIs) {
  std::string image(0x210000, '\0');
  const auto machine_of = [](const std::string& bytes) {
    const auto dump = open(bytes);
    return dump ? std::optional((*dump)->machine()) : std::nullopt;
  };
  EXPECT_EQ(machine_of(lime_range(0x40000000, kPageA)), format::Machine::aarch64) << "no PC lacks its first megabyte";
  EXPECT_EQ(machine_of(lime_range(0x1000, std::string(0x9f000, 'a')) + lime_range(0x100000, image)),
            format::Machine::x86_64);
  EXPECT_EQ(machine_of(lime_range(0, image)), format::Machine::x86_64) << "nothing tells";
  image.replace(0x80000 + 56, 4, "ARM\x64");
  EXPECT_EQ(machine_of(lime_range(0, image)), format::Machine::aarch64) << "such as a Raspberry Pi";
}

TEST(Lime, DamageIsSaid) {
  const std::string whole = lime_range(0x1000, kPageA) + lime_range(0x3000, kPageB);
  for (size_t size = 5; size < whole.size(); size += 61) {
    const auto dump = open(whole.substr(0, size));
    if (size <= 32) {
      EXPECT_FALSE(dump);
      continue;
    }
    ASSERT_TRUE(dump) << size << dump.error().text;
    EXPECT_THAT(warnings_of(**dump), Contains(testing::AnyOf(HasSubstr("is lost"), HasSubstr("not all of which"))));
    EXPECT_EQ(memory(**dump, 0x1000, 4096).size(), std::min<size_t>(size - 32, 4096));
  }
  std::string wrong = whole;
  wrong.replace(32 + 4096, 4, "oops");
  const auto dump = open(wrong);
  ASSERT_TRUE(dump);
  EXPECT_THAT(warnings_of(**dump), Contains("the range of memory at offset 4128 makes no sense; what follows is lost"));
  EXPECT_FALSE(open("EMiL" + le<uint32_t>(1) + le<uint64_t>(5) + le<uint64_t>(4) + le<uint64_t>(0)));
}

// ---- AVML ----

TEST(Avml, ChunksAreMemory) {
  const std::string padding = "\xfe" + le24(3) + "xyz";
  const auto dump = open(avml_range(0x1000, 8192, plain_chunk(kPageA) + padding + repeated_chunk('b')) +
                         avml_range(0x100000000, 4096, repeated_chunk('c')));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->foreign_format(), "AVML image");
  EXPECT_EQ((*dump)->compression(), "snappy");
  EXPECT_LT((*dump)->file_size(), 3u * 4096) << "the file's own size";
  EXPECT_THAT((*dump)->check({}), IsEmpty());
  ASSERT_EQ((*dump)->segments().size(), 2u);
  EXPECT_FALSE((*dump)->has_file_offsets());
  EXPECT_EQ(memory(**dump, 0x1000, 8192), kPageA + kPageB);
  EXPECT_EQ(memory(**dump, 0x1fff, 2), "ab");
  EXPECT_EQ(memory(**dump, 0x100000000, 4096), std::string(4096, 'c'));
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  EXPECT_THAT(notices_of(**dump), testing::ElementsAre("the dump has no vCPUs: an AVML image has memory only"));
}

TEST(Avml, DamageIsSaidAndCostsItsChunk) {
  const std::string whole = avml_range(0x1000, 8192, plain_chunk(kPageA) + repeated_chunk('b'));
  for (size_t size = 5; size < whole.size(); size += 61) {
    const auto dump = open(whole.substr(0, size));
    if (!dump) {
      EXPECT_LT(size, 4200u) << dump.error().text;
      continue;
    }
    EXPECT_THAT(warnings_of(**dump), Contains(HasSubstr("what follows is lost"))) << size;
    EXPECT_EQ(memory(**dump, 0x1000, 8192).substr(0, 4096), kPageA);
  }
  std::string wrong = whole;
  wrong[200] = 'x';  // in the first chunk, whose sum tells
  const auto dump = open(wrong);
  ASSERT_TRUE(dump);
  EXPECT_EQ(memory(**dump, 0x1000, 4096), "");
  EXPECT_EQ(memory(**dump, 0x2000, 4096), kPageB);
  const auto damage = (*dump)->check({});
  ASSERT_EQ(damage.size(), 1u);
  EXPECT_THAT(damage[0].text, HasSubstr("the snappy data at offset 42 cannot be unpacked (it is damaged)"));
  EXPECT_THAT(damage[0].memory, testing::ElementsAre(testing::Pair(PhysAddr(0x1000), 4096u)));
  EXPECT_FALSE(open("AVML" + le<uint32_t>(2) + std::string(24, '\0')));
  EXPECT_FALSE(open("AVML" + le<uint32_t>(3) + std::string(24, '\0')));
}

// Some versions write the header of 16 MiB of zeros at most, and nothing after it.
TEST(Avml, HeaderWithoutBytesIsZeros) {
  constexpr uint64_t kMost = 16 << 20;
  const auto says = HasSubstr("2 ranges of memory have no bytes (16781312 in all), as AVML leaves out zeros");
  for (const uint32_t version : {1, 2}) {
    const auto bytes = [&](uint64_t first, char byte) {
      return version == 1 ? lime_range(first, std::string(4096, byte)) : avml_range(first, 4096, repeated_chunk(byte));
    };
    const auto dump = open(bytes(0x1000, 'a') + avml_header(0x2000, kMost, version) +
                           avml_header(0x10000000, 4096, version) + bytes(0x20000000, 'b'));
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_THAT(warnings_of(**dump), IsEmpty());
    EXPECT_THAT(notices_of(**dump), Contains(says));
    ASSERT_EQ((*dump)->segments().size(), 4u);
    EXPECT_EQ((*dump)->memory_bytes(), 3 * 4096 + kMost);
    EXPECT_EQ(memory(**dump, 0x1000, 4096 + kMost + 1), kPageA + std::string(kMost, '\0'));
    EXPECT_EQ(memory(**dump, 0x10000000, 4096), std::string(4096, '\0'));
    EXPECT_EQ(memory(**dump, 0x20000000, 4096), kPageB);
    EXPECT_FALSE((*dump)->next_missing(PhysAddr(0)));
    // More than it leaves out, what comes after a lower address, and the end of the file are no zeros.
    for (const auto& [size, next] : {std::pair{kMost + 4096, uint64_t{0x20000000}}, {4096, 0x800}, {4096, 0}}) {
      const auto other = open(bytes(0x1000, 'a') + avml_header(0x2000, size, version) + (next ? bytes(next, 'b') : ""));
      ASSERT_TRUE(other) << other.error().text;
      EXPECT_THAT(warnings_of(**other), testing::Not(IsEmpty())) << size << " " << next;
      EXPECT_THAT(notices_of(**other), testing::Not(Contains(HasSubstr("leaves out zeros")))) << size << " " << next;
    }
  }
}

TEST(Lime, MemoryThatLooksLikeAHeaderIsMemory) {
  std::string page = avml_header(0x5000, 4096, 1) + kPageA;
  page.resize(4096);
  for (const std::string& rest : {std::string(), lime_range(0x9000, kPageB)}) {
    const auto dump = open(lime_range(0x1000, page) + rest);
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_EQ(memory(**dump, 0x1000, 4096), page);
    EXPECT_THAT(notices_of(**dump), testing::ElementsAre(HasSubstr("memory only")));
  }
}

// ---- memory without a header ----

TEST(RawMemory, IsWhatItsOpenerSays) {
  const std::string bytes =
      "\x7f"
      "ELF" +
      std::string(4092, 'x') + kPageB;  // looks may deceive
  const auto dump =
      open(bytes, {.progress = nullptr, .raw = reader::RawMemory{format::Machine::aarch64, PhysAddr(0x40000000)}});
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->machine(), format::Machine::aarch64);
  EXPECT_EQ((*dump)->foreign_format(), "raw memory");
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  EXPECT_THAT(notices_of(**dump), testing::ElementsAre("the dump has no vCPUs: it is memory without any header"));
  EXPECT_EQ(memory(**dump, 0x40000000, 5),
            "\x7f"
            "ELFx");
  EXPECT_EQ(memory(**dump, 0x40001000, 8192), kPageB);
  EXPECT_FALSE(open("", {.progress = nullptr, .raw = reader::RawMemory{}}));
}

// ---- VirtualBox: notes without the NUL in the sizes of their names ----

TEST(VirtualBoxCore, HasItsRegisters) {
  for (const uint32_t version : {0x10005u, 0x10006u}) {
    const auto dump =
        open(virtualbox_core(version, virtualbox_note("VBCPU", 0xb01, virtualbox_cpu(0x100, version)) +
                                          virtualbox_note("VBCPU", 0xb01, virtualbox_cpu(0x200, version))));
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_EQ((*dump)->foreign_format(), "VirtualBox core");
    EXPECT_THAT(warnings_of(**dump), IsEmpty());
    EXPECT_EQ(memory(**dump, 0, 4096), kPageA);
    ASSERT_EQ((*dump)->cpus().size(), 2u);
    const auto& registers = (*dump)->cpus()[1].registers;
    for (const auto& [name, value] : std::initializer_list<std::pair<const char*, uint64_t>>{
             {"rax", 0x200},
             {"rbx", 0x201},
             {"rsi", 0x204},
             {"r15", 0x20d},
             {"rip", 0x20e},
             {"rsp", 0x20f},
             {"rbp", 0x210},
             {"rflags", 0x211},
             {"cs", 0},
             {"ss", 40},
             {"gs_base", 0x216},
             {"cs_flags", 0xa09b00},
             {"cr0", 0x80050033},
             {"cr3", 0x1234005},
             {"cr4", 0x6f0},
             {"dr7", 0xd7},
             {"dr6", 0xd6},
             {"dr3", 0xd3},
             {"gdt_base", 0xfffffe0000001000},
             {"gdt_limit", 0xfff},
             {"idt_base", 0xfffffe0000000000},
             {"tr", 0x40},
             {"tr_base", 0xfffffe0000003000},
             {"efer", 0x300},
             {"star", 0x301},
             {"pat", 0x302},
             {"lstar", 0x303},
             {"kernel_gs_base", 0x306},
             {"apic_base", 0x307},
             {"xcr0", 7},
             {"fctrl", 0x37f},
             {"fstat", 0x3000},
             {"st0.lo", uint64_t{1} << 63},
             {"st0.hi", 0x3fff},
             // Physical 7, which is ST1, is zero and in use; 6 is a number; the others are empty.
             {"ftag", 0x4fff}})
      EXPECT_EQ(registers.get(name), value) << name << " of version " << std::hex << version;
    EXPECT_EQ(le(registers.get("xmm3.lo").value_or(0)), "xmm3 low");
    EXPECT_EQ(le(registers.get("ymm15h.lo").value_or(0)), "ymm15 hi");
    EXPECT_EQ((*dump)->cpus()[1].page_table, PhysAddr(0x1234000));
  }
}

TEST(VirtualBoxCore, DamageIsSaid) {
  const auto cut = open(virtualbox_core(0x10006, virtualbox_note("VBCPU", 0xb01, std::string(800, '\0'))));
  ASSERT_TRUE(cut) << cut.error().text;
  EXPECT_THAT(warnings_of(**cut), Contains(HasSubstr("has 800 bytes instead of 8776, and vCPU 0 no registers")));
  const auto newer = open(virtualbox_core(0x20000, virtualbox_note("VBCPU", 0xb01, virtualbox_cpu(1, 0x10006))));
  ASSERT_TRUE(newer);
  EXPECT_THAT(warnings_of(**newer), Contains(HasSubstr("have version 0x20000")));
}

// ---- Xen: sections, and no program headers ----

TEST(XenCore, HasItsMemoryAndRegisters) {
  const std::string numbers = le(uint64_t{0}) + le(uint64_t{1}) + le(~uint64_t{0}) + le(uint64_t{0x100000});
  const std::string page_c(4096, 'c');
  const auto dump =
      open(xen_core(".xen_pfn", numbers, kPageA + kPageB + kPageA + page_c, xen_vcpu(0x100) + xen_vcpu(0x200), 2));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->foreign_format(), "Xen core");
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  ASSERT_EQ((*dump)->segments().size(), 2u);
  EXPECT_EQ(memory(**dump, 0, 10000), kPageA + kPageB);
  EXPECT_EQ(memory(**dump, 0x100000000, 4096), page_c);
  ASSERT_EQ((*dump)->cpus().size(), 2u);
  const auto& registers = (*dump)->cpus()[1].registers;
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, uint64_t>>{{"r15", 0x200},
                                                                                           {"rbp", 0x204},
                                                                                           {"rax", 0x20a},
                                                                                           {"rdi", 0x20e},
                                                                                           {"rip", 0xffffffff81000100},
                                                                                           {"rsp", 0xffffc90000003f00},
                                                                                           {"rflags", 0x246},
                                                                                           {"cs", 0x10},
                                                                                           {"ss", 0x18},
                                                                                           {"cr3", 0x5003},
                                                                                           {"fs_base", 0x11},
                                                                                           {"gs_base", 0x22},
                                                                                           {"kernel_gs_base", 0x33},
                                                                                           {"mxcsr", 0x1f80},
                                                                                           {"fctrl", 0x37f},
                                                                                           {"ftag", 0xffff}})
    EXPECT_EQ(registers.get(name), value) << name;
  EXPECT_EQ((*dump)->cpus()[1].page_table, PhysAddr(0x5000));
}

TEST(XenCore, ParavirtualizedMemoryIsWhereItsTablesSay) {
  const auto dump = open(xen_core(".xen_p2m", le(uint64_t{0}) + le(uint64_t{7}) + le(uint64_t{1}) + le(uint64_t{3}),
                                  kPageA + kPageB, xen_vcpu(1), 1));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ(memory(**dump, 0x7000, 4096), kPageA);
  EXPECT_EQ(memory(**dump, 0x3000, 4096), kPageB);
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  EXPECT_THAT(notices_of(**dump), testing::ElementsAre(HasSubstr("paravirtualized")));
}

TEST(XenCore, ParavirtualizedKernelRunsInRing3) {
  const std::string pair = le(uint64_t{0}) + le(uint64_t{7}), number = le(uint64_t{0});
  struct Case {
    const char* table;
    uint16_t cs;
    uint64_t flags, gs_base;
  };
  for (const auto& [table, cs, flags, gs_base] : {Case{".xen_p2m", 0xe033, kXenFpu | kXenInKernel, 0x22},
                                                  {".xen_p2m", 0xe033, kXenFpu, 0x33},
                                                  {".xen_pfn", 0x33, kXenFpu | kXenInKernel, 0x33},
                                                  {".xen_pfn", 0x10, kXenFpu, 0x22}}) {
    const auto dump =
        open(xen_core(table, std::string_view(table) == ".xen_p2m" ? pair : number, kPageA, xen_vcpu(1, cs, flags), 1));
    ASSERT_TRUE(dump) << dump.error().text;
    ASSERT_EQ((*dump)->cpus().size(), 1u);
    const auto& registers = (*dump)->cpus()[0].registers;
    EXPECT_EQ(registers.get("cs"), cs);
    EXPECT_EQ(registers.get("gs_base"), gs_base) << table << " " << cs << " " << flags;
    EXPECT_EQ(registers.get("kernel_gs_base"), 0x55 - gs_base);
  }
}

TEST(XenCore, DamageIsSaid) {
  const std::string numbers = le(uint64_t{0}) + le(uint64_t{1});
  const auto fewer = open(xen_core(".xen_pfn", numbers, kPageA + kPageB, xen_vcpu(1), 4));
  ASSERT_TRUE(fewer) << fewer.error().text;
  EXPECT_THAT(warnings_of(**fewer), Contains(HasSubstr("says that there are 4 vCPUs; .xen_prstatus has 1")));
  const auto odd = open(xen_core(".xen_pfn", numbers, kPageA + kPageB, "short", 1));
  ASSERT_TRUE(odd) << odd.error().text;
  EXPECT_THAT(warnings_of(**odd), Contains(HasSubstr(".xen_prstatus has 5 bytes")));
  const auto none = open(xen_core(".xen_pfn", numbers, kPageA + kPageB, "", 1));
  ASSERT_TRUE(none) << none.error().text;
  EXPECT_THAT(warnings_of(**none), Contains(HasSubstr(".xen_prstatus has none")));
  const auto without = open(xen_core(".xen_else", numbers, kPageA + kPageB, xen_vcpu(1), 1));
  ASSERT_FALSE(without);
  EXPECT_THAT(without.error().text, HasSubstr("without its memory"));
  const std::string whole = xen_core(".xen_pfn", numbers, kPageA + kPageB, xen_vcpu(1), 1);
  for (size_t size = 0; size < whole.size(); size += 97) (void)open(whole.substr(0, size));
}

// ---- QEMU's mapped-ram (9.0 and later) ----

TEST(MappedRam, IsReadWhereItIs) {
  std::vector<bool> present(70, true);
  std::string pages;
  for (size_t i = 0; i < present.size(); ++i) {
    present[i] = i < 3 || (i > 7 && i < 60) || i == 69;
    pages += std::string(4096, present[i] ? static_cast<char>('!' + i) : '?');  // what the bitmap lacks is not memory
  }
  const auto dump = open(mapped_stream(present, pages));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->foreign_format(), "QEMU migration stream");
  EXPECT_THAT(warnings_of(**dump), IsEmpty());
  EXPECT_THAT(notices_of(**dump), Contains("the dump has no vCPUs: the stream has the state of none"));
  for (size_t i = 0; i < present.size(); ++i)
    EXPECT_EQ(memory(**dump, 4096 * i, 4096), std::string(4096, present[i] ? static_cast<char>('!' + i) : '\0')) << i;
  std::string wrong = mapped_stream(present, pages);
  wrong.resize((1 << 20) + 4096 * 20);
  const auto cut = open(wrong);
  ASSERT_TRUE(cut) << "its memory is there in part";
  EXPECT_EQ(memory(**cut, 0, 4096 * 3), pages.substr(0, 4096 * 3));
  const auto lost = (*cut)->next_missing(PhysAddr(4096 * 8));
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->address, PhysAddr(4096 * 20));
}

}  // namespace
}  // namespace gcore::tests
