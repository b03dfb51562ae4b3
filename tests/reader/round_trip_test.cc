// What gcore's own writer puts into a dump comes out of the reader: known from unknown, in every container and dialect.
#include <sys/mman.h>
#include <unistd.h>

#include <tuple>

#include "tests/reader/fixture.h"
#include "tests/support/temp_dir.h"
#include "writer/dump.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = reader::Dump::Extent::Kind;

constexpr uint64_t kPage = 4096, kBase = 0x100000, kPages = 16, kReadable = 10;

/// 16 pages at 1 MiB in a memfd, all of 'x' but page 3, which was never touched; the memfd was then cut to 10 pages.
/// vCPU 0 has cr3, rax and xcr0; vCPU 1 has none of them; vCPU 2 cannot be read.
class CutGuest : public writer::Guest {
 public:
  CutGuest() : fd_(memfd_create("guest", MFD_CLOEXEC)) {
    const std::string page(kPage, 'x');
    EXPECT_EQ(ftruncate(fd_, kReadable * kPage), 0);
    for (uint64_t i = 0; i < kReadable; ++i) {
      if (i == 3) continue;
      EXPECT_EQ(pwrite(fd_, page.data(), kPage, static_cast<off_t>(i * kPage)), ssize_t(kPage));
    }
  }
  ~CutGuest() override { close(fd_); }

  std::string_view name() override { return "cut"; }
  format::Machine machine() override { return format::Machine::x86_64; }
  writer::Status pause() override { return {}; }
  void resume() override {}
  size_t cpu_count() override { return 3; }
  bool read_cpu(size_t index, format::RegisterFile& registers) override {
    if (index == 2) return false;
    for (const char* name : {"rip", "rsp", "cs", "cr0"}) registers.put(name, 0x10 + index);
    if (index == 0)
      for (const char* name : {"cr3", "rax", "xcr0"}) registers.put(name, 0);  // 0, and known to be
    return true;
  }
  std::vector<writer::MemoryRange> memory() override {
    return {{.address = kBase, .size = kPages * kPage, .host = nullptr, .fd = fd_, .fd_offset = 0}};
  }

 private:
  int fd_;
};

class RoundTrip : public testing::TestWithParam<std::tuple<writer::Dialect, writer::Compression>> {
 protected:
  RoundTrip() {
    CutGuest guest;
    writer::Options options;
    options.target = folder_.path();
    std::tie(options.dialect, options.compression) = GetParam();
    options.program = "test-vmm 1";
    const auto result =
        writer::dump(guest, options, {.kind = writer::Reason::Kind::panic, .detail = "oops", .signal = 0, .cpu = 1});
    EXPECT_TRUE(result.status.ok()) << result.status.text();
    auto dump = reader::Dump::open(result.path);
    if (!dump) ADD_FAILURE() << dump.error().text;
    if (dump) dump_ = std::move(*dump);
  }
  void SetUp() override { ASSERT_TRUE(dump_); }

  TempDir folder_;
  std::unique_ptr<reader::Dump> dump_;
};

TEST_P(RoundTrip, RegistersThatTheVmmDidNotHaveAreAbsent) {
  ASSERT_EQ(dump_->cpus().size(), 2u);
  const auto &has = dump_->cpus()[0].registers, &lacks = dump_->cpus()[1].registers;
  for (const char* name : {"rip", "cr0"}) {
    EXPECT_EQ(has.get(name), 0x10u) << name;
    EXPECT_EQ(lacks.get(name), 0x11u) << name;
  }
  for (const char* name : {"cr3", "rax"}) {
    EXPECT_EQ(has.get(name), 0u) << name;
    EXPECT_FALSE(lacks.get(name)) << name;
  }
  EXPECT_FALSE(lacks.get("xcr0"));
  EXPECT_FALSE(has.get("rbx"));
  EXPECT_FALSE(dump_->cpus()[1].page_table);
}

TEST_P(RoundTrip, MemoryThatCouldNotBeReadIsMissing) {
  std::string all(kPages * kPage, '?');
  const auto got = dump_->read(PhysAddr(kBase), std::as_writable_bytes(std::span(all)));
  EXPECT_EQ(got.bytes, kReadable * kPage);
  EXPECT_EQ(got.missing, Missing::unreadable);
  EXPECT_STREQ(reader::describe(got.missing), "the dump's writer could not read it");
  EXPECT_EQ(all.substr(0, 4 * kPage), std::string(3 * kPage, 'x') + std::string(kPage, '\0'));
  EXPECT_EQ(all.substr(9 * kPage, kPage), std::string(kPage, 'x'));

  uint64_t there = 0, missing = 0;
  auto extent = dump_->next_extent(PhysAddr(kBase));
  for (uint64_t at = kBase; extent; extent = dump_->next_extent(PhysAddr(at))) {
    EXPECT_EQ(extent->kind == Kind::missing, extent->address.value >= kBase + kReadable * kPage);
    EXPECT_EQ(extent->why, extent->kind == Kind::missing ? Missing::unreadable : Missing::none);
    (extent->kind == Kind::missing ? missing : there) += extent->size;
    at = extent->address.value + extent->size;
  }
  EXPECT_GE(there, kReadable * kPage);
  EXPECT_EQ(missing, (kPages - kReadable) * kPage);
}

TEST_P(RoundTrip, TheDumpSaysWhereItCameFrom) {
  const reader::DumpInfo& info = dump_->info();
  EXPECT_EQ(info.vm, "cut");
  EXPECT_EQ(info.program, "test-vmm 1");
  EXPECT_EQ(info.reason_kind, "panic");
  EXPECT_EQ(info.reason_detail, "oops");
  EXPECT_EQ(info.consistency, "paused");
  EXPECT_TRUE(info.complete);
  EXPECT_TRUE(info.requested_ns && info.pause_ns);
  EXPECT_THAT(info.left_out, ElementsAre(2));
  EXPECT_EQ(info.vcpu_count, 3u);
  ASSERT_TRUE(info.pages);
  EXPECT_EQ(info.pages->missing, kPages - kReadable);
  EXPECT_EQ(info.pages->written + info.pages->zero + info.pages->absent, kReadable);
  EXPECT_EQ(info.missing_ranges, 1u);
  EXPECT_THAT(dump_->warnings(), IsEmpty());
  constexpr const char* kNames[] = {"none", "gzip", "zstd"};
  EXPECT_EQ(dump_->compression(), kNames[static_cast<size_t>(std::get<1>(GetParam()))]);
  EXPECT_EQ(dump_->dialect() == reader::Dialect::qnx, std::get<0>(GetParam()) == writer::Dialect::qnx);
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip,
                         testing::Combine(testing::Values(writer::Dialect::qnx, writer::Dialect::vmcore),
                                          testing::Values(writer::Compression::none, writer::Compression::gzip,
                                                          writer::Compression::zstd)));

}  // namespace
}  // namespace gcore::tests
