// Compressed dumps are read where they are, at any place, by several threads; damaged ones say so.
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <random>
#include <thread>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBase = 0x100000;
constexpr size_t kMiB = size_t{1} << 20;

/// 7 MiB: what does not compress, text that does, and zeros.
const std::string& memory() {
  static const std::string bytes = [] {
    std::mt19937_64 random(4);
    std::string out;
    for (size_t i = 0; i < 2 * kMiB / 8; ++i) out += Bytes().u64(random()).str();
    out.append(2 * kMiB + 12345, '\0');
    while (out.size() < 7 * kMiB) out += std::to_string(random() % 100'000) + " and so on, ";
    return out.substr(0, 7 * kMiB);
  }();
  return bytes;
}

DumpBuilder large_dump() {
  DumpBuilder builder;
  builder.note(two_cpus().build()).memory(kBase, memory());
  return builder;
}

const std::string& plain() {
  static const std::string bytes = large_dump().build();
  return bytes;
}

std::unique_ptr<reader::Dump> opened_bytes(const std::string& bytes, const reader::OpenOptions& options = {}) {
  auto dump = reader::Dump::open_descriptor(file_of(bytes), "x.gcore", options);
  EXPECT_TRUE(dump) << dump.error().text;
  return dump ? std::move(*dump) : nullptr;
}

std::string error_of_bytes(const std::string& bytes) {
  auto dump = reader::Dump::open_descriptor(file_of(bytes), "x.gcore");
  return dump ? "(opened)" : dump.error().text;
}

/// Compares `count` reads at random places with what the guest had.
size_t differences(const reader::Dump& dump, unsigned seed, int count) {
  std::mt19937 random(seed);
  size_t wrong = 0;
  for (int i = 0; i < count; ++i) {
    const size_t at = random() % memory().size();
    const size_t size = std::min<size_t>(random() % 10'000, memory().size() - at);
    wrong += read(dump, kBase + at, size).first != memory().substr(at, size);
  }
  return wrong;
}

struct Shape {
  const char* name;
  const char* compression;
  std::function<std::string()> pack;
};

class EveryShape : public testing::TestWithParam<Shape> {};

TEST_P(EveryShape, ReadsAtAnyPlaceFromAnyThread) {
  const auto dump = opened_bytes(GetParam().pack());
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->compression(), GetParam().compression);
  EXPECT_THAT(dump->warnings(), IsEmpty());
  EXPECT_EQ(dump->file_size(), plain().size());
  EXPECT_EQ(dump->cpus().size(), 2u);
  std::array<size_t, 4> wrong{};
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < wrong.size(); ++i) threads.emplace_back([&, i] { wrong[i] = differences(*dump, i, 60); });
  }
  EXPECT_THAT(wrong, ElementsAre(0u, 0u, 0u, 0u));
  EXPECT_TRUE(read(*dump, kBase, memory().size()).first == memory());
}

