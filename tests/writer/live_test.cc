// Live dumps: the guest goes on, and the dump is of one moment. Guests are threads that write counters through all of
// their memory, so that a page of another moment shows.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/userfaultfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Dumper;
using writer::Options;
using writer::Progress;
using writer::Result;

void wait_until(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

enum class Kind { memfd, anonymous, huge_anonymous, hugetlb };

/// Memory of one kind, in two ranges.
class LiveGuest : public writer::Guest {
 public:
  explicit LiveGuest(Kind kind, uint64_t bytes) : size_(bytes) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (kind == Kind::memfd || kind == Kind::hugetlb) {
      flags = MAP_SHARED;
      fd_ = memfd_create("guest", MFD_CLOEXEC | (kind == Kind::hugetlb ? MFD_HUGETLB : 0));
      EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes)), 0);
    }
    // At a multiple of 2 MiB, for huge pages.
    constexpr uint64_t kHuge = 2 << 20;
    reserved_ = static_cast<char*>(mmap(nullptr, bytes + kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    char* at = reserved_ + (kHuge - reinterpret_cast<uintptr_t>(reserved_) % kHuge) % kHuge;
    host_ = static_cast<char*>(mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd_, 0));
    EXPECT_NE(host_, MAP_FAILED) << std::strerror(errno);
    if (kind == Kind::huge_anonymous) madvise(host_, bytes, MADV_HUGEPAGE);
    if (kind == Kind::anonymous) madvise(host_, bytes, MADV_NOHUGEPAGE);
  }
  ~LiveGuest() override {
    EXPECT_EQ(pauses, resumes);
    EXPECT_EQ(pauses, ends);
    munmap(reserved_, size_ + (2 << 20));
    if (fd_ >= 0) close(fd_);
  }
  std::string_view name() override { return "live"; }
  format::Machine machine() override { return format::Machine::x86_64; }
  writer::Status pause() override {
    ++pauses;
    if (on_pause) on_pause();
    return {};
  }
  void resume() override {
    if (on_resume) on_resume();
    ++resumes;
  }
  void dump_ended() override { ++ends; }
  size_t cpu_count() override { return 1; }
  bool read_cpu(size_t, format::RegisterFile& registers) override { return registers.set("rip", 1); }
  std::vector<writer::MemoryRange> memory() override {
    const uint64_t half = size_ / 2;
    return {{.address = 0, .size = half, .host = host_, .fd = fd_, .fd_offset = 0},
            {.address = uint64_t{1} << 32, .size = size_ - half, .host = host_ + half, .fd = fd_, .fd_offset = half}};
  }
  uint64_t* page(uint64_t index) const { return reinterpret_cast<uint64_t*>(host_ + index * kPage); }
  uint64_t pages() const { return size_ / kPage; }

  std::atomic<int> pauses{0}, resumes{0}, ends{0};
  std::function<void()> on_pause, on_resume;

 private:
  uint64_t size_;
  int fd_ = -1;
  char *reserved_ = nullptr, *host_ = nullptr;
};

/// Writes the number of its round into page after page, for ever, in an order that jumps through all of memory. At any
/// moment the pages that were written in this round hold its number, and the others, which come later in the order, the
/// one before: any page of another moment breaks that. It stops between two writes when the guest is paused.
class Counter {
 public:
  explicit Counter(LiveGuest& guest) : guest_(guest), order_(guest.pages()) {
    const uint64_t pages = guest.pages();
    for (uint64_t i = 0; i < pages; ++i) order_[i] = i * kStride % pages;
    guest.on_pause = [this] {
      wanted_ = true;
      wait_until([this] { return is_paused_.load(); });
    };
    guest.on_resume = [this] {
      wanted_ = false;
      wait_until([this] { return !is_paused_; });
    };
    thread_ = std::thread([this] { run(); });
    wait_until([this] { return round_ > 1; });
  }
  ~Counter() {
    end_ = true;
    thread_.join();
  }
  uint64_t writes() const { return writes_; }

