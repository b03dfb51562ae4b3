// Guest memory: borders, overlaps, gaps, truncation, many segments.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <random>
#include <utility>
#include <vector>

#include "tests/reader/fixture.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

DumpBuilder with_note() {
  DumpBuilder builder;
  builder.note(two_cpus().build());
  return builder;
}

TEST(Memory, CrossesSegmentsAndStopsAtGaps) {
  DumpBuilder builder = with_note();
  builder.memory(0x2000, "cdef").memory(0x1ffe, "ab").memory(0x3000, "z");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1ffe, 6).first, "abcdef");
  EXPECT_EQ(read(*dump, 0x1ffe, 6).second, Missing::none);
  EXPECT_EQ(read(*dump, 0x1fff, 10).first, "bcdef");
  EXPECT_EQ(read(*dump, 0x1fff, 10).second, Missing::not_in_any_segment);
  EXPECT_EQ(read(*dump, 0, 1).second, Missing::not_in_any_segment);
  EXPECT_EQ(dump->memory_bytes(), 7u);
  EXPECT_EQ(dump->segments()[0].address, PhysAddr(0x1ffe));
  EXPECT_EQ(dump->segment_at(PhysAddr(0x1fff))->index, 2u);
  EXPECT_EQ(dump->segment_at(PhysAddr(0x2fff)), nullptr);
}

// Regular, with holes, and as unequal as can be; up to the last address.
TEST(Memory, FindsSegmentsInAnyLayout) {
  std::mt19937_64 random(5);
  const auto layouts = {
      +[](uint64_t i, std::mt19937_64&) { return std::pair(i * 0x1000, uint64_t{0x1000}); },
      +[](uint64_t i, std::mt19937_64&) { return std::pair(i * 0x3000, uint64_t{0x1001}); },
      +[](uint64_t i, std::mt19937_64&) { return std::pair(i * 3 + (i < 70 ? 0 : uint64_t{1} << 40), uint64_t{3}); },
      +[](uint64_t i, std::mt19937_64&) {
        return std::pair(i == 99 ? UINT64_MAX - 7 : i, uint64_t{i == 99 ? 8U : 1U});
      },
      +[](uint64_t i, std::mt19937_64&) { return std::pair(uint64_t{1} << i % 63, uint64_t{1} << i % 61); },
      +[](uint64_t, std::mt19937_64& r) { return std::pair(r() >> r() % 64, 1 + (r() >> (1 + r() % 63))); },
  };
  for (const auto layout : layouts)
    for (const uint64_t count : {1, 2, 7, 100}) {
      DumpBuilder builder = with_note();
      for (uint64_t i = 0; i < count; ++i) {
        const auto [address, size] = layout(i, random);
        builder.header({.address = address, .memory_size = size});
      }
      const auto dump = opened(builder);
      ASSERT_TRUE(dump);
      std::vector<uint64_t> addresses{0, UINT64_MAX};
      for (const reader::Segment& s : dump->segments())
        for (const uint64_t near : {uint64_t{0}, s.memory_size / 2, s.memory_size})
          for (const uint64_t by : {-1, 0, 1}) addresses.push_back(s.address.value + near + by);
      for (const uint64_t address : addresses) {
        const reader::Segment* expected = nullptr;
        for (const reader::Segment& s : dump->segments())
          if (address >= s.address.value && address - s.address.value < s.memory_size &&
              (expected == nullptr || s.index < expected->index))
            expected = &s;
        ASSERT_EQ(dump->segment_at(PhysAddr(address)), expected) << address << " of " << count;
      }
    }
}

TEST(Memory, ZeroTailAndLeftOut) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "ab", 4).header({.address = 0x1004, .memory_size = 4});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 8).first, std::string("ab\0\0", 4));
  EXPECT_EQ(read(*dump, 0x1000, 8).second, Missing::left_out);
}

