#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/convert/convert.h"
#include "tests/support/temp_dir.h"
#include "tests/writer/fake_guest.h"
#include "writer/dump.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

/// A guest whose third page and second vCPU cannot be read, and whose other vCPU's efer is not known.
class DamagedGuest : public FakeGuest {
 public:
  DamagedGuest() : FakeGuest(8, Backing::callback) {
    unreadable_from = 2 * kPage;
    cpus = 3;
    vm_name = "damaged";
    on_read_cpu = [](size_t cpu, format::RegisterFile& registers) {
      if (cpu == 1) return false;
      for (const char* name : {"rip", "rsp", "cs", "cr0", "cr3"}) registers.put(name, 0x10 + cpu);
      if (cpu == 0) registers.put("efer", 0xd01);
      return true;
    };
  }
};

// What could not be read stays that, and is not zeros, through any number of conversions.
TEST(ConvertInfo, IsKept) {
  const TempDir folder;
  DamagedGuest guest;
  writer::Options options;
  options.target = folder.path();
  options.file_name = "in.gcore";
  options.program = "vmm 3";
  ASSERT_TRUE(writer::dump(guest, options, {writer::Reason::Kind::panic, "oops", 11, 2}).status);
  ASSERT_EQ(convert({folder.path("in.gcore"), folder.path("vmcore"), "--dialect", "vmcore"}).status, kDone);
  ASSERT_EQ(convert({folder.path("vmcore"), folder.path("gz"), "--dialect", "vmcore", "--compress", "gzip"}).status,
            kDone);
  ASSERT_EQ(convert({folder.path("gz"), folder.path("back"), "--dialect", "qnx"}).status, kDone);
  const auto before = open_dump(folder.path("in.gcore")), after = open_dump(folder.path("back"));
  const reader::DumpInfo &old_info = before->info(), &info = after->info();
  EXPECT_EQ(info.vm, "damaged");
  EXPECT_THAT(info.program, HasSubstr("vmm 3"));
  EXPECT_EQ(info.reason_kind, "panic");
  EXPECT_EQ(info.reason_detail, "oops");
  EXPECT_EQ(info.requested_ns, old_info.requested_ns);
  EXPECT_EQ(info.pause_ns, old_info.pause_ns);
  EXPECT_EQ(info.consistency, "paused");
  EXPECT_EQ(info.vcpu_count, 3u);
  EXPECT_THAT(info.left_out, testing::ElementsAre(1));
  ASSERT_EQ(info.missing.size(), old_info.missing.size());
  for (size_t i = 0; i < info.missing.size(); ++i) {
    EXPECT_EQ(info.missing[i].first, old_info.missing[i].first);
    EXPECT_EQ(info.missing[i].last, old_info.missing[i].last);
  }
  ASSERT_TRUE(info.pages && old_info.pages);
  EXPECT_EQ(info.pages->missing, old_info.pages->missing);
  EXPECT_GT(info.pages->missing, 0u);
  ASSERT_EQ(after->cpus().size(), 2u);
  for (const size_t cpu : {0, 1}) {
    EXPECT_EQ(after->cpus()[cpu].number, 2 * cpu);
    EXPECT_EQ(after->cpus()[cpu].registers.get("cr3"), 0x10 + 2 * cpu);
    EXPECT_FALSE(after->cpus()[cpu].registers.get("rbx"));
  }
  char byte;
  const auto got = after->read(reader::PhysAddr(2 * kPage), std::as_writable_bytes(std::span(&byte, 1)));
  EXPECT_EQ(got.missing, reader::Missing::unreadable);
}

}  // namespace
}  // namespace gcore::tests
