// What of guest memory is written, what becomes zeros, and that a page that cannot be read costs that page only.
#include <gmock/gmock.h>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Result;

Result dump_to(writer::Guest& guest, const TempDir& directory) {
  writer::Options options;
  options.target = directory.path();
  return writer::dump(guest, options);
}

std::string backing_name(FakeGuest::Backing backing) {
  switch (backing) {
    case FakeGuest::Backing::memfd:
      return "memfd";
    case FakeGuest::Backing::memfd_without_mapping:
      return "memfd_without_mapping";
    case FakeGuest::Backing::host:
      return "host";
    case FakeGuest::Backing::callback:
      return "callback";
  }
  return "";
}

class Memory : public testing::TestWithParam<FakeGuest::Backing> {
 protected:
  TempDir directory_;
};

TEST_P(Memory, EveryByteArrives) {
  FakeGuest guest(700, GetParam());  // more than one buffer, and not a multiple of one
  uint64_t seed = 1;
  for (uint64_t page = 0; page < 700; ++page) {
    if (page % 7 == 3 || page / 100 == 2) continue;
    for (uint64_t at = 0; at < kPage; at += 8) {
      seed = seed * 6364136223846793005 + 1442695040888963407;
      std::memcpy(guest.host + page * kPage + at, &seed, 8);
    }
  }
  const DumpBytes file = dump_bytes(guest, directory_);
  const uint64_t half = 350 * kPage;
  EXPECT_TRUE(file.text(file.p_offset(1), half) == std::string(guest.host, half));
  EXPECT_TRUE(file.text(file.p_offset(2), half) == std::string(guest.host + half, half));
}

TEST_P(Memory, LastByteOfAPageMakesItData) {
  FakeGuest guest(8, GetParam());
  guest.host[3 * kPage - 1] = 1;
  const Result result = dump_to(guest, directory_);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.written, 1U);
  EXPECT_EQ(result.pages.zero + result.pages.absent, 7U);
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.u8(file.p_offset(1) + 3 * kPage - 1), 1);
}

INSTANTIATE_TEST_SUITE_P(EachBacking, Memory,
                         testing::Values(FakeGuest::Backing::memfd, FakeGuest::Backing::memfd_without_mapping,
                                         FakeGuest::Backing::host, FakeGuest::Backing::callback),
                         [](const auto& instance) { return backing_name(instance.param); });

TEST(MemoryHoles, PagesNeverTouchedAreNotRead) {
  TempDir directory;
  FakeGuest guest(1 << 20);  // 4 GiB
  guest.fill(5, 'x');
  guest.fill(900000, 0);
  const Result result = dump_to(guest, directory);
  ASSERT_TRUE(result.status.ok());
  EXPECT_EQ(result.pages.written, 1U);
  EXPECT_EQ(result.pages.zero, 1U);
  EXPECT_EQ(result.pages.absent, (1U << 20) - 2);
  EXPECT_EQ(result.pages.missing, 0U);
}

TEST(MemoryMissing, TruncatedFileCostsItsPagesOnly) {
  for (const auto backing : {FakeGuest::Backing::memfd, FakeGuest::Backing::host}) {
    TempDir directory;
    FakeGuest guest(64, backing);
    guest.fill(0, 'x', 64);
    ASSERT_EQ(ftruncate(guest.fd, 40 * kPage), 0);
    const Result result = dump_to(guest, directory);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_EQ(result.pages.written, 40U);
    EXPECT_EQ(result.pages.missing, 24U);
    const DumpBytes file(read_file(result.path));
    EXPECT_EQ(file.text(file.p_offset(2), 8 * kPage), std::string(8 * kPage, 'x'));
    EXPECT_EQ(file.text(file.p_offset(2) + 8 * kPage, 24 * kPage), std::string(24 * kPage, '\0'));
    EXPECT_THAT(file.info(), HasSubstr(R"("missing_ranges": 1, "missing": [["0x100008000", "0x18000"]])"));
  }
}

TEST(MemoryMissing, FileThatEndsWithinAPageKeepsTheBytesBeforeIt) {
  TempDir directory;
  FakeGuest guest(4);
  guest.fill(0, 'x', 4);
  ASSERT_EQ(ftruncate(guest.fd, 3 * kPage + 100), 0);
  const Result result = dump_to(guest, directory);
  EXPECT_EQ(result.pages.written, 4U);
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.text(file.p_offset(2) + kPage, kPage), std::string(100, 'x') + std::string(kPage - 100, '\0'));
}

TEST(MemoryMissing, UnmappedHostPagesAreListed) {
  TempDir directory;
  FakeGuest guest(64, FakeGuest::Backing::host);
  guest.fill(0, 'x', 64);
  for (const uint64_t page : {0, 10, 11, 63}) ASSERT_EQ(mprotect(guest.host + page * kPage, kPage, PROT_NONE), 0);
  const Result result = dump_to(guest, directory);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.missing, 4U);
  EXPECT_EQ(result.pages.written, 60U);
  EXPECT_THAT(DumpBytes(read_file(result.path)).info(),
              HasSubstr(R"("missing_ranges": 3, "missing": [["0x0", "0x1000"], ["0xa000", "0x2000"], )"
                        R"(["0x10001f000", "0x1000"]])"));
}

TEST(MemoryMissing, ListIsCutOffAndTheCountIsNot) {
  TempDir directory;
  FakeGuest guest(4000, FakeGuest::Backing::host);
  guest.fill(0, 'x', 4000);
  for (uint64_t page = 0; page < 4000; page += 2) ASSERT_EQ(mprotect(guest.host + page * kPage, kPage, PROT_NONE), 0);
  const Result result = dump_to(guest, directory);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.missing, 2000U);
  const std::string info = DumpBytes(read_file(result.path)).info();
  EXPECT_THAT(info, HasSubstr("\"missing_ranges\": 2000,"));
  EXPECT_THAT(info, testing::EndsWith("\"0x1000\"]]}"));
}