// The four reasons at once, and beside them what is there.
TEST(Memory, EveryByteIsToldApart) {
  using Kind = reader::Dump::Extent::Kind;
  struct Stretch {
    uint64_t address, size;
    Kind kind;
    Missing why;
    bool zero_filled;
  };
  constexpr uint64_t kSize = 0x2000;
  DumpBuilder builder = with_note();
  builder
      .header({.address = 0x30000, .memory_size = 5})  // left out
      .memory(0x10000, "abc", 7)                       // four bytes that only p_memsz knows of
      .hole(0x20000, 0x40000 - 0x38000)
      .memory(0x40000, std::string(kSize, 'x'));
  const auto dump = opened(builder.cut(builder.build().size() - 0x1001));
  ASSERT_TRUE(dump);
  for (const auto& [address, size, kind, why, zero_filled] :
       {Stretch{0x10000, 3, Kind::data, Missing::none, false}, Stretch{0x10003, 4, Kind::zero, Missing::none, true},
        Stretch{0x20000, 0x8000, Kind::zero, Missing::none, false},
        Stretch{0x30000, 5, Kind::missing, Missing::left_out, false},
        Stretch{0x40000, kSize - 0x1001, Kind::data, Missing::none, false},
        Stretch{0x40000 + kSize - 0x1001, 0x1001, Kind::missing, Missing::file_truncated, false}}) {
    const auto extent = dump->next_extent(PhysAddr(address));
    ASSERT_TRUE(extent) << std::hex << address;
    EXPECT_EQ(extent->address.value, address);
    EXPECT_EQ(extent->size, size) << std::hex << address;
    EXPECT_EQ(extent->kind, kind) << std::hex << address;
    EXPECT_EQ(extent->why, why) << std::hex << address;
    EXPECT_EQ(extent->zero_filled, zero_filled) << std::hex << address;
    for (const uint64_t at : {address, address + size - 1}) {
      std::byte byte{0xff};
      const auto got = dump->read(PhysAddr(at), std::span(&byte, 1));
      EXPECT_EQ(got.bytes, kind == Kind::missing ? 0u : 1u) << std::hex << at;
      EXPECT_EQ(got.missing, why) << std::hex << at;
      EXPECT_EQ(got.zero_filled, zero_filled ? 1u : 0u) << std::hex << at;
      EXPECT_TRUE(kind != Kind::zero || byte == std::byte{0});
    }
  }
  for (const uint64_t outside : {0xffffull, 0x10007ull, 0x28000ull, 0x30005ull, 0x42000ull})
    EXPECT_EQ(read(*dump, outside, 1).second, Missing::not_in_any_segment) << std::hex << outside;
}

TEST(Memory, AReadCountsTheZerosThatTheFileLacks) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "ab", 4).memory(0x1004, "cdef").memory(0x1008, "g", 4).memory(0x1010, "h");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  std::array<std::byte, 32> bytes;
  const auto got = dump->read(PhysAddr(0x1001), bytes);
  EXPECT_EQ(got.bytes, 11u);
  EXPECT_EQ(got.zero_filled, 5u);
  EXPECT_EQ(got.missing, Missing::not_in_any_segment);
}

TEST(Memory, AnyOrderInTheTableReadsAlike) {
  DumpBuilder builder = with_note();
  builder.memory(0x3000, "three").memory(0x1000, "one").memory(0x2000, "two");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 3).first + read(*dump, 0x2000, 3).first + read(*dump, 0x3000, 5).first, "onetwothree");
  EXPECT_TRUE(std::ranges::is_sorted(dump->segments(), {}, &reader::Segment::address));
  EXPECT_THAT(dump->warnings(), testing::IsEmpty()) << "no format asks for an order; --verify tells it";
}

TEST(Memory, ASegmentThatIsThereTwiceIsReadFromTheFirst) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "first").memory(0x1000, "other");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 5).first, "first");
  EXPECT_EQ(dump->memory_bytes(), 5u);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("1 segment overlaps another one")));
}

TEST(Memory, FirstInTheTableWinsWhereSegmentsOverlap) {
  DumpBuilder builder = with_note();
  builder.memory(0x1004, "BBBB").memory(0x1000, "aaaaaaaaaaaa").memory(0x1006, "CCCCCCCC");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 14).first, "aaaaBBBBaaaaCC");
  EXPECT_EQ(dump->memory_bytes(), 14u);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("2 segments overlap another one")));
}

