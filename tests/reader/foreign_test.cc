// Files of other makers, made here byte by byte from their formats' public descriptions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "reader/dump/dump.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Dump;
using reader::PhysAddr;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

template <typename T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string big(uint64_t value, int bytes) {
  std::string text;
  for (int at = bytes - 1; at >= 0; --at) text += static_cast<char>(value >> (8 * at));
  return text;
}

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

// ---- LiME ----

std::string lime_range(uint64_t first, const std::string& bytes) {
  return "EMiL" + le<uint32_t>(1) + le(first) + le(first + bytes.size() - 1) + le<uint64_t>(0) + bytes;
}

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
  EXPECT_THAT(warnings_of(**dump), testing::ElementsAre("the dump has no vCPUs: a LiME image has memory only"));
}

TEST(Lime, MachineIsThatOfTheKernelInIt) {
  std::string image(0x210000, '\0');
  image.replace(0x200000 + 56, 4, "ARM\x64");
  const auto dump = open(lime_range(0x40000000, image));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->machine(), format::Machine::aarch64);
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
    EXPECT_THAT(warnings_of(**dump), Contains(testing::AnyOf(HasSubstr("is lost"), HasSubstr("not all of which"),
                                                             HasSubstr("memory only"))));
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

std::string le24(size_t value) { return le(static_cast<uint32_t>(value)).substr(0, 3); }

/// CRC-32C by its definition, masked as snappy's framing has it.
uint32_t masked_sum(const std::string& bytes) {
  uint32_t sum = ~uint32_t{0};
  for (const char byte : bytes)
    for (int bit = 0; bit < 8; ++bit) {
      const bool one = ((sum ^ static_cast<uint8_t>(byte) >> bit) & 1) != 0;
      sum = sum >> 1 ^ (one ? 0x82f63b78 : 0);
    }
  sum = ~sum;
  return (sum >> 15 | sum << 17) + 0xa282ead8;
}

std::string plain_chunk(const std::string& bytes) {
  return '\1' + le24(bytes.size() + 4) + le(masked_sum(bytes)) + bytes;
}
/// A page of one byte: a literal of it, and copies of what came before.
std::string repeated_chunk(char byte) {
  std::string data = "\x80\x20";  // 4096 as a varint
  data += std::string(1, '\0') + byte;
  for (int left = 4095; left > 0; left -= 64)
    data += static_cast<char>((std::min(left, 64) - 1) << 2 | 2) + std::string("\1\0", 2);
  return '\0' + le24(data.size() + 4) + le(masked_sum(std::string(4096, byte))) + data;
}
std::string avml_range(uint64_t first, uint64_t size, const std::string& chunks) {
  const std::string stream = "\xff" + le24(6) + "sNaPpY" + chunks;
  return "AVML" + le<uint32_t>(2) + le(first) + le(first + size - 1) + le<uint64_t>(0) + stream +
         le<uint64_t>(stream.size());
}

TEST(Avml, ChunksAreMemory) {
  const std::string padding = "\xfe" + le24(3) + "xyz";
  const auto dump = open(avml_range(0x1000, 8192, plain_chunk(kPageA) + padding + repeated_chunk('b')) +
                         avml_range(0x100000000, 4096, repeated_chunk('c')));
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ((*dump)->foreign_format(), "AVML image");
  ASSERT_EQ((*dump)->segments().size(), 2u);
  EXPECT_FALSE((*dump)->has_file_offsets());
  EXPECT_EQ(memory(**dump, 0x1000, 8192), kPageA + kPageB);
  EXPECT_EQ(memory(**dump, 0x1fff, 2), "ab");
  EXPECT_EQ(memory(**dump, 0x100000000, 4096), std::string(4096, 'c'));
  EXPECT_THAT(warnings_of(**dump), testing::ElementsAre("the dump has no vCPUs: an AVML image has memory only"));
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
  EXPECT_FALSE(open("AVML" + le<uint32_t>(2) + std::string(24, '\0')));
  EXPECT_FALSE(open("AVML" + le<uint32_t>(3) + std::string(24, '\0')));
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
  EXPECT_EQ(memory(**dump, 0x40000000, 5),
            "\x7f"
            "ELFx");
  EXPECT_EQ(memory(**dump, 0x40001000, 8192), kPageB);
  EXPECT_FALSE(open("", {.progress = nullptr, .raw = reader::RawMemory{}}));
}

// ---- VirtualBox: notes without the NUL in the sizes of their names ----

std::string padded(std::string text) {
  text.resize((text.size() + 8) / 8 * 8);
  return text;
}

std::string virtualbox_note(const std::string& name, uint32_t type, const std::string& content) {
  return le(static_cast<uint32_t>(name.size())) + le(static_cast<uint32_t>(content.size())) + le(type) + padded(name) +
         content;
}

