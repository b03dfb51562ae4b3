// Loading kernels: what a kernel finds in memory, and what is no kernel or does not fit. The files are made here, by
// the numbers of the kernel's own documentation (boot.rst, booting.rst) and of ACPI 6.5.
#include "tools/gcore-vmm/linux_boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

namespace gcore::tools::vmm {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMega = 1 << 20;

template <class T>
void put(std::string& file, size_t at, T value) {
  std::memcpy(file.data() + at, &value, sizeof value);
}
template <class T>
T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

/// A bzImage of protocol 2.15 with 1 sector of setup and a payload of `payload` bytes 'K'.
std::string bz_image(size_t payload = 100000, uint32_t init_size = 16 * kMega) {
  std::string file(1024 + payload, 'K');
  std::memset(file.data(), 0, 1024);
  put<uint8_t>(file, 0x1f1, 1);
  put<uint8_t>(file, 0x201, 0x6a);  // the header ends at 0x202 + this
  put<uint32_t>(file, 0x202, 0x53726448);
  put<uint16_t>(file, 0x206, 0x20f);
  put<uint32_t>(file, 0x22c, 0x7fffffff);
  put<uint16_t>(file, 0x236, 1);
  put<uint32_t>(file, 0x238, 2047);
  put<uint64_t>(file, 0x258, 16 * kMega);
  put<uint32_t>(file, 0x260, init_size);
  return file;
}

std::unique_ptr<GuestMemory> ram(std::initializer_list<GuestMemory::Request> ranges) {
  auto memory = GuestMemory::create(std::vector(ranges));
  EXPECT_TRUE(memory) << memory.error();
  return std::move(*memory);
}

struct Loaded {
  std::unique_ptr<GuestMemory> memory;
  std::expected<LinuxEntry, std::string> entry;
};
Loaded load(const std::string& kernel, const std::string& initrd = "", uint64_t size = 64 * kMega, size_t cpus = 2) {
  Loaded loaded{ram({{0, size}}), {}};
  loaded.entry = load_linux_x86_64(
      {.kernel = bytes(kernel), .initrd = bytes(initrd), .cmdline = "quiet", .cpus = cpus, .has_pvpanic = true},
      *loaded.memory);
  return loaded;
}

TEST(LinuxX86, TheKernelFindsItsParameters) {
  const std::string initrd(5000, 'I');
  const Loaded loaded = load(bz_image(), initrd);
  ASSERT_TRUE(loaded.entry) << loaded.entry.error();
  EXPECT_EQ(loaded.entry->pc, 16 * kMega + 0x200);
  const std::byte* page = loaded.memory->at(loaded.entry->parameters, 4096);
  EXPECT_EQ(get<uint32_t>(page + 0x202), 0x53726448U);
  EXPECT_EQ(get<uint8_t>(page + 0x210), 0xff);
  EXPECT_STREQ(reinterpret_cast<const char*>(loaded.memory->at(get<uint32_t>(page + 0x228), 6)), "quiet");
  EXPECT_EQ(get<uint32_t>(page + 0x21c), 5000U);
  const uint32_t at = get<uint32_t>(page + 0x218);
  EXPECT_EQ(at % 4096, 0U);
  EXPECT_GE(at, 32 * kMega);
  EXPECT_EQ(get<char>(loaded.memory->at(at + 4999, 1)), 'I');
  EXPECT_EQ(get<char>(loaded.memory->at(16 * kMega, 1)), 'K');
  // The map: memory below the BIOS's data, what is reserved, memory.
  ASSERT_EQ(get<uint8_t>(page + 0x1e8), 3);
  EXPECT_EQ(get<uint64_t>(page + 0x2d0), 0U);
  EXPECT_EQ(get<uint32_t>(page + 0x2d0 + 16), 1U);
  EXPECT_EQ(get<uint32_t>(page + 0x2d0 + 20 + 16), 2U);
  EXPECT_EQ(get<uint64_t>(page + 0x2d0 + 40), kMega);
  EXPECT_EQ(get<uint64_t>(page + 0x2d0 + 48), 63 * kMega);
  EXPECT_EQ(get<uint64_t>(page + 0x70), kAcpiTables);
}

struct Wrong {
  const char* what;
  std::string kernel, initrd;
  uint64_t ram;
  const char* why;
};

TEST(LinuxX86, WhatIsWrongIsSaidInOneLine) {
  std::string old = bz_image(), only32 = bz_image(), cut = bz_image(), high = bz_image();
  put<uint16_t>(old, 0x206, 0x20b);
  put<uint16_t>(only32, 0x236, 0);
  put<uint8_t>(cut, 0x1f1, 255);
  put<uint64_t>(high, 0x258, ~uint64_t{0} - 5);
  const Wrong wrongs[] = {
      {"an ELF file", "\177ELF" + std::string(5000, 'x'), "", 64 * kMega, "the kernel: not a bzImage"},
      {"no bytes to speak of", "x", "", 64 * kMega, "the kernel: not a bzImage"},
      {"too old", old, "", 64 * kMega, "without an entry point of 64-bit mode"},
      {"of 32 bits", only32, "", 64 * kMega, "without an entry point of 64-bit mode"},
      {"cut short", cut, "", 64 * kMega, "cut short"},
      {"loads at the end of everything", high, "", 64 * kMega, "more than the RAM of 64.0 MiB"},
      {"little RAM", bz_image(), "", 24 * kMega,
       "the kernel: it needs 16.0 MiB at 16.0 MiB, more than the RAM of 24.0 MiB"},
      {"large init_size", bz_image(1000, ~0U), "", 64 * kMega, "more than the RAM"},
      {"large initrd", bz_image(), std::string(33 * kMega, 'I'), 64 * kMega,
       "the initrd: 33.0 MiB do not fit into the 32.0 MiB of RAM after the kernel"},
      {"initrd larger than RAM", bz_image(), std::string(65 * kMega, 'I'), 64 * kMega,
       "the initrd: 65.0 MiB do not fit"},
  };
  for (const Wrong& wrong : wrongs) {
    const Loaded loaded = load(wrong.kernel, wrong.initrd, wrong.ram);
    ASSERT_FALSE(loaded.entry) << wrong.what;
    EXPECT_THAT(loaded.entry.error(), HasSubstr(wrong.why)) << wrong.what;
    EXPECT_THAT(loaded.entry.error(), Not(HasSubstr("\n"))) << wrong.what;
  }
  auto elsewhere = ram({{kMega, 64 * kMega}});
  EXPECT_FALSE(load_linux_x86_64({.kernel = bytes(old), .initrd = {}, .cmdline = ""}, *elsewhere));
  auto memory = ram({{0, 64 * kMega}});
  const std::string kernel = bz_image(), text(2048, 'c');
  const auto longer = load_linux_x86_64({.kernel = bytes(kernel), .initrd = {}, .cmdline = text}, *memory);
  ASSERT_FALSE(longer);
  EXPECT_THAT(longer.error(), HasSubstr("longer than the 2047 bytes"));
}

/// The sum that ACPI wants to be 0.
unsigned sum(const std::byte* at, size_t size) {
  unsigned total = 0;
  for (size_t i = 0; i < size; ++i) total += std::to_integer<unsigned>(at[i]);
  return total & 0xff;
}

TEST(LinuxX86, AcpiTablesAddUpAndNameEveryVcpu) {
  for (const size_t cpus : {size_t{1}, size_t{2}, size_t{64}}) {
    const Loaded loaded = load(bz_image(), "", 64 * kMega, cpus);
    ASSERT_TRUE(loaded.entry);
    const std::byte* rsdp = loaded.memory->at(kAcpiTables, 36);
    EXPECT_EQ(std::memcmp(rsdp, "RSD PTR ", 8), 0);
    EXPECT_EQ(sum(rsdp, 20), 0U);
    EXPECT_EQ(sum(rsdp, 36), 0U);
    const std::byte* xsdt = loaded.memory->at(get<uint64_t>(rsdp + 24), 36 + 16);
    EXPECT_EQ(std::memcmp(xsdt, "XSDT", 4), 0);
    EXPECT_EQ(get<uint32_t>(xsdt + 4), 36U + 16);
    EXPECT_EQ(sum(xsdt, 52), 0U);
    std::vector<std::string> names;
    for (const size_t entry : {36, 44}) {
      const uint64_t address = get<uint64_t>(xsdt + entry);
      const auto size = get<uint32_t>(loaded.memory->at(address, 8) + 4);
      const std::byte* table = loaded.memory->at(address, size);
      EXPECT_EQ(sum(table, size), 0U);
      names.emplace_back(reinterpret_cast<const char*>(table), 4);
      if (names.back() == "APIC") {
        EXPECT_EQ(get<uint32_t>(table + 36), 0xfee00000U);
        std::vector<size_t> seen;
        for (size_t at = 44; at < size; at += get<uint8_t>(table + at + 1))
          if (get<uint8_t>(table + at) == 0) seen.push_back(get<uint8_t>(table + at + 3));
        std::vector<size_t> all(cpus);
        std::iota(all.begin(), all.end(), 0);
        EXPECT_EQ(seen, all);
      } else {
        const uint64_t dsdt = get<uint64_t>(table + 140);
        const auto length = get<uint32_t>(loaded.memory->at(dsdt, 8) + 4);
        EXPECT_EQ(sum(loaded.memory->at(dsdt, length), length), 0U);
        const std::string_view code(reinterpret_cast<const char*>(loaded.memory->at(dsdt, length)), length);
        EXPECT_NE(code.find("QEMU0001"), std::string_view::npos);
        EXPECT_EQ(get<uint32_t>(loaded.memory->at(get<uint32_t>(table + 36), 64)), 0x53434146U);  // FACS
      }
    }
    EXPECT_THAT(names, testing::UnorderedElementsAre("FACP", "APIC"));
  }
}

std::string arm_image(uint64_t size = 4 * kMega) {
  std::string file(100000, 'K');
  put<uint64_t>(file, 8, 0);
  put<uint64_t>(file, 16, size);
  put<uint32_t>(file, 56, 0x644d5241);
  return file;
}

TEST(LinuxAarch64, TheKernelFindsItsTree) {
  const std::string kernel = arm_image(), initrd(5000, 'I');
  auto memory = ram({{0x40000000, 64 * kMega}});
  const auto entry = load_linux_aarch64({.kernel = bytes(kernel),
                                         .initrd = bytes(initrd),
                                         .cmdline = "quiet",
                                         .cpus = 3,
                                         .has_pvpanic = true,
                                         .has_watchdog = true},
                                        *memory);
  ASSERT_TRUE(entry) << entry.error();
  EXPECT_EQ(entry->pc, 0x40000000U);
  EXPECT_EQ(entry->parameters % 8, 0U);
  const std::byte* tree = memory->at(entry->parameters, 40);
  EXPECT_EQ(get<uint32_t>(tree), 0xedfe0dd0U);  // 0xd00dfeed, big-endian
  const uint32_t size = __builtin_bswap32(get<uint32_t>(tree + 4));
  const std::string_view text(reinterpret_cast<const char*>(memory->at(entry->parameters, size)), size);
  for (const char* wanted :
       {"cpu@0", "cpu@2", "arm,gic-v3", "ns16550a", "qemu,pvpanic-mmio", "arm,sp805", "hvc", "quiet"})
    EXPECT_NE(text.find(wanted), std::string_view::npos) << wanted;
  EXPECT_EQ(text.find("cpu@3"), std::string_view::npos);
}

TEST(LinuxAarch64, WhatIsWrongIsSaidInOneLine) {
  const std::string kernel = arm_image(), compressed = "\x1f\x8b" + std::string(5000, 'x'), huge(61 * kMega, 'I');
  auto memory = ram({{0x40000000, 64 * kMega}}), odd = ram({{0x40001000, 64 * kMega}}),
       small = ram({{0x40000000, 2 * kMega}});
  const auto why = [](const std::string& image, const std::string& initrd, GuestMemory& into) {
    const auto entry = load_linux_aarch64({.kernel = bytes(image), .initrd = bytes(initrd), .cmdline = ""}, into);
    return entry ? "loaded" : entry.error();
  };
  EXPECT_THAT(why(compressed, "", *memory), HasSubstr("not a raw Image"));
  EXPECT_THAT(why("x", "", *memory), HasSubstr("not a raw Image"));
  EXPECT_THAT(why(kernel, "", *odd), HasSubstr("multiple of 2 MiB"));
  EXPECT_THAT(why(kernel, "", *small), HasSubstr("more than the RAM of 2.0 MiB"));
  EXPECT_THAT(why(kernel, huge, *memory), HasSubstr("the initrd: 61.0 MiB do not fit"));
  EXPECT_THAT(why(arm_image(~uint64_t{0}), "", *memory), HasSubstr("more than the RAM"));
}

}  // namespace
}  // namespace gcore::tools::vmm