// A dump says of one place that it has bytes of it and that it has not: the bytes are there.
TEST(Memory, WhatTheFileHasCountsWhereSegmentsOverlap) {
  DumpBuilder left_out = with_note(), zeros = with_note(), truncated = with_note();
  left_out.header({.address = 0x1000, .memory_size = 0x4000}).memory(0x2000, "data");
  zeros.memory(0x1000, "ab", 0x4000).memory(0x2000, "data").memory(0x2002, "zz", 0x10);
  truncated.header({.offset = 1 << 20, .address = 0x1000, .file_size = 0x4000, .memory_size = 0x4000})
      .memory(0x1000, std::string(0x2000, 'c'))
      .header({.address = 0x1000, .memory_size = 0x3000});
  for (const DumpBuilder& builder : {left_out, zeros}) {
    const auto dump = opened(builder);
    ASSERT_TRUE(dump);
    EXPECT_EQ(read(*dump, 0x2000, 4).first, "data");
    EXPECT_EQ(dump->segment_at(PhysAddr(0x2000))->index, 2u);
    EXPECT_EQ(dump->segment_at(PhysAddr(0x3000))->index, 1u);
    EXPECT_EQ(dump->memory_bytes(), 0x4000u);
    EXPECT_THAT(dump->warnings(), ElementsAre(HasSubstr(" another one, of which what the file has counts, then the")));
  }
  EXPECT_EQ(read(*opened(left_out), 0x2000, 5).second, Missing::left_out);
  EXPECT_EQ(read(*opened(zeros), 0x1ffe, 8).first, std::string("\0\0data\0\0", 8));
  const auto dump = opened(truncated);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 0x4000).first, std::string(0x2000, 'c'));
  EXPECT_EQ(read(*dump, 0x3000, 1).second, Missing::left_out);
  EXPECT_EQ(read(*dump, 0x4000, 1).second, Missing::file_truncated);
  const auto gap = dump->next_missing(PhysAddr(0));
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->address, PhysAddr(0x3000));
  EXPECT_EQ(gap->size, 0x1000u);
  EXPECT_EQ(dump->next_missing(PhysAddr(0x5000)), std::nullopt);
}

// Segments of stored bytes, of zeros behind them, of bytes that the file lacks, and of none, against a look at each
// byte.
TEST(Memory, TheBestSegmentIsReadHoweverTheyOverlap) {
  struct Byte {
    enum Rank { stored, zero, left_out, truncated, nowhere } rank = nowhere;
    char value = '?';
  };
  constexpr Missing kMissing[] = {Missing::none, Missing::none, Missing::left_out, Missing::file_truncated,
                                  Missing::not_in_any_segment};
  constexpr uint64_t kFileEnd = 0x4000;
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    SCOPED_TRACE(round);
    DumpBuilder builder = with_note();
    builder.patch(kFileEnd - 16, std::string(16, 'e')).cut(kFileEnd);
    std::array<Byte, 64> expected;
    for (uint64_t i = 0; i < 12; ++i) {
      const uint64_t first = random() % 48, size = 1 + random() % 16,
                     in_file = random() % 3 == 0 ? 0 : 1 + random() % size,
                     there = random() % 2 == 0 ? in_file : random() % (in_file + 1);
      const bool whole = there == in_file;
      const uint64_t offset = whole ? 0x2000 + 16 * i : kFileEnd - there;
      const char value = whole ? char('A' + i) : 'e';
      builder.header({.offset = offset, .address = first, .file_size = in_file, .memory_size = size});
      if (whole) builder.patch(offset, std::string(size_t(in_file), value));
      for (uint64_t at = 0; at < size; ++at) {
        const Byte byte = in_file == 0   ? Byte{Byte::left_out}
                          : at < there   ? Byte{Byte::stored, value}
                          : at < in_file ? Byte{Byte::truncated}
                                         : Byte{Byte::zero, '\0'};
        if (byte.rank < expected[first + at].rank) expected[first + at] = byte;
      }
    }
    const auto dump = opened(builder);
    ASSERT_TRUE(dump);
    for (uint64_t at = 0; at < expected.size(); ++at) {
      const auto got = read(*dump, at, 1);
      EXPECT_EQ(got.second, kMissing[expected[at].rank]) << at;
      if (got.second == Missing::none) {
        EXPECT_EQ(got.first, std::string(1, expected[at].value)) << at;
      }
    }
  }
}

