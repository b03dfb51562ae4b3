// Memory that is copied aside while the guest is paused (Options::aside_memory).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cerrno>
#include <random>
#include <thread>

#include "tests/support/small_disk.h"
#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Options;
using writer::Result;
using Backing = FakeGuest::Backing;

constexpr uint64_t kMib = 1 << 20;

/// Overwrites all of its memory when it goes on, and then opens a gate.
class HastyGuest : public FakeGuest {
 public:
  HastyGuest(uint64_t pages, Backing backing, std::string gate = "")
      : FakeGuest(pages, backing), gate_(std::move(gate)) {}
  void resume() override {
    before.assign(host, size);
    FakeGuest::resume();
    auto* words = reinterpret_cast<uint64_t*>(host);
    for (uint64_t at = 0; at < size / sizeof *words; ++at) words[at] = ~words[at];
    if (!gate_.empty()) close(open(gate_.c_str(), O_WRONLY | O_CLOEXEC));
  }

  size_t read_memory(uint64_t address, void* to, size_t bytes) override {
    for (const writer::MemoryRange& one : ranges) {
      if (address < one.address || address - one.address >= one.size) continue;
      EXPECT_TRUE(paused);
      EXPECT_LE(address + bytes, one.address + one.size);
      std::memcpy(to, host + one.fd_offset + (address - one.address), bytes);
      return bytes;
    }
    return FakeGuest::read_memory(address, to, bytes);
  }

  std::string before;  // its memory, in the order of the backing

 private:
  std::string gate_;
};

/// What the command takes when the gate opens.
class Gate {
 public:
  Gate() { EXPECT_EQ(mkfifo(path().c_str(), 0600), 0); }
  std::string path() const { return folder_.path("gate"); }
  std::string command() const { return "|cat " + path() + "; cat > " + dump(); }
  std::string dump() const { return folder_.path("dump"); }

 private:
  TempDir folder_;
};

/// Data of many kinds, zeros and holes, in runs of random length.
void fill_at_random(FakeGuest& guest, std::mt19937_64& random) {
  const uint64_t pages = guest.size / kPage;
  for (uint64_t page = 0; page < pages;) {
    const uint64_t run = std::min<uint64_t>(1 + random() % (random() % 3 == 0 ? 700 : 5), pages - page);
    const auto kind = random() % 3;
    for (uint64_t i = 0; i < run && kind != 0; ++i)
      guest.fill(page + i, kind == 1 ? '\0' : static_cast<char>('a' + random() % 26));
    page += run;
  }
}

void expect_memory(const FakeGuest& guest, const DumpBytes& file, const std::string& memory) {
  std::vector<writer::MemoryRange> ranges = guest.ranges;
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  for (unsigned i = 0; i < ranges.size(); ++i) {
    ASSERT_EQ(file.p_filesz(i + 1), ranges[i].size);
    EXPECT_TRUE(file.text(file.p_offset(i + 1), ranges[i].size) == memory.substr(ranges[i].fd_offset, ranges[i].size))
        << "range " << i;
  }
}

class Aside : public testing::TestWithParam<Backing> {};

TEST_P(Aside, LetsTheGuestGoOnBeforeAnythingIsWritten) {
  std::mt19937_64 random(17);
  for (int layout = 0; layout < 4; ++layout) {
    const Gate gate;
    HastyGuest guest(5000, GetParam(), gate.path());
    fill_at_random(guest, random);
    // Sizes that are no multiple of anything, one of a page; neighbours; in another order than in the backing.
    guest.ranges = {guest.range(0, 100 * kPage, 1777 * kPage),
                    guest.range(FakeGuest::kHigh, 1877 * kPage, 3000 * kPage), guest.range(1777 * kPage, 0, kPage),
                    guest.range(0x40000000, 4 * kPage, 31 * kPage)};
    Options options;
    options.target = gate.command();
    options.aside_memory = 64 * kMib;
    options.compression = layout == 3 ? writer::Compression::gzip : writer::Compression::none;
    const Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_EQ(result.pages.written + result.pages.zero + result.pages.absent, 1777U + 3000 + 1 + 31);
    if (layout == 3) {
      ASSERT_EQ(std::rename(gate.dump().c_str(), (gate.dump() + ".gz").c_str()), 0);
      ASSERT_EQ(std::system(("gunzip " + gate.dump() + ".gz").c_str()), 0);
    }
    expect_memory(guest, DumpBytes(read_file(gate.dump())), guest.before);
  }
}

// At every speed, with room for everything and for less: what the dump holds does not depend on it.
TEST_P(Aside, IsTheSameDumpAsWithout) {
  std::mt19937_64 random(18);
  for (int round = 0; round < 6; ++round) {
    HastyGuest guest(6000, GetParam());
    fill_at_random(guest, random);
    guest.ranges = {guest.range(0x1000, 0, 2100 * kPage), guest.range(0x4000000, 2100 * kPage, 3100 * kPage),
                    guest.range(0x8000000, 5200 * kPage, 800 * kPage)};
    const TempDir plain_directory, directory;
    Options options;
    options.target = plain_directory.path();
    options.sync = false;
    const std::string memory(guest.host, guest.size);
    const Result plain = writer::dump(guest, options);
    ASSERT_TRUE(plain.status.ok()) << plain.status.text();
    std::memcpy(guest.host, memory.data(), memory.size());  // it went on
    options.target = directory.path();
    options.aside_memory = (2 + random() % 30) * kMib;
    if (round % 3 != 0) options.bytes_per_second = (20 + random() % 200) * kMib;
    const Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    expect_memory(guest, DumpBytes(read_file(result.path)), memory);
    if (GetParam() != Backing::host) {  // where what was a hole before is a page of zeros now
      EXPECT_EQ(result.pages.written, plain.pages.written);
      EXPECT_EQ(result.pages.zero + result.pages.absent, plain.pages.zero + plain.pages.absent);
    }
    EXPECT_EQ(result.notice, "");
  }
}

