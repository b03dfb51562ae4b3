// A guest that writes its memory into the dump's file by itself (Guest::dump_file).
#include <gmock/gmock.h>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Options;
using writer::Result;

constexpr uint64_t kPages = 64, kHalf = kPages / 2;

/// Puts 'a' into the first page of the low half and 'b' into the last one of the high half, if it gets a file.
class StreamingGuest : public FakeGuest {
 public:
  explicit StreamingGuest(uint64_t start = writer::head_room(2, 2, 0)) : FakeGuest(kPages, Backing::callback) {
    ranges = {range(0, start, kHalf * kPage), range(kHigh, start + kHalf * kPage, kHalf * kPage)};
    for (writer::MemoryRange& one : ranges) one.is_copy = true;
  }
  void dump_file(int file) override {
    EXPECT_FALSE(paused);
    offered = file;
    for (writer::MemoryRange& one : ranges) one.fd = file;
  }
  writer::Status pause() override {
    if (offered >= 0 && writes) {
      const uint64_t low = ranges[0].fd_offset, end = low + kPages * kPage;
      EXPECT_EQ(ftruncate(offered, static_cast<off_t>(end)), 0);
      put('b', end - kPage);
      put('a', low);
    }
    return FakeGuest::pause();
  }
  size_t read_memory(uint64_t, void* to, size_t bytes) override {
    std::memset(to, 'c', bytes);
    return bytes;
  }

  int offered = -2;
  bool writes = true;

 private:
  void put(char value, uint64_t at) const {
    EXPECT_EQ(pwrite(offered, std::string(kPage, value).data(), kPage, static_cast<off_t>(at)), ssize_t{kPage});
  }
};

Options into(const TempDir& directory) {
  Options options;
  options.target = directory.path();
  return options;
}

TEST(InPlace, MemoryStaysWhereTheGuestHasPutIt) {
  for (const auto dialect : {writer::Dialect::qnx, writer::Dialect::vmcore}) {
    const TempDir directory;
    StreamingGuest guest;
    Options options = into(directory);
    options.dialect = dialect;
    const Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_EQ(result.pages.written, 2u);
    EXPECT_EQ(result.pages.absent, kPages - 2);
    EXPECT_EQ(result.pages.zero + result.pages.missing, 0u);
    const DumpBytes bytes(read_file(result.path));
    EXPECT_EQ(bytes.size(), result.bytes);
    EXPECT_EQ(bytes.p_offset(1), writer::head_room(2, 2, 0));
    EXPECT_EQ(bytes.text(bytes.p_offset(1), 2 * kPage), std::string(kPage, 'a') + std::string(kPage, '\0'));
    EXPECT_EQ(bytes.text(bytes.p_offset(2) + bytes.p_filesz(2) - kPage, kPage), std::string(kPage, 'b'));
    EXPECT_THAT(bytes.info(), HasSubstr("\"complete\": true"));
  }
}

TEST(InPlace, IsOfferedOnlyWhereMemoryStandsInTheFileAsItIs) {
  const TempDir directory;
  for (const auto& change : std::vector<std::function<void(Options&)>>{
           [](Options& options) { options.target = "|cat >/dev/null"; },
           [](Options& options) { options.compression = writer::Compression::gzip; },
           [](Options& options) { options.bytes_per_second = 1 << 30; }}) {
    StreamingGuest guest;
    Options options = into(directory);
    change(options);
    const Result result = writer::dump(guest, options);
    EXPECT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_EQ(guest.offered, -1);
    EXPECT_EQ(result.pages.written, kPages);  // what read_memory() gave
  }
}

TEST(InPlace, MemoryInAnotherOrderOrTooNearTheBeginningIsNoDump) {
  const TempDir directory;
  const struct {
    std::function<void(StreamingGuest&)> change;
    const char* why;
  } cases[] = {
      {[](StreamingGuest& guest) { std::swap(guest.ranges[0].fd_offset, guest.ranges[1].fd_offset); }, "not in order"},
      {[](StreamingGuest& guest) { guest.ranges[1].fd_offset += kPage; }, "not in order"},
      {[](StreamingGuest& guest) { guest.ranges[1].is_copy = false; }, "not in order"},
      {[](StreamingGuest& guest) {
         guest.ranges[0].fd_offset = 0;
         guest.ranges[1].fd_offset = kHalf * kPage;
       },
       "the guest left 0 bytes before its memory"},
  };
  for (const auto& one : cases) {
    StreamingGuest guest;
    one.change(guest);
    guest.writes = false;
    const Result result = writer::dump(guest, into(directory));
    EXPECT_FALSE(result.status.ok());
    EXPECT_THAT(result.status.text(), HasSubstr(one.why));
    EXPECT_TRUE(directory.entries().empty());
  }
}

// The room that is asked for is enough for what may be in it.
TEST(InPlace, RoomIsEnoughForAllRegisters) {
  for (const auto machine : {format::Machine::x86_64, format::Machine::aarch64})
    for (const auto dialect : {writer::Dialect::qnx, writer::Dialect::vmcore}) {
      const TempDir directory;
      const std::string text(8000, 'v');
      StreamingGuest guest(writer::head_room(64, 2, text.size()));
      guest.machine_kind = machine;
      guest.cpus = 64;
      guest.vmcoreinfo_text = text;
      guest.on_read_cpu = [&](size_t, format::RegisterFile& registers) {
        for (size_t slot = 0; slot < format::registers(machine).size(); ++slot) registers.set_slot(slot, slot + 1);
        return true;
      };
      Options options = into(directory);
      options.dialect = dialect;
      const Result result = writer::dump(guest, options);
      EXPECT_TRUE(result.status.ok()) << result.status.text();
    }
}

}  // namespace
}  // namespace gcore::tests