  /// What is in a dump is of one moment.
  void expect_one_moment(const DumpBytes& file) const {
    const auto value = [&](uint64_t page, uint64_t word) {
      const uint64_t half = guest_.pages() / 2;
      const uint64_t at = page < half ? file.p_offset(1) + page * kPage : file.p_offset(2) + (page - half) * kPage;
      return file.u64(at + word * 8);
    };
    const uint64_t newest = value(order_[0], 0);
    bool is_before = false;  // the place in the order that the round had come to
    uint64_t wrong = 0;
    for (const uint64_t page : order_) {
      const uint64_t first = value(page, 0), last = value(page, 511);
      if (first == newest - 1) is_before = true;
      // A page is written at both its ends, the last word first; the one at which it was stopped may have one only.
      const bool fits = first == (is_before ? newest - 1 : newest) && (last == first || last == first + 1);
      if (!fits && ++wrong < 5)
        ADD_FAILURE() << "page " << page << ": " << first << ", " << last << " in round " << newest;
    }
    EXPECT_EQ(wrong, 0U);
  }

 private:
  void run() {
    while (!end_) {
      for (const uint64_t page : order_) {
        if (wanted_) {
          is_paused_ = true;
          wait_until([this] { return !wanted_ || end_; });
          is_paused_ = false;
        }
        if (end_) return;
        volatile uint64_t* words = guest_.page(page);
        words[511] = round_ + 1;
        words[0] = round_ + 1;
        ++writes_;
      }
      ++round_;
    }
  }

  static constexpr uint64_t kStride = 7919;  // a prime, so that each page has its turn
  LiveGuest& guest_;
  std::vector<uint64_t> order_;
  std::atomic<bool> wanted_{false}, is_paused_{false}, end_{false};
  std::atomic<uint64_t> round_{0}, writes_{0};
  std::thread thread_;
};

Options live_to(const std::string& target) {
  Options options;
  options.target = target;
  options.live = true;
  options.sync = false;
  return options;
}

/// All of memory can be written without anybody's help, and nobody is left who serves it.
void expect_unprotected(const LiveGuest& guest) {
  for (uint64_t page = 0; page < guest.pages(); ++page) {
    volatile uint64_t* words = guest.page(page);
    words[1] = words[1] + 1;
  }
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  ASSERT_GE(fd, 0);
  uffdio_api api = {UFFD_API, 0, 0};
  ASSERT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
  uffdio_register range = {};
  range.range = {reinterpret_cast<uintptr_t>(guest.page(0)), guest.pages() * kPage};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  EXPECT_EQ(ioctl(fd, UFFDIO_REGISTER, &range), 0) << std::strerror(errno) << ": nobody else has it";
  close(fd);
}

/// Huge pages for as long as it exists.
class HugePages {
 public:
  explicit HugePages(int count) {
    if (count == 0) return;
    lock_ = open("/dev/shm/gcore-tests-huge-pages.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(flock(lock_, LOCK_EX), 0);  // tests run in parallel
    before_ = read_file(kPath);
    write_number(kPath, count);
    if (std::stoi(read_file(kPath)) >= count) return;
    // A machine that has compiled and booted guests may have its free memory in small pieces.
    write_number("/proc/sys/vm/drop_caches", 3);
    write_number("/proc/sys/vm/compact_memory", 1);
    write_number(kPath, count);
    EXPECT_GE(std::stoi(read_file(kPath)), count) << "huge pages";
  }
  ~HugePages() {
    if (lock_ < 0) return;
    write_number(kPath, std::stoi(before_));
    close(lock_);
  }

 private:
  static constexpr const char* kPath = "/proc/sys/vm/nr_hugepages";
  static void write_number(const char* path, int number) {
    std::FILE* file = std::fopen(path, "w");
    ASSERT_NE(file, nullptr) << "these tests run as root";
    std::fprintf(file, "%d", number);
    std::fclose(file);
  }
  std::string before_;
  int lock_ = -1;
};

class Live : public testing::TestWithParam<Kind> {
 protected:
  static constexpr uint64_t kSize = 8 << 20;

