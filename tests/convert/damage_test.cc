// A conversion launders nothing, and takes nothing away from its own input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/convert/convert.h"
#include "tests/reader/packing.h"
#include "tests/support/dump_builder.h"
#include "tests/support/foreign_files.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class ConvertDamage : public testing::Test {
 protected:
  static DumpBuilder dump() {
    QnxNote note;
    note.extra_names = {"cr3", "star"};
    note.cpus.resize(1);
    DumpBuilder builder;
    builder.note(note.build()).memory(0, std::string(8192, 'm'));
    return builder;
  }
  std::string in() const { return folder_.path("in.gcore"); }
  std::string out() const { return folder_.path("out.gcore"); }
  TempDir folder_;
};

TEST_F(ConvertDamage, IsToldAndRecorded) {
  std::string gzip = gzip_member(dump().build());
  gzip[gzip.size() - 8] = static_cast<char>(gzip[gzip.size() - 8] ^ 1);  // CRC32
  folder_.write("in.gcore", gzip);
  const Completed done = convert({in(), out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("does not fit its checksum"));
  EXPECT_THAT(done.err, HasSubstr(out() + " is written, but of a damaged dump, as it says itself"));
  const auto copy = open_dump(out());
  EXPECT_THAT(copy->warnings(),
              Contains(HasSubstr("it was made of a dump that was damaged: the gzip data does not fit")));
  EXPECT_THAT(copy->damage(), IsEmpty()) << "the copy itself is sound";
  const std::string again = folder_.path("again.gcore");
  EXPECT_EQ(convert({out(), again, "--dialect", "qnx"}).status, kDone);
  EXPECT_THAT(open_dump(again)->warnings(), Contains(HasSubstr("it was made of a dump that was damaged: the gzip")));
}

constexpr char kUnpackable[] = "its compressed data is damaged: memory cannot be unpacked, at guest-physical 0x";

/// A dump one frame of which is damaged, which nobody sees who only opens it.
std::string damaged_within() {
  std::string noise;
  for (uint64_t i = 0, x = 88172645463325252; i < (size_t{3} << 17); ++i, x ^= x << 13, x ^= x >> 7, x ^= x << 17)
    noise += Bytes().u64(x).str();
  QnxNote note;
  note.cpus.resize(1);
  std::string zstd = zstd_seekable(DumpBuilder().note(note.build()).memory(0, noise).build());
  zstd[zstd.size() / 2] ^= 0x55;
  return zstd;
}

TEST_F(ConvertDamage, MemoryThatCannotBeUnpackedIsMissing) {
  folder_.write("in.gcore", damaged_within());
  ASSERT_THAT(open_dump(in())->damage(), IsEmpty());
  for (const char* compression : {"none", "zstd"}) {
    const Completed done = convert({in(), out(), "--dialect", "qnx", "--compress", compression, "--force"});
    EXPECT_EQ(done.status, kFailed);
    EXPECT_THAT(done.err, HasSubstr("marked as missing"));
    EXPECT_THAT(done.err, HasSubstr("in " + in() + ": " + kUnpackable));
    EXPECT_THAT(done.err, HasSubstr(out() + " is written, but of a damaged dump, as it says itself"));
    const auto copy = open_dump(out());
    EXPECT_FALSE(copy->info().missing.empty());
    EXPECT_THAT(copy->warnings(),
                Contains(HasSubstr(std::string("it was made of a dump that was damaged: ") + kUnpackable)));
  }
  const std::string again = folder_.path("again.gcore");
  EXPECT_EQ(convert({out(), again, "--dialect", "qnx"}).status, kDone) << "the copy itself is sound";
  EXPECT_THAT(open_dump(again)->info().source_defects, testing::ElementsAre(HasSubstr(kUnpackable)));
}

TEST_F(ConvertDamage, WhatIsNotWantedOfItIsNoFailure) {
  folder_.write("in.gcore", damaged_within());
  EXPECT_EQ(convert({in(), out(), "--dialect", "qnx", "--range", "0:4K"}).status, kDone);
  EXPECT_THAT(open_dump(out())->info().source_defects, IsEmpty());
}

TEST_F(ConvertDamage, FoundOnTheWayDoesNotReplaceItsInput) {
  const std::string before = damaged_within();
  folder_.write("in.gcore", before);
  const Completed refused = convert({in(), in(), "--force", "--dialect", "qnx"});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("is IN itself, and would lose what can be repaired of it (its compressed data"));
  EXPECT_EQ(read_file(in()), before);
  EXPECT_EQ(folder_.entries(), std::vector<std::string>{"in.gcore"});
}

TEST_F(ConvertDamage, OfAChunkOfAvml) {
  std::string image = avml_range(0, 8192, plain_chunk(std::string(4096, 'a')) + repeated_chunk('b'));
  image[200] = 'x';
  folder_.write("in.gcore", image);
  const Completed done = convert({in(), out(), "--dialect", "vmcore"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr(std::string(kUnpackable) + "0 first"));
  EXPECT_EQ(bytes_at(*open_dump(out()), 4096, 4096), std::string(4096, 'b'));
}

TEST_F(ConvertDamage, ReplacesItsInputByNothingLess) {
  dump().write(in());
  const std::string before = read_file(in());
  const Completed refused = convert({in(), in(), "--force", "--dialect", "vmcore"});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("is IN itself, and would lose "));
  EXPECT_EQ(read_file(in()), before);
  EXPECT_EQ(convert({in(), in(), "--force", "--range", "0:4K", "--dialect", "qnx"}).status, kFailed);
  EXPECT_EQ(read_file(in()), before);
  EXPECT_EQ(convert({in(), in(), "--force", "--dialect", "qnx"}).status, kDone) << "nothing is lost";
  EXPECT_EQ(open_dump(in())->memory_bytes(), 8192u);
}

// 64 GiB of zeros in frames: to unpack them would take a minute.
TEST_F(ConvertDamage, FramesOfZerosBecomeHoles) {
  QnxNote note;
  note.cpus.resize(1);
  DumpBuilder builder;
  builder.note(note.build()).memory(0, std::string(4096, 'd')).hole(uint64_t{1} << 32, uint64_t{64} << 30);
  builder.write(in());
  const std::string packed = folder_.path("in.gcore.zst");
  ASSERT_EQ(convert({in(), packed, "--compress", "zstd"}).status, kDone);
  ASSERT_EQ(convert({packed, out(), "--dialect", "qnx"}).status, kDone);
  EXPECT_EQ(open_dump(out())->memory_bytes(), 4096 + (uint64_t{64} << 30));
  struct stat facts;
  ASSERT_EQ(stat(out().c_str(), &facts), 0);
  EXPECT_LT(facts.st_blocks * 512, 4 << 20);
}

}  // namespace
}  // namespace gcore::tests