std::string segment(uint64_t base, uint32_t limit, uint32_t attributes, uint16_t selector) {
  return le(base) + le(limit) + le(attributes) + le(selector) + std::string(6, '\0');
}

/// DBGFCORECPU of a vCPU whose registers are numbered from `first` on.
std::string virtualbox_cpu(uint64_t first, uint32_t version) {
  std::string cpu;
  uint64_t next = first;
  for (int i = 0; i < 18; ++i) cpu += le(next++);
  for (uint16_t i = 0; i < 6; ++i) cpu += segment(next++, 0xffffffff, 0xa09b, static_cast<uint16_t>(8 * i));
  for (const uint64_t control : {uint64_t{0x80050033}, next, uint64_t{0x1234005}, uint64_t{0x6f0}}) cpu += le(control);
  for (int i = 0; i < 8; ++i) cpu += le(uint64_t{0xd0} + static_cast<uint64_t>(i));
  for (const uint64_t table : {0xfffffe0000001000, 0xfffffe0000000000}) cpu += le(table) + le(0xfffu) + le(0u);
  cpu += segment(0, 0, 0, 0) + segment(0xfffffe0000003000, 0x67, 0x8b, 0x40);
  for (int i = 0; i < 3; ++i) cpu += le(uint64_t{0x5e0} + static_cast<uint64_t>(i));
  for (int i = 0; i < 8; ++i) cpu += le(uint64_t{0x300} + static_cast<uint64_t>(i));
  if (version >= 0x10006) cpu += le(uint64_t{0x777});  // TSC_AUX
  cpu += le(uint64_t{7}) + le(uint64_t{0});
  if (version >= 0x10006) cpu += le(8192u) + le(0u);
  std::string extended(8192, '\0');
  const uint16_t status = 6 << 11;  // TOP is 6: two registers are in use, physical 6 and 7
  std::memcpy(extended.data(), "\x7f\x03", 2);
  std::memcpy(extended.data() + 2, &status, 2);
  extended[4] = static_cast<char>(0xc0);
  const uint64_t one = uint64_t{1} << 63, exponent = 0x3fff;
  std::memcpy(extended.data() + 32, &one, 8);
  std::memcpy(extended.data() + 40, &exponent, 8);
  extended.replace(160 + 16 * 3, 8, "xmm3 low");
  extended[512] = 7;
  extended.replace(576 + 16 * 15, 8, "ymm15 hi");
  return cpu + extended;
}

std::string virtualbox_core(uint32_t version, const std::string& cpus) {
  const std::string notes =
      virtualbox_note("VBCORE", 0xb00, le(0xc01ac0deu) + le(version) + le(24u) + le(0x70000u) + le(1u) + le(2u)) + cpus;
  const auto program_header = [](uint32_t type, uint64_t offset, uint64_t address, uint64_t size) {
    return le(type) + le(0u) + le(offset) + le(uint64_t{0}) + le(address) + le(size) + le(size) + le(uint64_t{0});
  };
  const uint64_t notes_at = 64 + 2 * 56;
  return std::string(
             "\x7f"
             "ELF\x02\x01\x00",
             7) +
         std::string(9, '\0') + le<uint16_t>(4) + le<uint16_t>(62) + le(1u) + le(uint64_t{0}) + le(uint64_t{64}) +
         le(uint64_t{0}) + le(0u) + le<uint16_t>(64) + le<uint16_t>(56) + le<uint16_t>(2) + le<uint16_t>(64) +
         le<uint16_t>(0) + le<uint16_t>(0) + program_header(4, notes_at, 0, notes.size()) +
         program_header(1, notes_at + notes.size(), 0, 4096) + notes + kPageA;
}

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

/// vcpu_guest_context of x86_64 in kernel mode.
std::string xen_vcpu(uint64_t first) {
  std::string context(5168, '\0');
  const auto put = [&](size_t at, auto value) { std::memcpy(context.data() + at, &value, sizeof value); };
  put(512, uint64_t{1});  // VGCF_i387_valid
  put(0, uint16_t{0x37f});
  put(24, 0x1f80u);
  for (size_t i = 0; i < 15; ++i) put(520 + 8 * i, first + i);
  put(520 + 128, uint64_t{0xffffffff81000100});
  put(520 + 136, uint16_t{0x10});
  put(520 + 144, uint64_t{0x246});
  put(520 + 152, uint64_t{0xffffc90000003f00});
  put(520 + 160, uint16_t{0x18});
  for (const auto& [number, value] :
       std::initializer_list<std::pair<size_t, uint64_t>>{{0, 0x80050033}, {2, 0x7f00}, {3, 0x5003}, {4, 0x6f0}})
    put(4984 + 8 * number, value);
  put(5144, uint64_t{0x11});
  put(5152, uint64_t{0x22});
  put(5160, uint64_t{0x33});
  return context;
}

