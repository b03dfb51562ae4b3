// Searching, against a search that does nothing clever.
#include "reader/search/search.h"

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/reader/fixture.h"

namespace gcore::tests {
namespace {

using reader::AddressSpace;
using reader::Dump;
using reader::PhysAddr;
using reader::Search;
using reader::VirtAddr;
using testing::ElementsAre;
using testing::IsEmpty;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::vector<uint64_t> all(Search search, uint64_t budget = 1 << 20, size_t max_hits = SIZE_MAX) {
  std::vector<uint64_t> hits;
  for (bool more = true; more;) {
    const size_t before = hits.size();
    more = search.step(hits, budget, max_hits);
    EXPECT_LE(hits.size() - before, max_hits);
  }
  EXPECT_EQ(search.problem(), "");
  return hits;
}

std::vector<uint64_t> all(const Dump& dump, const std::string& pattern, uint64_t first = 0,
                          uint64_t last = UINT64_MAX) {
  return all(Search::in_memory(dump, PhysAddr(first), PhysAddr(last), bytes(pattern)));
}

/// Where `pattern` is in memory given as runs of adjoining bytes.
std::vector<uint64_t> naive(const std::map<uint64_t, std::string>& runs, const std::string& pattern, uint64_t first,
                            uint64_t last) {
  std::vector<uint64_t> hits;
  for (const auto& [address, run] : runs)
    for (size_t at = run.find(pattern); at != std::string::npos; at = run.find(pattern, at + 1))
      if (address + at >= first && address + at + pattern.size() - 1 <= last) hits.push_back(address + at);
  return hits;
}

TEST(Search, FindsWhatANaiveSearchFinds) {
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 40; ++round) {
    // Segments that adjoin or leave a gap; of few kinds of byte, so that patterns occur and nearly occur; with pages of
    // zeros, and zeros that the file does not have.
    DumpBuilder builder;
    builder.note(two_cpus().build());
    std::map<uint64_t, std::string> runs;
    uint64_t address = 0x1000;
    for (size_t segment = 0; segment < 5; ++segment) {
      std::string data;
      for (size_t page = 0; page < 1 + below(40); ++page) {
        const size_t size = below(4) == 0 ? 512 : 4096;
        data.append(size, '\0');
        if (below(3) != 0)
          for (size_t i = data.size() - size; i < data.size(); ++i) data[i] = static_cast<char>(below(3));
      }
      data.resize((data.size() + 511) / 512 * 512);
      const size_t zeros = below(3) * 5000;
      builder.memory(address, data, data.size() + zeros);
      data.append(zeros, '\0');
      if (!runs.empty() && runs.rbegin()->first + runs.rbegin()->second.size() == address)
        runs.rbegin()->second += data;
      else
        runs[address] = data;
      address += data.size() + below(2) * 0x3000;
    }
    const auto dump = opened(builder);
    ASSERT_TRUE(dump);
    for (const size_t size : {1, 2, 5, 9, 14}) {
      const auto& run = std::next(runs.begin(), static_cast<long>(below(runs.size())))->second;
      if (run.size() < size) continue;
      const std::string pattern = run.substr(below(run.size() - size + 1), size);
      const uint64_t first = below(2) == 0 ? 0 : 0x1000 + below(9000), last = first + below(2 * address);
      const auto expected = naive(runs, pattern, first, last);
      for (const unsigned threads : {1U, 3U}) {
        Search search = Search::in_memory(*dump, PhysAddr(first), PhysAddr(last), bytes(pattern));
        search.share({.threads = threads, .part = 1 + below(20'000)});
        const size_t max_hits = below(2) == 0 ? SIZE_MAX : 1 + expected.size() / 8;
        EXPECT_EQ(all(std::move(search), 1 + below(100'000), max_hits), expected) << round << ' ' << size;
      }
    }
  }
}

TEST(Search, PassesOverHolesOfAnySize) {
  DumpBuilder builder;
  builder.note(two_cpus().build())
      .memory(0x1000, std::string(4094, 'x') + "ab", 0x1'0000'0000)
      .memory(0x1'0000'1000, "cd" + std::string(4094, 'x'));
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_THAT(all(*dump, std::string("b\0", 2)), ElementsAre(0x1fff));
  EXPECT_THAT(all(*dump, std::string("\0\0c", 3)), ElementsAre(0x1'0000'0ffe));
  EXPECT_THAT(all(*dump, "bc"), IsEmpty());
  auto search = Search::in_memory(*dump, PhysAddr(0x1ff0), PhysAddr(UINT64_MAX), bytes(std::string(8, '\0')));
  std::vector<uint64_t> hits;
  EXPECT_TRUE(search.step(hits, 4096, 3));
  EXPECT_THAT(hits, ElementsAre(0x2000, 0x2001, 0x2002));
  EXPECT_TRUE(search.step(hits, 4096, 2));
  EXPECT_THAT(hits, ElementsAre(0x2000, 0x2001, 0x2002, 0x2003, 0x2004));
}

TEST(Search, HandsOutMoreHitsThanThreadsFindAhead) {
  // 20,000 hits, of which each of the many parts has thousands; and one in the last byte.
  std::string memory(100'000, 'a');
  for (size_t i = 1; i < 40'000; i += 2) memory[i] = 'b';
  memory.replace(memory.size() - 2, 2, "ba");
  const auto dump = opened(DumpBuilder().note(two_cpus().build()).memory(0x1000, memory));
  ASSERT_TRUE(dump);
  for (const size_t part : {4000, 20'000, 60'000})
    for (const size_t max_hits : {size_t{1000}, size_t{7000}, SIZE_MAX}) {
      Search search = Search::in_memory(*dump, PhysAddr(0), PhysAddr(UINT64_MAX), bytes("ba"));
      search.share({.threads = 4, .part = part});
      EXPECT_EQ(all(std::move(search), UINT64_MAX, max_hits), naive({{0x1000, memory}}, "ba", 0, UINT64_MAX)) << part;
    }
}

TEST(Search, CountsEachByteOnce) {
  const auto dump = opened(DumpBuilder()
                               .note(two_cpus().build())
                               .memory(0x1000, std::string(300'000, 'a'), 900'000)
                               .memory(0x200000, std::string(70'000, 'a')));
  ASSERT_TRUE(dump);
  for (const unsigned threads : {1U, 3U}) {
    Search search = Search::in_memory(*dump, PhysAddr(0), PhysAddr(UINT64_MAX), bytes("aab"));
    search.share({.threads = threads, .part = 10'000});
    std::vector<uint64_t> hits;
    while (search.step(hits, 100'000)) continue;
    EXPECT_EQ(search.searched(), 970'000u);
  }
}

/// Memory from 0 on, with x86_64 page tables whose root is at 0x1000.
DumpBuilder with_tables(const std::string& memory) {
  QnxNote note;
  note.extra_names = {"cr0", "cr3", "cr4", "efer"};
  note.cpus = {{.registers = {{"cr0", 0x80000001}, {"cr3", 0x1000}, {"cr4", 0x20}, {"efer", 0xd00}}}};
  return DumpBuilder().note(note.build()).memory(0, memory);
}

TEST(Search, FollowsAnAddressSpace) {
  // 0x8080604000 and the page behind it are two pages that lie apart, and in the other order, in physical memory.
  Bytes image;
  image.put(0x1008, 0x4007, 8)
      .put(0x4010, 0x5007, 8)
      .put(0x5018, 0x6007, 8)
      .put(0x6020, 0x9007, 8)
      .put(0x6028, 0x8007, 8);
  std::string memory = image.pad_to(0x10000).str();
  memory.replace(0x9ffd, 3, "gco").replace(0x8000, 2, "re");
  const auto dump = opened(with_tables(memory));
  ASSERT_TRUE(dump);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  const auto look = [&](uint64_t first, uint64_t last) {
    return all(Search::in_space(*dump, *space, VirtAddr(first), VirtAddr(last), bytes("gcore")));
  };
  EXPECT_THAT(look(0, UINT64_MAX), ElementsAre(0x8080604ffd));
  EXPECT_THAT(look(0x8080604ffd, 0x8080605001), ElementsAre(0x8080604ffd));
  EXPECT_THAT(look(0x8080604ffe, UINT64_MAX), IsEmpty());
  EXPECT_THAT(look(0, 0x8080605000), IsEmpty());
  EXPECT_THAT(all(*dump, "gcore"), IsEmpty()) << "it is not contiguous in physical memory";
}

/// A session has others to serve meanwhile: no step reads more tables than its budget is worth.
TEST(Search, ListsAnAddressSpaceInSteps) {
  constexpr size_t kTables = 256;
  constexpr uint64_t kFirst = 0x100000;
  Bytes image;
  image.put(0x1000, 0x4007, 8).put(0x4000, 0x5007, 8);
  for (uint64_t i = 0; i < kTables; ++i)
    image.put(0x5000 + i * 8, (kFirst + i * 0x1000) | 7, 8).put(kFirst + i * 0x1000, 0x8007, 8);
  std::string memory = image.pad_to(kFirst + kTables * 0x1000).str();
  memory.replace(0x8000, 5, "gcore");
  const auto dump = opened(with_tables(memory));
  ASSERT_TRUE(dump);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  Search search = Search::in_space(*dump, *space, VirtAddr(0), VirtAddr(UINT64_MAX), bytes("gcore"));
  std::vector<uint64_t> hits;
  size_t steps_before_hits = 0;
  while (search.step(hits, 16 << 10)) steps_before_hits += hits.empty() ? 1 : 0;
  EXPECT_GE(steps_before_hits, kTables);
  EXPECT_EQ(hits.size(), kTables);
  EXPECT_EQ(search.problem(), "");
}

TEST(Search, JoinsNothingAcrossAMissingEndOfAPage) {
  // The page behind the one whose second half the dump lacks is at the next address, but is not next to "gco".
  Bytes image;
  image.put(0x1000, 0x4007, 8)
      .put(0x4000, 0x5007, 8)
      .put(0x5000, 0x6007, 8)
      .put(0x6000, 0x9007, 8)
      .put(0x6008, 0x8007, 8);
  std::string memory = image.pad_to(0x9800).str();
  memory.replace(0x97fd, 3, "gco").replace(0x8000, 2, "re");
  const auto dump = opened(with_tables(memory));
  ASSERT_TRUE(dump);
  const auto space = AddressSpace::of_cpu(*dump, 0);
  ASSERT_TRUE(space) << space.error().text;
  const auto look = [&](const char* pattern) {
    return all(Search::in_space(*dump, *space, VirtAddr(0), VirtAddr(UINT64_MAX), bytes(pattern)));
  };
  EXPECT_THAT(look("gco"), ElementsAre(0x7fd));
  EXPECT_THAT(look("re"), ElementsAre(0x1000));
  EXPECT_THAT(look("gcore"), IsEmpty());
}

TEST(Search, SaysWhatCouldNotBeRead) {
  auto builder = small_dump(two_cpus().build());
  const size_t size = builder.build().size();
  const auto dump = opened(builder.cut(size - 100));
  ASSERT_TRUE(dump);
  EXPECT_EQ(all(*dump, "cc").size(), 4096 - 101u) << "a truncated file's missing end is passed over";
}

}  // namespace
}  // namespace gcore::tests