/// What the processor takes to open a dump of `count` segments, each over all that follow, zeros over stored bytes over
/// zeros.
std::clock_t time_to_open_overlapping(uint64_t count) {
  DumpBuilder builder = with_note();
  for (uint64_t i = 0; i < count; ++i)
    builder.header({.offset = 64, .address = i * 16, .file_size = 8, .memory_size = (2 * count - i) * 16});
  const std::clock_t start = std::clock();
  const auto dump = opened(builder);
  const std::clock_t time = std::clock() - start;
  EXPECT_TRUE(dump);
  if (!dump) return 0;
  EXPECT_EQ(dump->segment_at(PhysAddr(16 * (count - 1)))->index, count);
  EXPECT_EQ(dump->segment_at(PhysAddr(16 * (count - 1) + 8))->index, 1u);
  return time;
}

TEST(Memory, AHundredThousandSegmentsThatOverlapOpenAtOnce) {
  const std::clock_t few = time_to_open_overlapping(25'000), many = time_to_open_overlapping(100'000);
  EXPECT_LT(many, 10 * few) << "of the processor; with a look at each pair it would be 16 times";
}

TEST(Memory, EndOfTheAddressSpace) {
  DumpBuilder builder = with_note();
  builder.memory(0xfffffffffffffffc, "abcdefgh");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0xfffffffffffffffc, 8).first, "abcd");
  EXPECT_EQ(read(*dump, 0xfffffffffffffffc, 8).second, Missing::not_in_any_segment);
  EXPECT_EQ(read(*dump, 0xffffffffffffffff, 1).first, "d");
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("past the end of the address space")));
}

TEST(Memory, FileSizeLargerThanMemorySize) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "abcdefgh", 2);
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, 0x1000, 8).first, "abcdefgh");
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("p_filesz larger than p_memsz")));
}

TEST(Memory, TruncatedFile) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, std::string(8192, 'x')).cut(4096 + 5000);
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_TRUE(dump->truncated());
  EXPECT_EQ(dump->file_end(), 9096u);
  EXPECT_EQ(read(*dump, 0x1000, 8192).first.size(), 5000u);
  EXPECT_EQ(read(*dump, 0x1000, 8192).second, Missing::file_truncated);
  std::array<std::byte, 1> byte;
  EXPECT_EQ(describe(dump->read(PhysAddr(0x2fff), byte)), "the file is truncated at 9096");
  EXPECT_EQ(dump->describe(Missing::file_truncated), "the file is truncated at 9096");
  EXPECT_EQ(dump->bytes_in_file(dump->segments()[0]), 5000u);
  EXPECT_THAT(dump->warnings(),
              ElementsAre("1 segment not all of which the file has: the file is truncated at 9096 (the "
                          "first one: program header 1: 5000 of 8192 bytes at offset 4096)"));
}

TEST(Memory, AProgramHeaderThatShowsMemoryAgain) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "abcdefgh")
      .header(
          {.offset = 4098, .virtual_address = 0xffffffff81000000, .address = 0x1002, .file_size = 4, .memory_size = 4});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->segments().size(), 1u);
  ASSERT_EQ(dump->aliases().size(), 1u);
  EXPECT_EQ(dump->aliases()[0].index, 2u);
  EXPECT_EQ(dump->aliases()[0].virtual_address, reader::VirtAddr(0xffffffff81000000));
  EXPECT_THAT(dump->warnings(), testing::IsEmpty());
}