TEST_P(EveryShape, ExtentsAndViewsHaveTheSameBytes) {
  const auto dump = opened_bytes(GetParam().pack());
  ASSERT_TRUE(dump);
  uint64_t covered = 0;
  for (auto extent = dump->next_extent(PhysAddr(0)); extent;
       extent = dump->next_extent(extent->address + extent->size)) {
    covered += extent->size;
    EXPECT_NE(extent->kind, reader::Dump::Extent::Kind::missing);
    const std::string_view there = std::string_view(memory()).substr(extent->address.value - kBase, extent->size);
    if (extent->kind == reader::Dump::Extent::Kind::zero) {
      EXPECT_EQ(there.find_first_not_of('\0'), there.npos);
    }
  }
  EXPECT_EQ(covered, memory().size());
  for (uint64_t at = 0; at < memory().size();) {
    const reader::View view = dump->view(PhysAddr(kBase + at), 300'000);
    ASSERT_GT(view.bytes().size(), 0u) << at;
    const std::string_view bytes(reinterpret_cast<const char*>(view.bytes().data()), view.bytes().size());
    ASSERT_TRUE(bytes == std::string_view(memory()).substr(at, bytes.size())) << at;
    at += bytes.size();
  }
  EXPECT_EQ(dump->view(PhysAddr(kBase + memory().size()), 1).missing(), Missing::not_in_any_segment);
}

std::string gzip_1(std::string_view bytes) { return gzip_member(bytes, 1); }

INSTANTIATE_TEST_SUITE_P(
    Container, EveryShape,
    testing::Values(
        Shape{"plain", "none", [] { return plain(); }}, Shape{"gzip_1", "gzip", [] { return gzip_member(plain(), 1); }},
        Shape{"gzip_9", "gzip", [] { return gzip_member(plain(), 9); }},
        Shape{"gzip_stored", "gzip", [] { return gzip_member(plain(), 0); }},
        Shape{"gzip_members_of_64_KiB", "gzip", [] { return in_pieces(plain(), 65280, gzip_1); }},
        Shape{"gzip_members_and_padding", "gzip",
              [] { return in_pieces(plain(), 3'000'000, gzip_1) + std::string(5000, '\0'); }},
        Shape{"zstd_seekable", "zstd", [] { return zstd_seekable(plain()); }},
        Shape{"zstd_seekable_small_frames", "zstd", [] { return zstd_seekable(plain(), 70'001); }},
        Shape{"zstd_one_frame", "zstd", [] { return zstd_frame(plain()); }},
        Shape{"zstd_frames", "zstd",
              [] { return in_pieces(plain(), 999'999, [](std::string_view part) { return zstd_frame(part); }); }},
        Shape{"zstd_frames_of_unknown_size", "zstd",
              [] {
                return in_pieces(plain(), 1'999'999, [](std::string_view part) { return zstd_frame(part, false); });
              }},
        Shape{"zstd_between_skippable_frames", "zstd",
              [] { return skippable_frame("first") + zstd_frame(plain()) + skippable_frame("last", 0x184d2a5f); }},
        Shape{"flattened", "flattened", [] { return flattened(plain()); }},
        Shape{"flattened_gzip", "flattened", [] { return gzip_member(flattened(plain()), 1); }}),
    [](const auto& test) { return test.param.name; });

TEST(Container, ProgressIsToldToTheEnd) {
  const std::string packed = gzip_1(plain());
  uint64_t last = 0, total = 0;
  const auto dump = opened_bytes(packed, {.progress = [&](uint64_t done, uint64_t all) {
                                   EXPECT_GE(done, last);
                                   last = done, total = all;
                                 }});
  ASSERT_TRUE(dump);
  EXPECT_EQ(last, packed.size());
  EXPECT_EQ(total, packed.size());
}

TEST(Container, CutOffIsReadableUpToThere) {
  const std::string gzip = gzip_1(plain()), seekable = zstd_seekable(plain());
  for (const std::string& whole : {gzip, seekable}) {
    const auto dump = opened_bytes(whole.substr(0, whole.size() / 2));
    ASSERT_TRUE(dump);
    EXPECT_TRUE(dump->truncated());
    EXPECT_THAT(dump->warnings(), Contains(HasSubstr("data ends early; the ")));
    const uint64_t there = dump->file_size() - 4096;
    EXPECT_GT(there, kMiB / 2);
    const auto [bytes, missing] = read(*dump, kBase, memory().size());
    EXPECT_TRUE(bytes == memory().substr(0, there));
    EXPECT_EQ(missing, Missing::file_truncated);
    EXPECT_EQ(read(*dump, kBase + there, 1).second, Missing::file_truncated);
  }
}

TEST(Container, DamagedFrameLosesOnlyItself) {
  std::string packed = zstd_seekable(plain());
  packed[kMiB + 1000] ^= 0x55;  // in the second frame, whose bytes do not compress
  const auto dump = opened_bytes(packed);
  ASSERT_TRUE(dump);
  const size_t first = kMiB - 4096, second = 2 * kMiB - 4096;  // where frames begin in memory
  const auto [bytes, missing] = read(*dump, kBase, memory().size());
  EXPECT_TRUE(bytes == memory().substr(0, first));
  EXPECT_EQ(missing, Missing::damaged);
  EXPECT_STREQ(reader::describe(missing), "the dump's compressed data is damaged there");
  EXPECT_EQ(dump->view(PhysAddr(kBase + first), 1).missing(), Missing::damaged);
  EXPECT_TRUE(read(*dump, kBase + second, memory().size() - second).first == memory().substr(second));
}

TEST(Container, DamagedGzipIsReadableUpToThere) {
  std::string packed = gzip_1(plain());
  packed.replace(packed.size() - 200'000, 64, std::string(64, '\xff'));  // in the text: what is stored has no shape
  const auto dump = opened_bytes(packed);
  ASSERT_TRUE(dump);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("the gzip data is damaged; the ")));
  const auto [bytes, missing] = read(*dump, kBase, memory().size());
  EXPECT_GT(bytes.size(), 4 * kMiB);
  EXPECT_LT(bytes.size(), memory().size());
  EXPECT_EQ(missing, Missing::file_truncated);
}

TEST(Container, SeekTablesThatLie) {
  const std::string frames = zstd_frame(plain());
  const uint32_t packed = uint32_t(frames.size()), size = uint32_t(plain().size());
  // Sizes that cannot be: the frames are gone through instead.
  for (const std::string& table : {seek_table({{packed - 1, size}}), seek_table({{packed, size}, {0xffffffff, 1}})}) {
    const auto dump = opened_bytes(frames + table);
    ASSERT_TRUE(dump);
    EXPECT_THAT(dump->warnings(), ElementsAre("the seek table of the zstd data is not used: the sizes of its frames do "
                                              "not add up to the size of the file"));
    EXPECT_EQ(differences(*dump, 1, 50), 0u);
  }
  // A size that is not the frame's: nothing of it can be believed.
  EXPECT_EQ(error_of_bytes(frames + seek_table({{packed, size - 1}})),
            "cannot open x.gcore: it cannot be read: the compressed data is damaged there");
  std::string many = frames + seek_table({{packed, size}});
  many.replace(many.size() - 9, 4, std::string(4, '\x7f'));
  const auto dump = opened_bytes(many);
  ASSERT_TRUE(dump);
  EXPECT_THAT(dump->warnings(), ElementsAre("the seek table of the zstd data is not used: it is larger than the file"));
}

// Unpacking each of them whenever somebody asks for the next hole would take hours.
TEST(Container, SmallFramesThatClaimMuchAreNotUnpacked) {
  constexpr uint32_t kFrames = 4000, kClaimed = 32 << 20;
  const uint64_t claimed = uint64_t{kFrames} * kClaimed;
  DumpBuilder builder;
  builder.note(two_cpus().build()).header({.offset = 4096, .file_size = claimed, .memory_size = claimed});
  const std::string start = builder.build().substr(0, 4096);
  std::string packed = zstd_frame(start + std::string(4096 - start.size(), '\0'));
  std::vector<FrameSizes> sizes = {{uint32_t(packed.size()), 4096}};
  for (uint32_t i = 0; i < kFrames; ++i) {
    const std::string nonsense = "\x28\xb5\x2f\xfd" + std::to_string(i);
    packed += nonsense;
    sizes.push_back({uint32_t(nonsense.size()), kClaimed});
  }
  const auto dump = opened_bytes(packed + seek_table(sizes));
  ASSERT_TRUE(dump);
  uint64_t covered = 0;
  for (auto extent = dump->next_extent(PhysAddr(0)); extent; extent = dump->next_extent(PhysAddr(covered))) {
    EXPECT_EQ(extent->kind, reader::Dump::Extent::Kind::data);
    covered += extent->size;
  }
  EXPECT_EQ(covered, claimed);
}

TEST(Container, WhatHasNoPlaceToStartFromIsUnpacked) {
  DumpBuilder builder = large_dump();
  const std::string start = builder.build();
  const size_t filling = 40 * kMiB;
  const std::string gzip = gzip_member(start) + gzip_of_one_block('A', filling);
  const std::string zstd = zstd_frame(start + std::string(filling, 'A'));
  for (const auto& [packed, name] : {std::pair(gzip, "gzip"), {zstd, "zstd"}}) {
    const auto dump = opened_bytes(packed);
    ASSERT_TRUE(dump);
    EXPECT_EQ(dump->compression(), name);
    EXPECT_EQ(dump->file_size(), start.size() + filling);
    EXPECT_THAT(dump->warnings(), IsEmpty());
    EXPECT_THAT(
        dump->notices(),
        ElementsAre(std::string("the ") + name +
                    " data has no place to start from in more than 32 MiB; it was unpacked into a temporary file"));
    EXPECT_EQ(differences(*dump, 1, 50), 0u);
  }
}

TEST(Container, WhatIsNoDumpInside) {
  EXPECT_EQ(error_of_bytes(gzip_member("hello, world")),
            "cannot open x.gcore: unpacked, it is not an ELF file: it starts with 68 65 6c 6c 6f 2c 20 77");
  EXPECT_EQ(error_of_bytes(zstd_frame("hello, world")),
            "cannot open x.gcore: unpacked, it is not an ELF file: it starts with 68 65 6c 6c 6f 2c 20 77");
  EXPECT_EQ(error_of_bytes(gzip_member("")), "cannot open x.gcore: unpacked, it is empty");
}

TEST(Container, CutOffBeforeAnythingCanBeUnpacked) {
  const std::string gzip = gzip_1(plain()), zstd = zstd_frame(plain());
  for (const auto& [bytes, name] : {std::pair(gzip.substr(0, 2), "gzip"),
                                    {gzip.substr(0, 10), "gzip"},
                                    {zstd.substr(0, 4), "zstd"},
                                    {zstd.substr(0, 100), "zstd"}})
    for (const bool piped : {false, true}) {
      int fd = -1;
      if (piped) {
        int ends[2];
        ASSERT_EQ(::pipe(ends), 0);
        ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), ssize_t(bytes.size()));
        ::close(ends[1]);
        fd = ends[0];
      } else {
        fd = file_of(bytes);
      }
      const auto dump = reader::Dump::open_descriptor(fd, "x.gcore");
      ASSERT_FALSE(dump);
      EXPECT_EQ(dump.error().kind, reader::Error::Kind::truncated);
      EXPECT_EQ(dump.error().text, std::string("cannot open x.gcore: nothing of it can be unpacked; the ") + name +
                                       " data ends early, before its first unpacked byte");
    }
  std::string damaged = gzip;
  damaged[10] = '\xff';  // where the first block's header is
  EXPECT_EQ(error_of_bytes(damaged),
            "cannot open x.gcore: nothing of it can be unpacked; the gzip data is damaged from "
            "its first unpacked byte on");
}

TEST(Container, FlattenedThatEndsEarly) {
  const std::string whole = flattened(plain());
  const auto dump = opened_bytes(whole.substr(0, whole.size() - 1'000'000));
  ASSERT_TRUE(dump);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("the flattened file ends early, after ")));
  // The first half comes last: bytes that are there follow on those that were lost, and none of these reads as a zero.
  EXPECT_TRUE(dump->truncated());
  const std::string why = "the file is truncated at " + std::to_string(whole.size() - 1'000'000);
  EXPECT_EQ(dump->describe(Missing::file_truncated), why);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("1 segment not all of which the file has: " + why)));
  const auto lost = dump->next_missing(PhysAddr(0));
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->why, Missing::file_truncated);
  EXPECT_GT(lost->size, 990'000u);
  EXPECT_LT(lost->size, 1'000'000u);
  const size_t first = lost->address.value - kBase, end = first + lost->size;
  EXPECT_EQ(end, plain().size() / 2 - 4096);
  EXPECT_EQ(dump->next_missing(PhysAddr(kBase + end)), std::nullopt);
  EXPECT_EQ(dump->bytes_in_file(dump->segments()[0]), memory().size() - lost->size);
  EXPECT_TRUE(read(*dump, kBase, memory().size()) == std::pair(memory().substr(0, first), Missing::file_truncated));
  EXPECT_EQ(read(*dump, kBase + end - 1, 1).second, Missing::file_truncated);
  EXPECT_TRUE(read(*dump, kBase + end, memory().size() - end).first == memory().substr(end));
  EXPECT_EQ(dump->view(PhysAddr(kBase + first), 1).missing(), Missing::file_truncated);
  EXPECT_EQ(dump->view(PhysAddr(kBase + first - 1), 10).bytes().size(), 1u);
  std::string far = whole;
  far.replace(4096, 8, std::string("\x7f") + std::string(7, '\xff'));
  EXPECT_THAT(error_of_bytes(far),
              HasSubstr("the piece of the flattened file at offset 4096 has 5000 bytes for offset "));
  // So far that a disk or tmpfs would still take it: 8 TiB and more for a file of 7 MiB.
  for (const std::string& start : {std::string("\x41"), std::string("\0\0\x08", 3)}) {
    far.replace(4096, 8, start + std::string(8 - start.size(), '\0'));
    EXPECT_THAT(error_of_bytes(far), HasSubstr("the piece of the flattened file at offset 4096 has 5000 bytes for"));
  }
}

}  // namespace
}  // namespace gcore::tests
