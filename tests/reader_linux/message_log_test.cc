// The buffer of messages of kernels before 5.10, in memory of our own making, right and lying.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/messages.h"
#include "tests/support/dump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using namespace std::string_literals;
using reader::linux_guest::Kernel;
using reader::linux_guest::Message;
using reader::linux_guest::Messages;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kImage = 0xffffffff81000000, kPhysical = 0x1000000, kImageSize = 0x200000;
constexpr uint64_t kVariables = 0x1000, kBuffer = 0x10000;  // in the image
constexpr uint64_t kHeader = 16;                            // sizeof(struct printk_log)

/// A record as kernel/printk/printk.c of 5.9 has it: ts_nsec, len, text_len, dict_len, facility, and flags with level
/// in one byte; the text, the dictionary, and zeros up to a multiple of 8.
struct Record {
  uint64_t time_ns;
  std::string text;
  std::string dictionary{};
  uint8_t facility = 0, level = 6, flags = 2;       // LOG_NEWLINE
  std::optional<uint16_t> length{}, text_length{};  // what it says, where that is a lie
};

class MessageLog : public testing::Test {
 protected:
  uint64_t put(const Record& record, uint64_t at) {
    Bytes bytes;
    const size_t whole = (kHeader + record.text.size() + record.dictionary.size() + 7) / 8 * 8;
    bytes.u64(record.time_ns).u16(record.length.value_or(static_cast<uint16_t>(whole)));
    bytes.u16(record.text_length.value_or(static_cast<uint16_t>(record.text.size()))).u16(record.dictionary.size());
    bytes.u8(record.facility).u8(record.flags | record.level << 5).text(record.text).text(record.dictionary);
    bytes.pad_to(whole);
    buffer_.replace(at, whole, bytes.str());
    return at + whole;
  }
  uint64_t put_all(const std::vector<Record>& records, uint64_t at = 0) {
    for (const Record& record : records) at = put(record, at);
    return at;
  }

  /// The messages between `first` and `next` of a buffer of 4096 bytes.
  reader::Expected<Messages> read(uint64_t first, uint64_t next) {
    Bytes paging;
    paging.zeros(3 * 4096);
    paging.put(8 * 511, 0x2003, 8).put(4096 + 8 * 510, 0x3003, 8).put(8192 + 8 * 8, kPhysical | 0x183, 8);
    Bytes image;
    image.zeros(kImageSize);
    image.put(kVariables, pointer_, 8).put(kVariables + 8, length_, 4);
    image.put(kVariables + 12, first, 4).put(kVariables + 16, next, 4);
    std::string bytes = image.str();
    bytes.replace(kBuffer, buffer_.size(), buffer_);
    QnxNote note;
    note.cpus.push_back({});
    note.cpus[0].registers = {
        {"cr0", 0x80050033}, {"cr3", 0x1000}, {"cr4", 0x20}, {"efer", 0xd01}, {"rip", kImage + 0x100}};
    note.extra_names = {"cr0", "cr3", "cr4", "efer"};
    DumpBuilder builder;
    builder.note(note.build()).memory(0x1000, paging.str()).memory(kPhysical, bytes);
    auto dump = reader::Dump::open(folder_.write("dump", builder.build()));
    if (!dump) return std::unexpected(dump.error());
    reader::GuestSystem guest;
    guest.kind = reader::GuestSystem::Kind::linux_kernel;
    guest.image_address = reader::VirtAddr(kImage);
    guest.image_physical = reader::PhysAddr(kPhysical);
    guest.vmcoreinfo = vmcoreinfo_;
    const auto kernel = Kernel::find(**dump, guest);
    if (!kernel) return std::unexpected(kernel.error());
    return (*kernel)->messages();
  }