/// As in /proc/vmcore and in what makedumpfile -E makes of our vmcores, where the kernel's image has bytes of its own.
TEST(Memory, ASegmentThatShowsMemoryAgainWithBytesOfItsOwn) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "abcdefgh")
      .memory(0x9000, "cdef")
      .header(
          {.offset = 8192, .virtual_address = 0xffffffff81000000, .address = 0x1002, .file_size = 4, .memory_size = 4});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->segments().size(), 2u);
  ASSERT_EQ(dump->aliases().size(), 1u);
  EXPECT_EQ(dump->aliases()[0].index, 3u);
  EXPECT_EQ(read(*dump, 0x1000, 8).first, "abcdefgh");
  EXPECT_THAT(dump->warnings(), testing::IsEmpty());
}

/// makedumpfile -E copies the ELF header with the place of sections that it leaves out: memory is there.
TEST(Memory, SectionHeadersOfAnotherFileAreNoDefect) {
  const std::string memory(1024, '\x77');
  DumpBuilder builder = with_note();
  builder.memory(0x1000, memory).section(".gcore.info", "{}");
  std::string file = builder.build();
  const size_t place = file.find(memory);
  ASSERT_NE(place, std::string::npos);
  const auto with_sections_at = [&](uint64_t at) {
    for (size_t i = 0; i < 8; ++i) file[40 + i] = static_cast<char>(at >> (8 * i));
    TempDir folder;
    const auto dump = reader::Dump::open(folder.write("dump", file));
    EXPECT_TRUE(dump) << dump.error().text;
    return std::vector<std::string>((*dump)->warnings().begin(), (*dump)->warnings().end());
  };
  EXPECT_THAT(with_sections_at(place + 512), testing::IsEmpty());
  EXPECT_THAT(with_sections_at(file.size() - 16), Contains(HasSubstr("the section headers are of no use")));
}

TEST(Memory, FileThatShrinksWhileItIsOpen) {
  const int fd = small_dump(two_cpus().build()).descriptor();
  const int other = ::dup(fd);
  auto dump = reader::Dump::open_descriptor(fd, "x.gcore");
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(**dump, 0x1000, 16).first.size(), 16u);
  ASSERT_EQ(::ftruncate(other, 4096 + 10), 0);
  ::close(other);
  EXPECT_EQ(read(**dump, 0x1000, 16).first.size(), 10u);
  EXPECT_EQ(read(**dump, 0x1000, 16).second, Missing::file_truncated);
  EXPECT_EQ((*dump)->describe(Missing::file_truncated), "the file is truncated at 4106");
}

TEST(Memory, SeventyThousandSegments) {
  DumpBuilder builder = with_note();
  for (uint64_t i = 0; i < 70'000; ++i)
    builder.header({.offset = 64, .address = (70'000 - i) * 0x1000, .file_size = 8, .memory_size = 8});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->segments().size(), 70'000u);
  EXPECT_EQ(dump->segment_at(PhysAddr(69'999 * 0x1000ull))->index, 2u);
  EXPECT_EQ(read(*dump, 0x1000, 8).first.size(), 8u);
}

TEST(Memory, SixtyFourGibibytesOfHoles) {
  DumpBuilder builder = with_note();
  builder.hole(0, uint64_t{64} << 30).memory(uint64_t{64} << 30, "end");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(read(*dump, (uint64_t{64} << 30) - 2, 5).first, std::string("\0\0end", 5));
  const auto hole = dump->next_extent(PhysAddr(0));
  ASSERT_TRUE(hole);
  EXPECT_EQ(hole->kind, reader::Dump::Extent::Kind::zero);
  EXPECT_GT(hole->size, uint64_t{63} << 30);
}

TEST(Memory, ExtentsCoverAllMemoryOnce) {
  DumpBuilder builder = with_note();
  builder.memory(0x1000, "abcd", 16)
      .memory(0x1008, std::string(64, 'x'))
      .header({.address = 0x5000, .memory_size = 10});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  uint64_t total = 0, missing = 0;
  for (auto e = dump->next_extent(PhysAddr(0)); e; e = dump->next_extent(e->address + e->size)) {
    total += e->size;
    if (e->kind == reader::Dump::Extent::Kind::missing) missing += e->size;
  }
  EXPECT_EQ(total, dump->memory_bytes());
  EXPECT_EQ(missing, 10u);
}

}  // namespace
}  // namespace gcore::tests