std::string xen_core(const std::string& numbers_name, const std::string& numbers, const std::string& pages,
                     const std::string& cpus, uint64_t said) {
  const std::string note = le(4u) + le(32u) + le(0x2000001u) + std::string("Xen\0", 4) + le(uint64_t{0xf00febee}) +
                           le(said) + le(pages.size() / 4096) + le(uint64_t{4096});
  const std::vector<std::pair<std::string, std::string>> contents{
      {"", ""}, {".note.Xen", note}, {".xen_prstatus", cpus}, {numbers_name, numbers}, {".xen_pages", pages}};
  std::string names, headers, data;
  const uint64_t data_at = 64 + 64 * (contents.size() + 1);
  const auto header = [&](const std::string& name, uint32_t type, const std::string& content) {
    headers += le(static_cast<uint32_t>(names.size())) + le(type) + le(uint64_t{0}) + le(uint64_t{0}) +
               le(data_at + data.size()) + le(uint64_t{content.size()}) + le(uint64_t{0}) + le(uint64_t{8}) +
               le(uint64_t{0});
    names += name + '\0';
    data += content;
  };
  for (const auto& [name, content] : contents) header(name, name.empty() ? 0 : 1, content);
  const std::string all_names = names + ".shstrtab" + '\0';
  header(".shstrtab", 3, all_names);
  return std::string(
             "\x7f"
             "ELF\x02\x01\x01",
             7) +
         std::string(9, '\0') + le<uint16_t>(4) + le<uint16_t>(62) + le(1u) + le(uint64_t{0}) + le(uint64_t{0}) +
         le(uint64_t{64}) + le(0u) + le<uint16_t>(64) + le<uint16_t>(56) + le<uint16_t>(0) + le<uint16_t>(64) +
         le(static_cast<uint16_t>(contents.size() + 1)) + le(static_cast<uint16_t>(contents.size())) + headers + data;
}

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
  EXPECT_THAT(warnings_of(**dump), Contains(HasSubstr("paravirtualized")));
}

TEST(XenCore, DamageIsSaid) {
  const std::string numbers = le(uint64_t{0}) + le(uint64_t{1});
  const auto fewer = open(xen_core(".xen_pfn", numbers, kPageA + kPageB, xen_vcpu(1), 4));
  ASSERT_TRUE(fewer) << fewer.error().text;
  EXPECT_THAT(warnings_of(**fewer), Contains(HasSubstr("says that there are 4 vCPUs; .xen_prstatus has 1")));
  const auto odd = open(xen_core(".xen_pfn", numbers, kPageA + kPageB, "short", 1));
  ASSERT_TRUE(odd) << odd.error().text;
  EXPECT_THAT(warnings_of(**odd), Contains(HasSubstr(".xen_prstatus has 5 bytes")));
  const auto without = open(xen_core(".xen_else", numbers, kPageA + kPageB, xen_vcpu(1), 1));
  ASSERT_FALSE(without);
  EXPECT_THAT(without.error().text, HasSubstr("without its memory"));
  const std::string whole = xen_core(".xen_pfn", numbers, kPageA + kPageB, xen_vcpu(1), 1);
  for (size_t size = 0; size < whole.size(); size += 97) (void)open(whole.substr(0, size));
}

// ---- QEMU's mapped-ram (9.0 and later) ----

constexpr uint64_t kList = 4, kEnd = 16, kMultifdFlush = 0x200;

/// A stream of a machine whose memory has `pages`, of which the bitmap has those in `present`.
std::string mapped_stream(const std::vector<bool>& present, const std::string& pages) {
  const auto name = [](const std::string& text) { return big(text.size(), 1) + text; };
  std::string head = "QEVM" + big(3, 4) + big(7, 1) + big(11, 4) + "pc-q35-10.0" + big(5, 1) +
                     name("configuration/capabilities") + big(1, 4) + big(1, 4) + name("mapped-ram") + big(1, 1) +
                     big(2, 4) + name("ram") + big(0, 4) + big(4, 4) + big(pages.size() | kList, 8) + name("pc.ram") +
                     big(pages.size(), 8);
  const uint64_t bitmap_at = head.size() + 28, pages_at = 1 << 20;
  head += big(1, 4) + big(4096, 8) + big(bitmap_at, 8) + big(pages_at, 8);
  std::string bitmap((present.size() + 63) / 64 * 8, '\0');
  for (size_t i = 0; i < present.size(); ++i)
    if (present[i]) bitmap[i / 8] = static_cast<char>(bitmap[i / 8] | 1 << (i % 8));
  head += bitmap;
  head.resize(pages_at);
  return head + pages + big(kEnd, 8) + big(0x7e, 1) + big(2, 4) + big(2, 1) + big(2, 4) + big(kMultifdFlush, 8) +
         big(kEnd, 8) + big(0x7e, 1) + big(2, 4) + big(0, 1) + big(6, 1) + big(15, 4) + "{\"devices\": []}";
}

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
