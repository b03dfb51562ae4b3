#include "tools/gcore-vmm/guest_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/support/temp_dir.h"

namespace gcore::tools::vmm {
namespace {

using format::Machine;
using testing::HasSubstr;

std::unique_ptr<GuestMemory> memory_of(uint64_t address, uint64_t size) {
  const GuestMemory::Request request{address, size};
  return std::move(*GuestMemory::create({&request, 1}));
}

// A program with one segment; tests spoil it at the offsets of the ELF specification.
std::vector<std::byte> tiny_program() {
  std::vector<std::byte> elf(64 + 56 + 16);
  const auto put = [&](size_t at, uint64_t value, size_t bytes) { std::memcpy(elf.data() + at, &value, bytes); };
  std::memcpy(elf.data(), "\177ELF\2\1\1", 7);
  put(16, 2, 2);             // e_type: an executable
  put(18, 62, 2);            // e_machine: x86_64
  put(24, 0x10000, 8);       // e_entry
  put(32, 64, 8);            // e_phoff
  put(54, 56, 2);            // e_phentsize
  put(56, 1, 2);             // e_phnum
  put(64, 1, 4);             // p_type: PT_LOAD
  put(64 + 8, 120, 8);       // p_offset
  put(64 + 24, 0x10000, 8);  // p_paddr
  put(64 + 32, 16, 8);       // p_filesz
  put(64 + 40, 4096, 8);     // p_memsz
  std::memcpy(elf.data() + 120, "sixteen bytes ok", 16);
  return elf;
}

TEST(LoadProgram, PutsSegmentsAtTheirGuestPhysicalAddress) {
  const auto memory = memory_of(0, 1 << 20);
  const auto entry = load_program(tiny_program(), Machine::x86_64, *memory);
  ASSERT_TRUE(entry) << entry.error();
  EXPECT_EQ(*entry, 0x10000u);
  EXPECT_EQ(std::memcmp(memory->at(0x10000, 17), "sixteen bytes ok", 17), 0);
}

TEST(LoadProgram, TellsWhatIsWrong) {
  const auto memory = memory_of(0, 1 << 20);
  const auto error = [&](size_t at, uint64_t value, size_t bytes) {
    auto elf = tiny_program();
    std::memcpy(elf.data() + at, &value, bytes);
    const auto entry = load_program(elf, Machine::x86_64, *memory);
    return entry ? "it loaded" : entry.error();
  };
  EXPECT_THAT(error(0, 0, 1), HasSubstr("not an ELF file"));
  EXPECT_THAT(error(4, 1, 1), HasSubstr("not a little-endian ELF64"));
  EXPECT_THAT(error(5, 2, 1), HasSubstr("not a little-endian ELF64"));
  EXPECT_THAT(error(16, 3, 2), HasSubstr("not an executable"));
  EXPECT_THAT(error(18, 183, 2), HasSubstr("another machine"));
  EXPECT_THAT(error(24, 0x200000, 8), HasSubstr("entry point 0x200000"));
  EXPECT_THAT(error(32, ~uint64_t{0}, 8), HasSubstr("program headers are damaged"));
  EXPECT_THAT(error(56, 0xffff, 2), HasSubstr("program headers are damaged"));
  EXPECT_THAT(error(64, 2, 4), HasSubstr("nothing to load"));
  EXPECT_THAT(error(64 + 8, ~uint64_t{0}, 8), HasSubstr("not all in the file"));
  EXPECT_THAT(error(64 + 32, 17, 8), HasSubstr("not all in the file"));
  EXPECT_THAT(error(64 + 40, 8, 8), HasSubstr("not all in the file"));
  EXPECT_THAT(error(64 + 24, 0x1000, 8), HasSubstr("boot area"));
  EXPECT_THAT(error(64 + 24, 0xfffff, 8), HasSubstr("not inside one 'ram' range"));
  EXPECT_THAT(error(64 + 24, ~uint64_t{15}, 8), HasSubstr("not inside one 'ram' range"));
}

TEST(LoadProgram, TakesNoTruncatedFile) {
  const auto memory = memory_of(0, 1 << 20);
  const auto elf = tiny_program();
  for (size_t size = 0; size < elf.size(); ++size)
    EXPECT_FALSE(load_program({elf.data(), size}, Machine::x86_64, *memory)) << size;
}

TEST(LoadProgram, LoadsTheBuiltInGuests) {
  const auto low = memory_of(0, 16 << 20);
  EXPECT_EQ(load_program(builtin_guest(Machine::x86_64), Machine::x86_64, *low).value(), 0x100000u);
  EXPECT_THAT(load_program(builtin_guest(Machine::x86_64), Machine::aarch64, *low).error(),
              HasSubstr("another machine"));
  const auto high = memory_of(0x40000000, 16 << 20);
  EXPECT_EQ(load_program(builtin_guest(Machine::aarch64), Machine::aarch64, *high).value(), 0x40100000u);
}

TEST(LoadProgramFile, TellsWhyAFileCannotBeLoaded) {
  const auto memory = memory_of(0, 1 << 20);
  const tests::TempDir dir;
  EXPECT_THAT(load_program_file(dir.path("none"), Machine::x86_64, *memory).error(), HasSubstr("No such file"));
  EXPECT_THAT(load_program_file(dir.path(), Machine::x86_64, *memory).error(), HasSubstr("not a regular file"));
  EXPECT_THAT(load_program_file(dir.write("empty", ""), Machine::x86_64, *memory).error(), HasSubstr("empty"));
  EXPECT_THAT(load_program_file(dir.write("text", "hello"), Machine::x86_64, *memory).error(), HasSubstr("not an ELF"));
}

}  // namespace
}  // namespace gcore::tools::vmm