TEST(MemoryMissing, HostServesWhereTheFileCannotBeRead) {
  TempDir directory;
  FakeGuest guest(8, FakeGuest::Backing::host);
  guest.fill(0, 'x', 8);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  guest.ranges = {guest.range(0, 0, 8 * kPage)};
  guest.ranges[0].fd = ends[1];
  const Result result = dump_to(guest, directory);
  EXPECT_EQ(result.pages.written, 8U);
  close(ends[0]);
  close(ends[1]);
}

TEST(MemoryMissing, NothingReadableIsAFailure) {
  TempDir directory;
  FakeGuest guest(8, FakeGuest::Backing::callback);
  guest.unreadable_from = 0;
  const Result result = dump_to(guest, directory);
  EXPECT_THAT(result.status.text(), testing::StartsWith("no page of the guest's memory could be read: "));
  EXPECT_TRUE(directory.entries().empty());
  EXPECT_EQ(guest.resumes, 1);
}

struct BadRange {
  uint64_t address, size;
  const char* defect;
};

class MemoryRanges : public testing::TestWithParam<BadRange> {};

TEST_P(MemoryRanges, ThatMakeNoSenseAreRefused) {
  TempDir directory;
  FakeGuest guest(8);
  guest.ranges = {guest.range(0x1000, 0, kPage), {GetParam().address, GetParam().size, nullptr, guest.fd, 0}};
  const Result result = dump_to(guest, directory);
  EXPECT_THAT(result.status.text(), HasSubstr(GetParam().defect));
  EXPECT_THAT(result.status.text(), HasSubstr("the VMM's memory range at 0x"));
  EXPECT_EQ(guest.resumes, 1);
  EXPECT_TRUE(directory.entries().empty());
}

INSTANTIATE_TEST_SUITE_P(Each, MemoryRanges,
                         testing::Values(BadRange{0x3001, 0x1000, "is not made of whole 4 KiB pages"},
                                         BadRange{0x3000, 0x10, "is not made of whole 4 KiB pages"},
                                         BadRange{0x3000, 0, "is empty"}, BadRange{0x1000, 0x1000, "overlaps"},
                                         BadRange{0, 0x2000, "overlaps"},
                                         BadRange{0xfffffffffffff000, 0x2000, "goes beyond the end"}));

TEST(MemoryRange, UpToTheEndOfTheAddressSpaceIsFine) {
  TempDir directory;
  FakeGuest guest(8);
  guest.ranges = {guest.range(0xfffffffffffff000, 0, kPage)};
  EXPECT_TRUE(dump_to(guest, directory).status.ok());
}

TEST(MemoryRange, NoMemoryIsRefused) {
  class Empty : public FakeGuest {
    std::vector<writer::MemoryRange> memory() override { return {}; }
  } guest;
  TempDir directory;
  EXPECT_EQ(dump_to(guest, directory).status.text(), "the guest has no memory");
}

/// The error of a dump of one range of which nothing can be read.
std::string trouble_with(const writer::MemoryRange& range) {
  TempDir directory;
  FakeGuest guest;
  guest.ranges = {range};
  guest.unreadable_from = 0;
  writer::Options options;
  options.target = directory.path();
  return writer::dump(guest, options).status.text();
}

TEST(MemoryTrouble, CausesOfUnreadableMemoryAreToldApart) {
  constexpr char kStart[] = "no page of the guest's memory could be read: at guest-physical 0x10000 ";
  // It stays mapped without any right: an address that is free might be given to somebody else meanwhile.
  void* nothing = mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(nothing, MAP_FAILED);
  char address[32];
  std::snprintf(address, sizeof address, "%p", nothing);
  const std::string host_error = "process_vm_readv of its host address " + std::string(address) +
                                 ": Bad address (nothing is mapped there that can be read)";
  EXPECT_EQ(trouble_with({0x10000, kPage, nothing, -1, 0}), kStart + host_error);
  EXPECT_EQ(trouble_with({0x10000, kPage, nullptr, 999, 0}),
            std::string(kStart) + "pread of its fd 999: Bad file descriptor");
  EXPECT_EQ(trouble_with({0x10000, kPage, nothing, 999, 0}),
            std::string(kStart) + "pread of its fd 999: Bad file descriptor, and " + host_error);
  EXPECT_EQ(trouble_with({0x10000, kPage, nullptr, -1, 0}),
            std::string(kStart) + "the range has neither a host address nor an fd, and read_memory() read nothing");
  const int empty = memfd_create("empty", MFD_CLOEXEC);
  EXPECT_EQ(trouble_with({0x10000, kPage, nullptr, empty, 0}),
            std::string(kStart) + "the file of its fd " + std::to_string(empty) + " has ended (after 0 bytes)");
  close(empty);
  munmap(nothing, kPage);
}

TEST(MemoryTrouble, UnreadablePartIsSaidInTheNotice) {
  TempDir directory;
  FakeGuest guest(64, FakeGuest::Backing::memfd_without_mapping);
  guest.fill(0, 'x', 64);
  guest.ranges = {guest.range(0, 0, 32 * kPage), {FakeGuest::kHigh, kPage, nullptr, 999, 0}};
  writer::Options options;
  options.target = directory.path();
  const writer::Result result = writer::dump(guest, options);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(
      result.notice,
      "1 page of guest memory could not be read, the first one at guest-physical 0x100000000 pread of its fd 999: "
      "Bad file descriptor");
}

}  // namespace
}  // namespace gcore::tests
