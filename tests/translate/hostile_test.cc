// Tables that no guest has: walks and listings end, within their limits, and say what they left out.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "reader/translate/translator.h"
#include "tests/translate/fake_memory.h"

namespace gcore::tests {
namespace {

using reader::PhysAddr;
using reader::VirtAddr;
using translate::Limits;
using translate::Listing;
using translate::Mapping;
using translate::Translator;

translate::Paging long_mode(uint64_t root, bool five_levels = false) {
  translate::X86Registers registers;
  registers.cr0 = 0x80000001;
  registers.cr3 = root;
  registers.cr4 = five_levels ? 0x1020 : 0x20;
  registers.efer = 0xd00;
  return *translate::x86_paging(registers);
}

translate::Paging granule_64k(uint64_t root) {
  return *translate::aarch64_paging({.sctlr = 1,
                                     .tcr = 0xc | 1 << 14 | 0xc << 16 | uint64_t{3} << 30,
                                     .ttbr0 = root,
                                     .ttbr1 = root,
                                     .id_aa64mmfr0 = {}});
}

struct Counts {
  uint64_t mappings = 0, bytes = 0;
};

Listing list(const Translator& translator, Counts& counts, const Limits& limits = {}) {
  return translator.enumerate(
      [&](const Mapping& mapping) {
        ++counts.mappings;
        counts.bytes += mapping.size;
        return true;
      },
      limits);
}

/// Memory in which every 8 bytes, at any address, are the same.
translate::ReadPhysical constant(uint64_t entry) {
  return [entry](PhysAddr address, std::span<std::byte> into) {
    for (size_t i = 0; i < into.size(); ++i) into[i] = static_cast<std::byte>(entry >> 8 * ((address.value + i) % 8));
    return reader::ReadResult{into.size(), reader::Missing::none};
  };
}

TEST(Hostile, RootWhoseEveryEntryPointsToItself) {
  FakeMemory memory;
  for (uint64_t at = 0x1000; at < 0x2000; at += 8) memory.store(at, 0x1003, 8);
  for (bool five_levels : {false, true}) {
    const Translator translator(long_mode(0x1000, five_levels), memory.reader());
    Counts counts;
    const Limits limits;
    const Listing listing = list(translator, counts, limits);
    EXPECT_LE(listing.table_visits, uint64_t{five_levels ? 5u : 4u} * limits.visits_per_table + 2);
    EXPECT_GT(listing.skipped_tables, 0u);
    EXPECT_NE(listing.note, "");
    EXPECT_FALSE(listing.stopped);
    EXPECT_EQ(translator.translate(VirtAddr(0x123456789abc))->address.value, 0x1abcu);
  }
}

TEST(Hostile, EveryEntryOfMemoryIsATable) {
  // Each entry names one table more, at its own address with another bit: nothing repeats, so that only the budget ends
  // it.
  const translate::ReadPhysical read = [](PhysAddr address, std::span<std::byte> into) {
    for (size_t i = 0; i + 8 <= into.size(); i += 8) {
      const uint64_t entry = ((address.value + i) * 512 & 0xffffffffff000) | 3;
      std::memcpy(&into[i], &entry, 8);
    }
    return reader::ReadResult{into.size(), reader::Missing::none};
  };
  const Translator translator(long_mode(0x1000), read);
  Counts counts;
  const Listing listing = list(translator, counts, {.table_visits = 5000, .visits_per_table = 16});
  EXPECT_EQ(listing.table_visits, 5000u);
  EXPECT_TRUE(listing.stopped);
  EXPECT_EQ(listing.note.find("stopped after 5000 table visits"), 0u) << listing.note;
}

TEST(Hostile, EveryAddressMapsOnePage) {
  // 2^36 leaves, all the same page.
  const Translator translator(long_mode(0x1000), constant(0x7007));
  Counts counts;
  const Listing listing = list(translator, counts);
  EXPECT_GT(counts.mappings, 0u);
  EXPECT_LE(counts.mappings, listing.table_visits * 512);
  EXPECT_LE(listing.table_visits, 5 * 16u);
}

TEST(Hostile, LargeTablesCostMore) {
  const Translator translator(granule_64k(0x10000), constant(0x10003));
  Counts counts;
  const Listing listing = list(translator, counts, {.table_visits = 20, .visits_per_table = 16});
  EXPECT_TRUE(listing.stopped);
  EXPECT_LE(listing.table_visits, 20u);
}

TEST(Hostile, NoMemoryAtAll) {
  const FakeMemory nothing;
  const Translator translator(long_mode(0x1000), nothing.reader());
  Counts counts;
  const Listing listing = list(translator, counts);
  EXPECT_EQ(counts.mappings, 0u);
  EXPECT_EQ(listing.missing_tables, 2u);  // the root, once for each half
  EXPECT_FALSE(listing.stopped);
  const auto fault = translator.translate(VirtAddr(0)).error();
  EXPECT_EQ(fault.kind, translate::Fault::Kind::table_missing);
  EXPECT_EQ(fault.text, "PML4E at 0x1000 cannot be read: it is in no segment of the dump");
}

TEST(Hostile, TableThatIsInMemoryInPart) {
  // Memory begins and ends in the middle of the table, at no multiple of a piece.
  const translate::ReadPhysical read = [](PhysAddr address, std::span<std::byte> into) {
    size_t i = 0;
    for (; i < into.size(); ++i) {
      const uint64_t at = address.value + i;
      if (at < 0x1018 || at >= 0x1034) break;
      into[i] = std::byte{0};
    }
    return reader::ReadResult{i, i == into.size() ? reader::Missing::none : reader::Missing::file_truncated};
  };
  const Translator translator(long_mode(0x1000), read);
  auto kind = [&](uint64_t index) { return translator.translate(VirtAddr(index << 39)).error().kind; };
  using Kind = translate::Fault::Kind;
  EXPECT_EQ(kind(2), Kind::table_missing);
  EXPECT_EQ(kind(3), Kind::not_present);
  EXPECT_EQ(kind(5), Kind::not_present);
  EXPECT_EQ(kind(6), Kind::table_missing);  // cut in its middle
}

TEST(Hostile, TheReceiverStopsTheListing) {
  const Translator translator(long_mode(0x1000), constant(0x7007));
  int calls = 0;
  const Listing listing = translator.enumerate([&](const Mapping&) { return ++calls < 3; });
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(listing.stopped);
  EXPECT_EQ(listing.note.find("stopped by the receiver"), 0u) << listing.note;
}

}  // namespace
}  // namespace gcore::tests
