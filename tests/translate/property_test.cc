// Random tables of every mode: translate, walk, read and list have to agree with what was built, and with each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "reader/translate/translator.h"
#include "tests/translate/guest_tables.h"

namespace gcore::tests {
namespace {

using reader::PhysAddr;
using reader::VirtAddr;
using translate::Mapping;
using translate::Translation;
using translate::Translator;

class PropertyTest : public testing::TestWithParam<TableKind> {
 protected:
  static constexpr uint64_t kSeeds = 12;
};

translate::Permissions permissions_of(const GuestTables::Leaf& leaf) {
  return {true, leaf.write, leaf.execute, leaf.user};
}

/// Addresses worth a look: edges and insides of leaves, their outer neighbours, and anything.
std::vector<uint64_t> addresses(const GuestTables& tables, std::mt19937_64& random) {
  std::vector<uint64_t> result;
  for (const auto& [start, leaf] : tables.leaves()) {
    for (uint64_t address : {start, start + leaf.size - 1, start + random() % leaf.size, start - 1, start + leaf.size})
      result.push_back(address);
  }
  for (int i = 0; i < 200; ++i) result.push_back(random() >> random() % 64);
  std::shuffle(result.begin(), result.end(), random);
  return result;
}

void check_translation(const GuestTables& tables, const Translator& translator, uint64_t address) {
  SCOPED_TRACE(testing::Message() << "address 0x" << std::hex << address);
  const auto got = translator.translate(VirtAddr(address), UINT64_MAX);
  const auto walk = translator.walk(VirtAddr(address));
  auto leaf = tables.leaf_at(address);
  ASSERT_EQ(got.has_value(), leaf != tables.leaves().end());
  ASSERT_EQ(walk.result.has_value(), got.has_value());
  if (!got) {
    EXPECT_EQ(walk.result.error().text, got.error().text);
    // What is said to have no translation has none.
    const uint64_t last = address + (got.error().contiguous - 1);
    ASSERT_GE(last, address);
    const auto next = tables.leaves().upper_bound(address);
    EXPECT_TRUE(next == tables.leaves().end() || next->first > last) << got.error().contiguous;
    return;
  }
  // They look at more or fewer neighbours.
  Translation walked = *walk.result;
  ASSERT_LE(walked.contiguous, got->contiguous);
  walked.contiguous = got->contiguous;
  EXPECT_EQ(walked, *got);
  EXPECT_EQ(translator.translate(VirtAddr(address))->contiguous, leaf->second.size - (address - leaf->first));
  EXPECT_EQ(got->address.value, leaf->second.physical + (address - leaf->first));
  EXPECT_EQ(got->page_size, leaf->second.size);
  EXPECT_EQ(got->permissions, permissions_of(leaf->second));
  ASSERT_GE(got->contiguous, leaf->second.size - (address - leaf->first));

  // What is said to be contiguous is.
  const uint64_t last = address + (got->contiguous - 1);
  ASSERT_GE(last, address);
  for (auto next = leaf; next->first + (next->second.size - 1) < last;) {
    const uint64_t end = next->first + next->second.size, physical = next->second.physical + next->second.size;
    ++next;
    ASSERT_NE(next, tables.leaves().end());
    ASSERT_EQ(next->first, end);
    ASSERT_EQ(next->second.physical, physical);
    ASSERT_EQ(permissions_of(next->second), got->permissions);
  }
}

TEST_P(PropertyTest, TranslateAndWalkAgreeWithTheModel) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const GuestTables tables(GetParam(), seed);
    ASSERT_FALSE(tables.leaves().empty());
    const Translator translator(tables.paging(), tables.reader());
    std::mt19937_64 random(seed);
    for (uint64_t address : addresses(tables, random)) {
      check_translation(tables, translator, address);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(PropertyTest, ListingIsTheModelMerged) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const GuestTables tables(GetParam(), seed);
    std::vector<Mapping> expected;
    for (const auto& [start, leaf] : tables.leaves()) {
      const Mapping next{VirtAddr(start), leaf.size, PhysAddr(leaf.physical), leaf.size, permissions_of(leaf)};
      Mapping* last = expected.empty() ? nullptr : &expected.back();
      if (last != nullptr && last->start.value + last->size == start &&
          last->physical.value + last->size == leaf.physical && last->page_size == leaf.size &&
          last->permissions == next.permissions)
        last->size += leaf.size;
      else
        expected.push_back(next);
    }
    const Translator translator(tables.paging(), tables.reader());
    std::vector<Mapping> got;
    const auto listing = translator.enumerate([&](const Mapping& mapping) { return got.push_back(mapping), true; });
    EXPECT_EQ(got, expected);
    EXPECT_EQ(listing.note, "");
    EXPECT_FALSE(listing.stopped);
  }
}

/// Reads byte by byte through the model; `result` gets the bytes, and whether the next one is mapped.
std::vector<std::byte> read_model(const GuestTables& tables, uint64_t address, size_t size, bool& mapped) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < size; ++i) {
    const auto leaf = tables.leaf_at(address + i);
    mapped = leaf != tables.leaves().end() && address + i >= address;
    if (!mapped) break;
    std::byte byte;
    if (tables.read(PhysAddr(leaf->second.physical + (address + i - leaf->first)), {&byte, 1}).bytes == 0) break;
    bytes.push_back(byte);
  }
  return bytes;
}

TEST_P(PropertyTest, ReadAgreesWithTheModel) {
  const GuestTables tables(GetParam(), 99);
  const Translator translator(tables.paging(), tables.reader());
  std::mt19937_64 random(99);
  auto starts = addresses(tables, random);
  starts.resize(std::min<size_t>(starts.size(), 100));
  for (uint64_t address : starts) {
    SCOPED_TRACE(testing::Message() << "address 0x" << std::hex << address);
    std::vector<std::byte> buffer(random() % 40000);
    bool mapped = true;
    const auto expected = read_model(tables, address, buffer.size(), mapped);
    const auto got = translator.read(VirtAddr(address), buffer);
    ASSERT_EQ(got.bytes, expected.size());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), buffer.begin()));
    if (got.bytes == buffer.size()) {
      EXPECT_EQ(got.why, "");
      continue;
    }
    EXPECT_NE(got.why, "");
    EXPECT_EQ(got.unmapped, !mapped);
    EXPECT_EQ(got.missing, mapped ? reader::Missing::left_out : reader::Missing::none);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, PropertyTest, testing::ValuesIn(table_kinds().begin(), table_kinds().end()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace gcore::tests