  /// To a command that takes nothing before all of the guest's memory has been written twice: whoever waits for it
  /// waits for ever.
  Result dump_slowly(LiveGuest& guest, const Counter& counter, Options options) {
    const std::string gate = directory_.path("gate");
    EXPECT_EQ(mkfifo(gate.c_str(), 0600), 0);
    options.target = "|read line <" + gate + "; cat >" + directory_.path("copy");
    writer::Status status;
    const auto dumper = Dumper::create(guest, options, {}, status);
    EXPECT_TRUE(dumper) << status.text();
    if (!dumper) return {};
    dumper->request();
    wait_until([&] { return guest.resumes == 1; });
    const uint64_t before = counter.writes();
    wait_until([&] { return counter.writes() - before > 2 * guest.pages(); });
    EXPECT_EQ(dumper->progress().phase, Progress::Phase::writing);
    std::ofstream(gate) << "\n";
    const Result result = dumper->wait();
    std::filesystem::remove(gate);
    return result;
  }

  void expect_copy(const Result& result, const Counter& counter) {
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_TRUE(result.live) << result.notice;
    counter.expect_one_moment(DumpBytes(read_file(directory_.path("copy"))));
  }

  TempDir directory_;
};

TEST_P(Live, DumpIsOfOneMoment) {
  const HugePages huge(GetParam() == Kind::hugetlb ? 8 : 0);
  LiveGuest guest(GetParam(), kSize);
  Counter counter(guest);
  Options options = live_to(directory_.path());
  options.file_name = "dump";
  options.replace = true;
  for (int round = 0; round < 3; ++round) {
    const Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    EXPECT_TRUE(result.live) << result.notice;
    EXPECT_EQ(result.notice, "");
    const DumpBytes file(read_file(result.path));
    counter.expect_one_moment(file);
    EXPECT_THAT(file.info(), HasSubstr(R"("consistency": "snapshot")"));
    const uint64_t before = counter.writes();
    wait_until([&] { return counter.writes() > before; });
  }
  EXPECT_EQ(guest.pauses, 3);
}

TEST_P(Live, SlowTargetKeepsNobodyFromWriting) {
  const HugePages huge(GetParam() == Kind::hugetlb ? 8 : 0);
  LiveGuest guest(GetParam(), kSize);
  Counter counter(guest);
  Options options = live_to("");
  options.live_memory = kSize;  // so that nobody waits
  expect_copy(dump_slowly(guest, counter, options), counter);
}

TEST_P(Live, SavedPagesAreBoundedAndWritersThenWait) {
  const HugePages huge(GetParam() == Kind::hugetlb ? 8 : 0);
  LiveGuest guest(GetParam(), kSize);
  Counter counter(guest);
  Options options = live_to("|cat >" + directory_.path("copy"));
  options.live_memory = 512 << 10;
  options.bytes_per_second = 32 << 20;
  expect_copy(writer::dump(guest, options), counter);
}

TEST_P(Live, PageStoreTakesWhatMemoryDoesNot) {
  const HugePages huge(GetParam() == Kind::hugetlb ? 8 : 0);
  LiveGuest guest(GetParam(), kSize);
  Counter counter(guest);
  Options options = live_to("");
  options.live_memory = 512 << 10;
  options.page_store = directory_.path();
  expect_copy(dump_slowly(guest, counter, options), counter);
  EXPECT_THAT(directory_.entries(), testing::ElementsAre("copy")) << "the store has no name";
}

TEST_P(Live, CancelledInEachPhaseItLeavesTheGuestRunningAndUnprotected) {
  const HugePages huge(GetParam() == Kind::hugetlb ? 8 : 0);
  LiveGuest guest(GetParam(), kSize);
  {
    Counter counter(guest);
    Options options = live_to("|cat >/dev/null; sleep 1000");
    options.bytes_per_second = 2 << 20;
    writer::Status status;
    const auto dumper = Dumper::create(guest, options, {}, status);
    for (const auto phase : {Progress::Phase::opening, Progress::Phase::protecting, Progress::Phase::pausing,
                             Progress::Phase::writing, Progress::Phase::finishing}) {
      if (phase == Progress::Phase::finishing) continue;  // below
      dumper->request();
      const uint64_t dumps = dumper->progress().dumps;
      // A short phase may be over before it is seen.
      const auto order = [](Progress::Phase of) {
        return of == Progress::Phase::protecting ? 15 : 10 * static_cast<int>(of);
      };
      wait_until([&] { return order(dumper->progress().phase) >= order(phase) || dumper->progress().dumps > dumps; });
      dumper->cancel();
      EXPECT_TRUE(dumper->wait().cancelled);
      const uint64_t before = counter.writes();
      wait_until([&] { return counter.writes() - before > guest.pages(); });
    }
    // With the writer of memory waiting for room.
    Options narrow = options;
    narrow.live_memory = 1;  // of one page, which is the least
    narrow.bytes_per_second = 1 << 20;
    const auto slow = Dumper::create(guest, narrow, {}, status);
    slow->request();
    const int resumes = guest.resumes;
    wait_until([&] { return guest.resumes > resumes; });
    uint64_t seen = counter.writes();
    for (auto since = std::chrono::steady_clock::now();
         std::chrono::steady_clock::now() - since < std::chrono::milliseconds(20);)
      if (const uint64_t now = counter.writes(); now != seen) {
        seen = now;
        since = std::chrono::steady_clock::now();
      }
    slow->cancel();
    EXPECT_TRUE(slow->wait().cancelled);
    wait_until([&] { return counter.writes() - seen > guest.pages(); });
  }
  expect_unprotected(guest);
}

std::string name_of(const testing::TestParamInfo<Kind>& instance) {
  constexpr const char* kNames[] = {"memfd", "anonymous", "huge_anonymous", "hugetlb"};
  return kNames[static_cast<int>(instance.param)];
}

INSTANTIATE_TEST_SUITE_P(Memory, Live,
                         testing::Values(Kind::memfd, Kind::anonymous, Kind::huge_anonymous, Kind::hugetlb), name_of);

TEST(LiveMany, DumpsInARow) {
  TempDir directory;
  LiveGuest guest(Kind::memfd, 2 << 20);
  {
    Counter counter(guest);
    Options options = live_to(directory.path());
    options.file_name = "dump";
    options.replace = true;
    options.live_memory = 256 << 10;
    writer::Status status;
    const auto dumper = Dumper::create(guest, options, {}, status);
    for (int round = 0; round < 50; ++round) {
      dumper->request();
      const Result result = dumper->wait();
      ASSERT_TRUE(result.status.ok() && result.live) << result.status.text() << result.notice;
      counter.expect_one_moment(DumpBytes(read_file(result.path)));
    }
  }
  EXPECT_EQ(guest.pauses, 50);
  expect_unprotected(guest);
}

TEST(LiveFailure, OfTheTargetLeavesTheGuestUnprotected) {
  LiveGuest guest(Kind::memfd, 2 << 20);
  {
    Counter counter(guest);
    const Result result = writer::dump(guest, live_to("|head -c 100000 >/dev/null; exit 3"));
    EXPECT_EQ(result.status.error().code, EPIPE) << result.status.text();
    const uint64_t before = counter.writes();
    wait_until([&] { return counter.writes() - before > guest.pages(); });
  }
  expect_unprotected(guest);
}

TEST(LiveFailure, UntouchedMemoryStaysUntouched) {
  TempDir directory;
  LiveGuest guest(Kind::memfd, 64 << 20);
  *guest.page(5) = 1;
  const Result result = writer::dump(guest, live_to(directory.path()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_TRUE(result.live) << result.notice;
  EXPECT_EQ(result.pages.written, 1U);
  EXPECT_EQ(result.pages.absent, guest.pages() - 1);
  struct stat info;
  ASSERT_EQ(stat(result.path.c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
}

/// Writes to one page as soon as it goes on.
class WritingGuest : public FakeGuest {
 public:
  WritingGuest(uint64_t pages, Backing backing, uint64_t page) : FakeGuest(pages, backing), page_(page) {
    any_time = true;
    fill(0, 'x', pages);
  }
  void resume() override {
    FakeGuest::resume();
    *static_cast<volatile char*>(host + page_ * kPage) = 'y';
  }

 private:
  uint64_t page_;
};

TEST(LiveFailure, APageBesideOneThatCannotBeReadIsCopiedAside) {
  TempDir directory;
  WritingGuest guest(8, FakeGuest::Backing::memfd, 4);
  ASSERT_EQ(ftruncate(guest.fd, 5 * kPage), 0);
  guest.ranges = {guest.range(0, 0, 8 * kPage)};
  const Result result = writer::dump(guest, live_to(directory.path()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_TRUE(result.live) << result.notice;
  EXPECT_EQ(result.pages.written, 5U);
  EXPECT_EQ(result.pages.missing, 3U);
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.u8(file.p_offset(1) + 4 * kPage), 'x');
}

// A page that can be written and not be read.
TEST(LiveFailure, WhatIsKeptOfADumpOfNoOneMomentSaysSo) {
  TempDir directory;
  WritingGuest guest(8, FakeGuest::Backing::host, 4);
  ASSERT_EQ(mprotect(guest.host + 4 * kPage, kPage, PROT_WRITE), 0);
  Options options = live_to(directory.path());
  options.keep_partial = true;
  const Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.text(),
            "a page of guest memory could not be copied aside before the guest changed it: reading it: Bad address");
  ASSERT_TRUE(result.path.ends_with(".partial")) << result.path << result.notice;
  EXPECT_THAT(DumpBytes(read_file(result.path)).info(), HasSubstr(R"("consistency": "torn")"));
}

TEST(LiveFallback, WithoutWhatItTakesTheGuestIsPausedAndTheReasonSaid) {
  TempDir directory;
  Options options = live_to(directory.path());
  FakeGuest unmapped(64, FakeGuest::Backing::memfd_without_mapping);
  unmapped.fill(0, 'x', 64);
  unmapped.any_time = true;
  const Result result = writer::dump(unmapped, options);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_FALSE(result.live);
  EXPECT_EQ(result.notice,
            "the guest was paused while it was dumped: guest memory that is not mapped in the VMM cannot "
            "be protected");
  EXPECT_THAT(DumpBytes(read_file(result.path)).info(), HasSubstr(R"("consistency": "paused")"));

  // Its own userfaultfd.
  FakeGuest other(64);
  other.any_time = true;
  const int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  uffdio_api api = {UFFD_API, 0, 0};
  ASSERT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
  uffdio_register range = {};
  range.range = {reinterpret_cast<uintptr_t>(other.host), other.size};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  ASSERT_EQ(ioctl(fd, UFFDIO_REGISTER, &range), 0);
  const Result busy = writer::dump(other, options);
  close(fd);
  ASSERT_TRUE(busy.status.ok()) << busy.status.text();
  EXPECT_FALSE(busy.live);
  EXPECT_THAT(busy.notice, testing::EndsWith("the VMM has a userfaultfd of its own for it"));
}

TEST(LiveFallback, WithoutTheRightToItTheGuestIsPaused) {
  TempDir directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  const pid_t vmm = fork();
  ASSERT_GE(vmm, 0);
  if (vmm == 0) {
    LiveGuest guest(Kind::memfd, 1 << 20);
    *guest.page(3) = 1;
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(9);
    const Result result = writer::dump(guest, live_to(directory.path()));
    const bool good = result.status.ok() && !result.live && result.pages.written == 1 &&
                      result.notice.find(
                          "userfaultfd: Operation not permitted; give the VMM access to "
                          "/dev/userfaultfd, or CAP_SYS_PTRACE") != std::string::npos;
    if (!good) std::fprintf(stderr, "%s %s\n", result.status.text().c_str(), result.notice.c_str());
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(vmm, &status, 0), vmm);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace gcore::tests