std::string name_of(const testing::TestParamInfo<Backing>& instance) {
  constexpr const char* kNames[] = {"memfd", "memfd_without_mapping", "host", "callback"};
  return kNames[static_cast<int>(instance.param)];
}

INSTANTIATE_TEST_SUITE_P(Of, Aside,
                         testing::Values(Backing::memfd, Backing::memfd_without_mapping, Backing::host,
                                         Backing::callback),
                         name_of);

// Then all of memory is read before it is known that there is room, and once more to write it.
TEST_P(Aside, MuchOfItIsZerosAndTheDiskIsSmall) {
  const SmallDisk disk("8m");
  HastyGuest guest(4096, GetParam());
  guest.fill(0, '\0', 4096);
  for (uint64_t page = 0; page < 4096; page += 4) guest.fill(page, static_cast<char>('a' + page / 4 % 26));
  guest.ranges = {guest.range(0, 0, 1500 * kPage), guest.range(FakeGuest::kHigh, 1500 * kPage, 2596 * kPage)};
  Options options;
  options.target = disk.directory().path();
  options.aside_memory = 64 * kMib;
  const Result result = writer::dump(guest, options);
  EXPECT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.written, 1024U);
  if (result.status.ok()) expect_memory(guest, DumpBytes(read_file(result.path)), guest.before);
}

TEST(AsideFailure, WhatCannotBeReadIsSaidAsEver) {
  const auto dumped = [](uint64_t aside, const TempDir& directory) {
    HastyGuest guest(4096, Backing::callback);
    guest.fill(0, 'x', 4096);
    guest.unreadable_from = 3000 * kPage;
    Options options;
    options.target = directory.path();
    options.aside_memory = aside;
    return writer::dump(guest, options);
  };
  const TempDir directory;
  const Result plain = dumped(0, directory), result = dumped(64 * kMib, directory);
  EXPECT_EQ(plain.pages.missing, 1096U);
  EXPECT_EQ(result.pages.missing, plain.pages.missing);
  EXPECT_EQ(result.pages.written, plain.pages.written);
  EXPECT_EQ(result.notice, plain.notice);
  EXPECT_THAT(result.notice, HasSubstr("1096 pages of guest memory could not be read"));
}

TEST(AsideFailure, TheDeadlineHoldsWhenThereIsNoRoomForAll) {
  HastyGuest guest(4096, Backing::memfd);
  guest.fill(0, 'x', 4096);
  Options options;
  options.target = "|sleep 1000";
  options.aside_memory = 2 * kMib;
  options.pause_deadline = std::chrono::milliseconds(100);
  const Result result = writer::dump(guest, options);
  ASSERT_FALSE(result.status.ok());
  EXPECT_EQ(result.status.error().code, ETIMEDOUT);
  EXPECT_EQ(guest.resumes, 1);
}

TEST(AsideFailure, AndAfterwardsItCountsForNothing) {
  HastyGuest guest(1024, Backing::memfd);
  guest.fill(0, 'x', 1024);
  Options options;
  options.target = "|cat >/dev/null";
  options.aside_memory = 64 * kMib;
  options.bytes_per_second = 5 * kMib / 2;  // 1.6 seconds for 4 MiB, which are copied within milliseconds
  options.pause_deadline = std::chrono::seconds(1);
  const Result result = writer::dump(guest, options);
  EXPECT_TRUE(result.status.ok()) << result.status.text();
}

TEST(AsideFailure, ACommandThatFailsAndACancellationLetTheGuestGoOn) {
  HastyGuest guest(4096, Backing::memfd);
  guest.fill(0, 'x', 4096);
  Options options;
  options.target = "|exit 3";
  options.aside_memory = 64 * kMib;
  const Result failed = writer::dump(guest, options);
  EXPECT_FALSE(failed.status.ok());
  EXPECT_EQ(failed.command_status, 3);

  for (const uint64_t room : {2 * kMib, 64 * kMib}) {
    options.target = "|sleep 1000";
    options.aside_memory = room;
    writer::Status status;
    const auto dumper = writer::Dumper::create(guest, options, {}, status);
    ASSERT_TRUE(dumper) << status.text();
    const int pauses = guest.pauses;
    dumper->request();
    while (guest.pauses == pauses) std::this_thread::yield();
    dumper->cancel();
    EXPECT_TRUE(dumper->wait().cancelled);
    EXPECT_EQ(guest.resumes, guest.pauses);
  }
}

}  // namespace
}  // namespace gcore::tests