  TempDir folder_;
  std::string buffer_ = std::string(4096, '\0');
  uint64_t pointer_ = kImage + kBuffer, length_ = 4096;
  std::string vmcoreinfo_ =
      "SYMBOL(log_buf)=ffffffff81001000\nSYMBOL(log_buf_len)=ffffffff81001008\n"
      "SYMBOL(log_first_idx)=ffffffff8100100c\nSYMBOL(log_next_idx)=ffffffff81001010\n"
      "SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\n"
      "OFFSET(printk_log.text_len)=10\nOFFSET(printk_log.dict_len)=12\n";
};

TEST_F(MessageLog, HasTextsWithoutTheirDictionaries) {
  const uint64_t end = put_all({{0, "Linux version 5.9"},
                                {1'500'000'000, "pci 0000:00:01.0: found", "SUBSYSTEM=pci\0DEVICE=+pci:0000:00:01.0"s},
                                {2'000'001'999, "from a program", "", 3, 4, 2},
                                {3'000'000'000, "no end yet ...", "", 0, 0, 0},
                                {3'000'000'000, ""}});
  const auto messages = read(0, end);
  ASSERT_TRUE(messages) << messages.error().text;
  EXPECT_EQ(dmesg_text(*messages),
            "[    0.000000] Linux version 5.9\n"
            "[    1.500000] pci 0000:00:01.0: found\n"
            "[    2.000001] from a program\n"
            "[    3.000000] no end yet ...\n"
            "[    3.000000] \n");
  EXPECT_EQ(messages->lost, 0u);
  EXPECT_EQ(messages->source, "log_buf by VMCOREINFO");
  ASSERT_THAT(messages->records, SizeIs(5));
  EXPECT_EQ(messages->records[0].level, 6);
  EXPECT_EQ(messages->records[2].facility, 3);
  EXPECT_EQ(messages->records[2].level, 4);
  EXPECT_FALSE(messages->records[2].continues);
  EXPECT_EQ(messages->records[3].level, 0);
  EXPECT_TRUE(messages->records[3].continues);
}

/// Where there is no room for a record and one more header, a header of zeros sends the reader to the start.
TEST_F(MessageLog, GoesOnAtTheStart) {
  const uint64_t next = put(Record{30, "third"}, 0);
  uint64_t at = put(Record{10, "first"}, 3960);
  at = put(Record{20, "second"}, at);
  ASSERT_LE(at + kHeader, 4096u);
  buffer_.replace(at, kHeader, kHeader, '\0');
  put(Record{5, "overwritten, and no longer between the ends"}, next);
  const auto messages = read(3960, next);
  ASSERT_TRUE(messages) << messages.error().text;
  EXPECT_THAT(messages->records,
              ElementsAre(testing::Field(&Message::text, "first"), testing::Field(&Message::text, "second"),
                          testing::Field(&Message::text, "third")));
  EXPECT_EQ(messages->records[2].sequence, 2u);
  EXPECT_EQ(messages->lost, 0u);

  // Exactly up to the end of the buffer: nothing says where to go on, and nobody reads beyond it.
  const uint64_t last = put(Record{10, "last one"}, 4096 - 24);
  ASSERT_EQ(last, 4096u);
  const auto cut = read(4096 - 24, next);
  ASSERT_TRUE(cut);
  EXPECT_THAT(cut->records, ElementsAre(testing::Field(&Message::text, "last one")));
  EXPECT_EQ(cut->lost, 1u);
}

TEST_F(MessageLog, IsEmptyWhereItsEndsAre) {
  const auto messages = read(0, 0);
  ASSERT_TRUE(messages) << messages.error().text;
  EXPECT_THAT(messages->records, IsEmpty());
  EXPECT_EQ(messages->lost, 0u);
}

TEST_F(MessageLog, EndsWhereALengthLies) {
  // Shorter than what it holds, beyond the buffer, or into what is no record.
  for (const uint16_t lie : std::initializer_list<uint16_t>{1, 15, 16, 20, 4080, 0xffff}) {
    const uint64_t end = put_all({{1, "sound"}, {.time_ns = 2, .text = "lies", .length = lie}, {3, "not reached"}});
    const auto messages = read(0, end);
    ASSERT_TRUE(messages) << messages.error().text;
    ASSERT_THAT(messages->records, SizeIs(lie == 20 ? 2 : 1)) << lie;
    EXPECT_EQ(messages->records[0].text, "sound");
    EXPECT_EQ(messages->lost, 1u) << lie;
  }
  const uint64_t end = put_all({{1, "sound"}, {.time_ns = 2, .text = "lies", .text_length = 0xfff0}, {3, "no"}});
  const auto messages = read(0, end);
  ASSERT_TRUE(messages);
  EXPECT_THAT(messages->records, SizeIs(1));
  EXPECT_EQ(messages->lost, 1u);
}

/// A circle of records that never comes to the end that the kernel named: it is gone round once.
TEST_F(MessageLog, IsGoneRoundOnce) {
  uint64_t at = 0;
  while (at + 48 <= 4096) at = put(Record{at, "again"}, at);
  buffer_.replace(at, kHeader, kHeader, '\0');
  const auto messages = read(0, 12);  // within the first record
  ASSERT_TRUE(messages);
  EXPECT_THAT(messages->records, SizeIs(at / 24));
  EXPECT_EQ(messages->lost, 1u);

  buffer_.assign(4096, '\0');
  const auto zeros = read(8, 16);  // each header sends to the start, and so does the one there
  ASSERT_TRUE(zeros);
  EXPECT_THAT(zeros->records, IsEmpty());
  EXPECT_EQ(zeros->lost, 1u);
}

TEST_F(MessageLog, ThatCannotBeSaysWhy) {
  const uint64_t end = put_all({{1, "sound"}});
  const auto why = [](const reader::Expected<Messages>& messages) {
    return messages ? std::string("it is there") : messages.error().text;
  };
  EXPECT_THAT(why(read(4096, end)), HasSubstr("a buffer of 4096 bytes with records from 4096 to"));
  EXPECT_THAT(why(read(0, 4097)), HasSubstr("from 0 to 4097"));
  length_ = 0;
  EXPECT_THAT(why(read(0, 0)), HasSubstr("a buffer of 0 bytes"));
  length_ = 0xffffffff;
  EXPECT_THAT(why(read(0, end)), HasSubstr("a buffer of 4294967295 bytes"));
  length_ = 4096;

  pointer_ = kImage + kImageSize;  // mapped nowhere
  const auto nowhere = read(0, end);
  ASSERT_TRUE(nowhere) << nowhere.error().text;
  EXPECT_THAT(nowhere->records, IsEmpty());
  EXPECT_EQ(nowhere->lost, 1u);
  pointer_ = kImage + kBuffer;

  const std::string all = vmcoreinfo_;
  const auto without = [&](const std::string& start) {
    vmcoreinfo_ = all;
    const size_t at = vmcoreinfo_.find(start);
    vmcoreinfo_.erase(at, vmcoreinfo_.find('\n', at) + 1 - at);
    return why(read(0, end));
  };
  EXPECT_THAT(without("OFFSET(printk_log.ts_nsec)"), HasSubstr("nothing says the offset of printk_log.ts_nsec"));
  EXPECT_THAT(without("SIZE(printk_log)"), HasSubstr("nothing says the size of printk_log"));
  EXPECT_THAT(without("SYMBOL(log_next_idx)"), HasSubstr("log_buf, its length or its ends are not in the dump"));
  EXPECT_THAT(without("SYMBOL(log_buf)"), HasSubstr("nor the kernel's own names say where they are (prb, log_buf)"));
  vmcoreinfo_ = all;
  vmcoreinfo_.replace(vmcoreinfo_.find("SIZE(printk_log)=16"), 19, "SIZE(printk_log)=65");
  EXPECT_THAT(why(read(0, end)), HasSubstr("a buffer of 4096 bytes"));
}

}  // namespace
}  // namespace gcore::tests
