// The translator's own promises: sentences, caches, threads, runs.
#include "reader/translate/translator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/translate/fake_memory.h"
#include "tests/translate/guest_tables.h"

namespace gcore::tests {
namespace {

using reader::PhysAddr;
using reader::VirtAddr;
using translate::Step;
using translate::Translator;

translate::Paging long_mode(uint64_t root) {
  translate::X86Registers registers;
  registers.cr0 = 0x80000001;
  registers.cr3 = root;
  registers.cr4 = 0x20;
  registers.efer = 0xd00;
  return *translate::x86_paging(registers);
}

/// 0x400000 and the 99 pages after it, to contiguous memory at 0x100000.
FakeMemory hundred_pages() {
  FakeMemory memory;
  memory.store(0x1000, 0x2007, 8);
  memory.store(0x2000, 0x3007, 8);
  memory.store(0x3010, 0x4007, 8);
  for (uint64_t i = 0; i < 100; ++i) memory.store(0x4000 + 8 * i, (0x100000 + 4096 * i) | 7, 8);
  for (uint64_t i = 0; i < 90; ++i) memory.store(0x100000 + 4096 * i, i + 1, 8);
  return memory;
}

TEST(Translator, SaysWhereAndWhy) {
  const FakeMemory memory = hundred_pages();
  const Translator translator(long_mode(0x1000), memory.reader());
  const auto why = [&](uint64_t address) { return translator.translate(VirtAddr(address)).error().text; };
  EXPECT_EQ(why(0x200000), "PDE at 0x3008 is 0x0: not present");
  EXPECT_EQ(why(0x464000), "PTE at 0x4320 is 0x0: not present");
  EXPECT_EQ(why(0x800000000000), "0x800000000000 is not a canonical address of 48 bits: bits 63:47 are not all equal");
}

TEST(Translator, SaysHowFarNothingIsMapped) {
  FakeMemory memory = hundred_pages();
  memory.store(0x4000 + 8 * 120, 0x180007, 8);
  const Translator translator(long_mode(0x1000), memory.reader());
  const auto size = [&](uint64_t address) { return translator.translate(VirtAddr(address)).error().contiguous; };
  EXPECT_EQ(size(0x200000), 0x200000u);  // up to the next table
  EXPECT_EQ(size(0x3ff001), 0xfffu);
  EXPECT_EQ(size(0x464abc), 20 * 4096 - 0xabcu);  // up to the next page
  EXPECT_EQ(size(0x479000), 7 * 4096u);           // to the end of what was read of the table
  EXPECT_EQ(size(0x800000000000), 1u);            // no address
}

TEST(Translator, WalkShowsEachEntry) {
  const FakeMemory memory = hundred_pages();
  const Translator translator(long_mode(0x1000), memory.reader());
  const auto walk = translator.walk(VirtAddr(0x401234));
  ASSERT_EQ(walk.steps.size(), 4u);
  EXPECT_STREQ(walk.steps[0].level, "PML4E");
  EXPECT_EQ(walk.steps[2].entry_address.value, 0x3010u);
  EXPECT_EQ(walk.steps[2].entry, 0x4007u);
  EXPECT_EQ(walk.steps[2].meaning, Step::Meaning::table);
  EXPECT_EQ(walk.steps[2].target.value, 0x4000u);
  EXPECT_EQ(walk.steps[3].meaning, Step::Meaning::page);
  EXPECT_EQ(walk.steps[3].page_size, 4096u);
  EXPECT_EQ(walk.note, "");

  const auto fault = translator.walk(VirtAddr(0x200000));
  ASSERT_EQ(fault.steps.size(), 3u);
  EXPECT_EQ(fault.steps[2].meaning, Step::Meaning::not_present);
}

TEST(Translator, ReadsRunByRun) {
  const FakeMemory memory = hundred_pages();
  std::atomic<int> reads = 0;
  const Translator translator(long_mode(0x1000), [&](PhysAddr address, std::span<std::byte> into) {
    ++reads;
    return memory.read(address, into);
  });
  std::vector<std::byte> buffer(64 * 4096);
  EXPECT_EQ(translator.read(VirtAddr(0x400000), buffer).bytes, buffer.size());
  EXPECT_LE(reads, 5);  // four tables, one run
  EXPECT_EQ(buffer[63 * 4096], std::byte{64});
}

TEST(Translator, ReadStopsInFrontOfWhatIsMissing) {
  const FakeMemory memory = hundred_pages();
  const Translator translator(long_mode(0x1000), memory.reader());
  std::vector<std::byte> buffer(16 * 4096);
  const auto lost = translator.read(VirtAddr(0x400000 + 80 * 4096), buffer);
  EXPECT_EQ(lost.bytes, 10u * 4096);
  EXPECT_EQ(lost.why, "0x45a000 maps to physical 0x15a000, which cannot be read: it is in no segment of the dump");
  EXPECT_FALSE(lost.unmapped);
  EXPECT_EQ(lost.missing, reader::Missing::not_in_any_segment);
  const auto unmapped = translator.read(VirtAddr(0x3ff000), buffer);
  EXPECT_EQ(unmapped.bytes, 0u);
  EXPECT_EQ(unmapped.why, "PDE at 0x3008 is 0x0: not present");
  EXPECT_TRUE(unmapped.unmapped);
}

TEST(Translator, ReadEndsWithTheAddressSpace) {
  FakeMemory memory;
  for (uint64_t at : {0x1ff8, 0x2ff8, 0x3ff8, 0x4ff8}) memory.store(at, (at & ~uint64_t{0xfff}) + 0x1007, 8);
  memory.add_page(0x5000);
  memory.store(0x1000, 0x2007, 8);
  memory.store(0x2000, 0x3007, 8);
  memory.store(0x3000, 0x4007, 8);
  memory.store(0x4000, 0x5007, 8);  // address 0 is mapped as well
  const Translator translator(long_mode(0x1000), memory.reader());
  std::vector<std::byte> buffer(8192);
  const auto got = translator.read(VirtAddr(0xfffffffffffff000), buffer);
  EXPECT_EQ(got.bytes, 4096u);
  EXPECT_EQ(got.why, "the address space ends");
}

TEST(Translator, RepeatedTranslationReadsNothing) {
  const FakeMemory memory = hundred_pages();
  int reads = 0;
  const Translator translator(long_mode(0x1000), [&](PhysAddr address, std::span<std::byte> into) {
    ++reads;
    return memory.read(address, into);
  });
  const auto first = translator.translate(VirtAddr(0x401234));
  EXPECT_EQ(reads, 4);
  ASSERT_TRUE(first);
  EXPECT_EQ(*translator.translate(VirtAddr(0x401234)), *first);
  EXPECT_EQ(reads, 4);
  ASSERT_TRUE(translator.translate(VirtAddr(0x402000)));  // in the same tables
  EXPECT_EQ(reads, 4);
}

TEST(Translator, ThreadsShareTheCaches) {
  for (const TableKind& kind : table_kinds()) {
    const GuestTables tables(kind, 5);
    const Translator shared(tables.paging(), tables.reader());
    std::vector<uint64_t> addresses;
    for (const auto& [start, leaf] : tables.leaves()) addresses.push_back(start + leaf.size / 2);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937_64 random(thread);
        for (int i = 0; i < 3000; ++i) {
          const uint64_t address = addresses[random() % addresses.size()];
          const auto leaf = tables.leaf_at(address);
          const auto got = shared.translate(VirtAddr(address));
          if (!got || got->address.value != leaf->second.physical + (address - leaf->first)) ++wrong;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0) << kind.name;
  }
}

TEST(Translator, TagsAreStripped) {
  const GuestTables tables(table_kinds()[4], 1);
  const Translator arm(tables.paging(), tables.reader());
  EXPECT_EQ(arm.without_tag(VirtAddr(0xab12345678901234)).value, 0x0000345678901234u);
  EXPECT_EQ(arm.without_tag(VirtAddr(0x00fe345678901234)).value, 0xffff345678901234u);
  const Translator x86(long_mode(0x1000), tables.reader());
  EXPECT_EQ(x86.without_tag(VirtAddr(0xab12345678901234)).value, 0xab12345678901234u);
}

}  // namespace
}  // namespace gcore::tests
