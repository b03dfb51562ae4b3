// Compressed dumps: other programs unpack them, and the seek table of zstd says the truth.
#include <gmock/gmock.h>
#include <zstd.h>

#include <cstdlib>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using writer::Compression;
using writer::Options;
using writer::Result;

struct Case {
  Compression compression;
  const char *extension, *unpack;
};

class Compressed : public testing::TestWithParam<Case> {
 protected:
  // Runs of zeros longer and shorter than a frame, some data, and a size that is not a multiple of a frame.
  Compressed() : guest_(5000) {
    uint64_t seed = 1;
    for (uint64_t page = 600; page < 2000; page += 3)
      for (uint64_t at = 0; at < kPage; at += 16) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        std::memcpy(guest_.host + page * kPage + at, &seed, 8);
      }
    guest_.fill(4999, 'z');
  }

  std::string unpacked(const std::string& path) {
    const std::string out = directory_.path("unpacked");
    EXPECT_EQ(std::system((std::string(GetParam().unpack) + " < " + path + " > " + out).c_str()), 0);
    return read_file(out);
  }
  Options options(const std::string& target) const {
    Options result;
    result.target = target;
    result.compression = GetParam().compression;
    return result;
  }
  void expect_memory(const DumpBytes& file) {
    EXPECT_THAT(file.info(), testing::HasSubstr("\"complete\": true"));
    const uint64_t half = 2500 * kPage;
    EXPECT_TRUE(file.text(file.p_offset(1), half) == std::string(guest_.host, half));
    EXPECT_TRUE(file.text(file.p_offset(2), half) == std::string(guest_.host + half, half));
  }

  FakeGuest guest_;
  TempDir directory_;
};

TEST_P(Compressed, FileUnpacksToTheDump) {
  const Result result = writer::dump(guest_, options(directory_.path()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_THAT(result.path, testing::EndsWith(GetParam().extension));
  EXPECT_EQ(read_file(result.path).size(), result.bytes);
  EXPECT_LT(result.bytes, guest_.size / 2);
  expect_memory(DumpBytes(unpacked(result.path)));
}

TEST_P(Compressed, PipeGetsTheCompressedBytes) {
  const std::string packed = directory_.path("packed");
  const Result result = writer::dump(guest_, options("|cat > " + packed));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  expect_memory(DumpBytes(unpacked(packed)));
}

TEST_P(Compressed, FailureLeavesNothing) {
  Options limited = options(directory_.path());
  limited.pause_deadline = std::chrono::milliseconds(1);
  limited.bytes_per_second = 1000;
  limited.keep_partial = true;
  const Result result = writer::dump(guest_, limited);
  EXPECT_EQ(result.status.error().code, ETIMEDOUT);
  EXPECT_TRUE(directory_.entries().empty());
  EXPECT_EQ(guest_.resumes, 1);
}

INSTANTIATE_TEST_SUITE_P(Each, Compressed,
                         testing::Values(Case{Compression::gzip, ".gcore.gz", "gzip -dc"},
                                         Case{Compression::zstd, ".gcore.zst", "zstd -dcq"}),
                         [](const auto& instance) { return std::string(instance.param.extension).substr(7); });

TEST(Zstd, SeekTableFindsEachFrame) {
  FakeGuest guest(1000);
  guest.fill(0, 'a', 300);
  guest.fill(999, 'z');
  TempDir directory;
  Options options;
  options.target = directory.path();
  options.compression = Compression::zstd;
  const Result result = writer::dump(guest, options);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  const DumpBytes file(read_file(result.path));
  const uint64_t footer = file.size() - 9;
  EXPECT_EQ(file.u32(footer + 5), 0x8f92eab1U);
  EXPECT_EQ(file.u8(footer + 4), 0);
  const uint32_t frames = file.u32(footer);
  EXPECT_EQ(frames, 4U);
  const uint64_t table = footer - 8 * frames;
  EXPECT_EQ(file.u32(table - 8), 0x184d2a5eU);
  EXPECT_EQ(file.u32(table - 4), 8 * frames + 9);

  std::string plain;
  uint64_t at = 0;
  for (uint32_t i = 0; i < frames; ++i) {
    const uint32_t packed_size = file.u32(table + 8 * i), plain_size = file.u32(table + 8 * i + 4);
    std::string frame(plain_size, '\0');
    const std::string packed = file.text(at, packed_size);
    ASSERT_EQ(ZSTD_decompress(frame.data(), frame.size(), packed.data(), packed.size()), plain_size);
    EXPECT_EQ(plain_size, i + 1 < frames ? 1U << 20 : plain_size);
    plain += frame;
    at += packed_size;
  }
  EXPECT_EQ(at, table - 8) << "the skippable frame follows the last frame";
  const DumpBytes dump(plain);
  EXPECT_EQ(dump.u8(dump.p_offset(2) + 500 * kPage - 1), 'z');
}

// The workers are behind or ahead of the runs of zeros, which need no worker.
TEST(Zstd, DataAndZerosKeepTheirPlaces) {
  constexpr uint64_t kPages = 6144;
  FakeGuest guest(kPages);
  uint64_t seed = 3;
  std::string noise(4 * kPage, '\0');
  for (char& c : noise) c = static_cast<char>((seed = seed * 6364136223846793005 + 1442695040888963407) >> 56);
  for (uint64_t page = 0; page < kPages;) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    const uint64_t run = std::min(kPages - page, 1 + (seed >> 33) % 900);
    if ((seed >> 60) % 2 == 0)
      for (uint64_t at = page; at < page + run; ++at)
        std::memcpy(guest.host + at * kPage, noise.data() + (seed >> 40) % kPage + at % 200 * 8, kPage);
    page += run;
  }
  TempDir directory;
  Options options;
  options.target = directory.path();
  options.compression = Compression::zstd;
  options.sync = false;
  for (int round = 0; round < 3; ++round) {
    const Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    const std::string out = directory.path("plain");
    ASSERT_EQ(std::system(("zstd -dcq " + result.path + " > " + out).c_str()), 0);
    const DumpBytes dump(read_file(out));
    const uint64_t half = kPages / 2 * kPage;
    ASSERT_EQ(dump.size(), dump.p_offset(2) + half + 16384);
    EXPECT_TRUE(dump.text(dump.p_offset(1), half) == std::string(guest.host, half));
    EXPECT_TRUE(dump.text(dump.p_offset(2), half) == std::string(guest.host + half, half));
  }
}

}  // namespace
}  // namespace gcore::tests
