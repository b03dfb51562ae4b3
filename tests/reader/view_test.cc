// Memory without a copy, where nobody can take it away; and files that shrink while threads read them.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;

std::string_view text_of(const reader::View& view) {
  return {reinterpret_cast<const char*>(view.bytes().data()), view.bytes().size()};
}

/// Whether two views of the same place are the same memory.
bool copied(const reader::Dump& dump) {
  const reader::View one = dump.view(PhysAddr(0x1ffe), 4), other = dump.view(PhysAddr(0x1ffe), 4);
  EXPECT_EQ(text_of(one), "aabb");
  EXPECT_EQ(text_of(other), "aabb");
  return one.bytes().data() != other.bytes().data();
}

TEST(View, IsNoCopyWhereTheFileCannotShrink) {
  const std::string bytes = small_dump(two_cpus().build()).build();
  const auto open_fd = [](int fd, bool lasting = false) {
    return std::move(reader::Dump::open_descriptor(fd, "x.gcore", {.progress = {}, .lasting = lasting}).value());
  };
  EXPECT_TRUE(copied(*open_fd(file_of(bytes))));
  EXPECT_FALSE(copied(*open_fd(file_of(bytes), true)));
  EXPECT_FALSE(copied(*open_fd(file_of(gzip_member(bytes)))));
  EXPECT_FALSE(copied(*open_fd(file_of(flattened(bytes)))));

  const int sealed = ::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::write(sealed, bytes.data(), bytes.size()), ssize_t(bytes.size()));
  ASSERT_EQ(::fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_FALSE(copied(*open_fd(sealed)));

  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), ssize_t(bytes.size()));  // fits in a pipe's 64 KiB
  ::close(ends[1]);
  EXPECT_FALSE(copied(*open_fd(ends[0])));
}

TEST(View, ReadsOfAMappedFileEndWhereItEnds) {
  const std::string memory = std::string(100'000, 'a') + std::string(100'000, 'b');
  const std::string bytes = DumpBuilder().note(two_cpus().build()).memory(0, memory).build();
  for (const bool lasting : {false, true}) {
    const auto dump = reader::Dump::open_descriptor(file_of(bytes.substr(0, bytes.size() - 50)), "x.gcore",
                                                    {.progress = {}, .lasting = lasting});
    ASSERT_TRUE(dump);
    for (const size_t size : {size_t{1}, size_t{4096}, size_t{65'536}, size_t{65'537}, size_t{149'000}}) {
      std::string read(size, '?');
      const auto into = std::as_writable_bytes(std::span(read));
      EXPECT_EQ((*dump)->read(PhysAddr(50'000), into).bytes, size);
      EXPECT_TRUE(read == memory.substr(50'000, size)) << size;
      const auto end = (*dump)->read(PhysAddr(memory.size() - 50 - size / 2), into);
      EXPECT_EQ(end.bytes, size / 2);
      EXPECT_EQ(end.missing, Missing::file_truncated);
    }
  }
}

TEST(View, OutlivesTheDump) {
  for (const bool lasting : {false, true}) {
    auto dump = reader::Dump::open_descriptor(small_dump(two_cpus().build()).descriptor(), "x.gcore",
                                              {.progress = {}, .lasting = lasting});
    ASSERT_TRUE(dump);
    const reader::View view = (*dump)->view(PhysAddr(0x10000), 4096);
    dump->reset();
    EXPECT_EQ(text_of(view), std::string(4096, 'c'));
  }
}

TEST(View, ZerosAndWhatIsMissing) {
  DumpBuilder builder = small_dump(two_cpus().build());
  builder.memory(0x20000, "ab", 200'000).header({.address = 0x80000, .memory_size = 4});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(text_of(dump->view(PhysAddr(0x20000), 10)), "ab");
  const reader::View zeros = dump->view(PhysAddr(0x20002), 150'000);
  EXPECT_GT(zeros.bytes().size(), 4096u);
  EXPECT_EQ(text_of(zeros).find_first_not_of('\0'), std::string_view::npos);
  EXPECT_EQ(dump->view(PhysAddr(0x80000), 1).missing(), Missing::left_out);
  EXPECT_EQ(dump->view(PhysAddr(0), 1).missing(), Missing::not_in_any_segment);
}

/// Four threads read and view until each has found that the end is gone, which happens while they do.
void cut_while_threads_read(const std::string& bytes, size_t size, Missing expected) {
  const int fd = file_of(bytes), other = ::dup(fd);
  auto dump = reader::Dump::open_descriptor(fd, "x.gcore");
  ASSERT_TRUE(dump) << dump.error().text;
  std::atomic<int> started = 0, wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        std::string piece(100'000, '?');
        Missing missing = Missing::none;
        for (size_t at = 0; missing == Missing::none; at = (at + 3'000'017) % (size - piece.size())) {
          const auto got = (*dump)->read(PhysAddr(at), std::as_writable_bytes(std::span(piece)));
          wrong += piece.substr(0, got.bytes).find_first_not_of('x') != std::string::npos;
          const reader::View view = (*dump)->view(PhysAddr(at), piece.size());
          wrong += text_of(view).find_first_not_of('x') != std::string_view::npos;
          missing = got.missing;
          if (at == 0) ++started;
        }
        wrong += missing != expected;
      });
    while (started < 4) std::this_thread::yield();
    EXPECT_EQ(::ftruncate(other, 200'000), 0);
  }
  ::close(other);
  EXPECT_EQ(wrong, 0);
}

TEST(View, FileThatShrinksUnderLoad) {
  constexpr size_t kSize = size_t{128} << 20;
  DumpBuilder builder;
  builder.note(two_cpus().build()).memory(0, std::string(kSize, 'x'));
  const std::string bytes = builder.build();
  cut_while_threads_read(bytes, kSize, Missing::file_truncated);
  cut_while_threads_read(gzip_member(bytes, 0), kSize, Missing::damaged);
}

}  // namespace
}  // namespace gcore::tests
