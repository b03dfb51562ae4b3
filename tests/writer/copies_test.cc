// Memory that is a copy is read when the guest runs again; and of which moment a dump's memory is, as the guest says.
#include <gmock/gmock.h>

#include <set>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Options;
using writer::Result;

constexpr uint64_t kPages = 64, kHalf = kPages / 2;

/// Two ranges of memory that only read_memory() has; notes in which state the guest was when each was read.
class CopyingGuest : public FakeGuest {
 public:
  CopyingGuest(bool low_is_copy, bool high_is_copy) : FakeGuest(kPages, Backing::callback) {
    fill(0, 'a', kHalf);
    fill(kHalf, 'b', kHalf);
    ranges = {range(0, 0, kHalf * kPage), range(kHigh, kHalf * kPage, kHalf * kPage)};
    ranges[0].is_copy = low_is_copy;
    ranges[1].is_copy = high_is_copy;
  }
  size_t read_memory(uint64_t address, void* to, size_t bytes) override {
    EXPECT_FALSE(ended);
    (paused ? read_while_paused : read_while_running).insert(address < kHigh ? "low" : "high");
    const uint64_t at = address >= kHigh ? address - kHigh + kHalf * kPage : address;
    std::memcpy(to, host + at, bytes);
    return bytes;
  }
  writer::Consistency consistency() override {
    EXPECT_FALSE(paused);
    EXPECT_FALSE(ended);
    return says;
  }
  void dump_ended() override {
    EXPECT_FALSE(paused);
    EXPECT_FALSE(ended);
    ended = true;
  }

  writer::Consistency says = writer::Consistency::paused;
  std::set<std::string> read_while_paused, read_while_running;
  bool ended = false;
};

Result dumped(FakeGuest& guest, const TempDir& directory) {
  Options options;
  options.target = directory.path();
  return writer::dump(guest, options);
}

TEST(Copies, AreReadWhenTheGuestRunsAgain) {
  const struct {
    bool low, high;
    std::vector<std::string> paused, running;
  } cases[] = {{false, false, {"high", "low"}, {}},
               {false, true, {"low"}, {"high"}},
               {true, false, {"high", "low"}, {}},  // by address
               {true, true, {}, {"high", "low"}}};
  for (const auto& one : cases) {
    const TempDir directory;
    CopyingGuest guest(one.low, one.high);
    const Result result = dumped(guest, directory);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_THAT(guest.read_while_paused, testing::ElementsAreArray(one.paused));
    EXPECT_THAT(guest.read_while_running, testing::ElementsAreArray(one.running));
    EXPECT_TRUE(guest.ended);
    EXPECT_EQ(result.pages.written, kPages);
    const DumpBytes file(read_file(result.path));
    EXPECT_EQ(file.text(file.p_offset(1), kHalf * kPage), std::string(kHalf * kPage, 'a'));
    EXPECT_EQ(file.text(file.p_offset(2), kHalf * kPage), std::string(kHalf * kPage, 'b'));
  }
}

TEST(Copies, CountForNoPause) {
  CopyingGuest guest(true, true);
  Options options;
  options.target = "|cat >/dev/null";
  options.bytes_per_second = 1 << 20;  // a quarter of a second for its 256 KiB
  options.pause_deadline = std::chrono::milliseconds(200);
  const Result result = writer::dump(guest, options);
  EXPECT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_LT(result.paused, options.pause_deadline);
}

TEST(Copies, AreLetGoOfAfterAFailureToo) {
  CopyingGuest guest(true, true);
  Options options;
  options.target = "|exit 3";
  EXPECT_FALSE(writer::dump(guest, options).status.ok());
  EXPECT_TRUE(guest.ended);
}

TEST(Moment, IsInTheDump) {
  const struct {
    writer::Consistency says;
    std::string name;
  } cases[] = {{writer::Consistency::paused, "paused"},
               {writer::Consistency::snapshot, "snapshot"},
               {writer::Consistency::torn, "torn"}};
  for (const auto& one : cases) {
    const TempDir directory;
    CopyingGuest guest(false, false);
    guest.says = one.says;
    const Result result = dumped(guest, directory);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_THAT(DumpBytes(read_file(result.path)).info(), HasSubstr("\"consistency\": \"" + one.name + "\", "));
  }
}

}  // namespace
}  // namespace gcore::tests
