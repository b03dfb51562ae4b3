// What goes wrong around a dump: full disks, commands that misbehave, a VMM that is killed, limits. Everywhere the
// guest goes on (FakeGuest counts pauses), and no file has a final name without being whole.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/support/small_disk.h"
#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using writer::Options;
using writer::Result;

Options to(const std::string& target) {
  Options options;
  options.target = target;
  options.sync = false;
  return options;
}

/// Whole: as long as its last segment says plus .gcore.info, which says so too.
void expect_whole(const std::string& path, uint64_t pages) {
  const DumpBytes file(read_file(path));
  ASSERT_GT(file.size(), 64U) << path;
  EXPECT_EQ(file.size(), file.p_offset(2) + file.p_filesz(2) + 16384) << path;
  EXPECT_EQ(file.p_filesz(1) + file.p_filesz(2), pages * kPage) << path;
  EXPECT_THAT(file.info(), HasSubstr("\"complete\": true")) << path;
}

class FullDisk : public testing::TestWithParam<int> {
 protected:
  /// A dump of 512 KiB for which, when it has looked at the room, GetParam() tenths of its size are left.
  Result dump_while_it_fills(bool keep_partial) {
    FakeGuest guest(128, FakeGuest::Backing::callback);
    guest.fill(0, 'x', 128);
    guest.on_read_memory = [this](uint64_t) {
      if (!directory_.entries().empty()) return;
      struct statvfs room = {};
      ASSERT_EQ(statvfs(directory_.path().c_str(), &room), 0);
      const uint64_t left = static_cast<uint64_t>(GetParam()) * 13 * kPage;
      directory_.write("other", std::string(room.f_bavail * room.f_frsize - left, 'y'));
    };
    Options options = to(directory_.path());
    options.keep_partial = keep_partial;
    Result result = writer::dump(guest, options);
    EXPECT_EQ(guest.resumes, 1);
    return result;
  }

  const SmallDisk disk_{"1m"};
  const TempDir& directory_ = disk_.directory();
};

TEST_P(FullDisk, LeavesNothing) {
  const Result result = dump_while_it_fills(false);
  EXPECT_EQ(result.status.error().code, ENOSPC) << result.status.text();
  EXPECT_EQ(result.path, "");
  EXPECT_THAT(directory_.entries(), testing::ElementsAre("other"));
}

TEST_P(FullDisk, KeepsAValidPartialDumpWhenTold) {
  const Result result = dump_while_it_fills(true);
  EXPECT_EQ(result.status.error().code, ENOSPC) << result.status.text();
  if (GetParam() < 2) {  // hardly more than the head
    EXPECT_LE(directory_.entries().size(), 2U);
    return;
  }
  ASSERT_THAT(result.path, testing::EndsWith(".gcore.partial"));
  const DumpBytes file(read_file(result.path));
  EXPECT_EQ(file.size(), result.bytes);
  EXPECT_THAT(file.info(), HasSubstr("\"complete\": false"));
  EXPECT_EQ(file.u16(56), 3);
  EXPECT_GT(file.p_filesz(1), 0U);
  for (unsigned i = 1; i <= 2; ++i) {
    EXPECT_LE(file.p_filesz(i), file.u64(file.phdr(i) + 40));
    if (file.p_filesz(i) == 0) continue;
    EXPECT_TRUE(file.text(file.p_offset(i), file.p_filesz(i)) == std::string(file.p_filesz(i), 'x'));
  }
}

INSTANTIATE_TEST_SUITE_P(Tenths, FullDisk, testing::Range(0, 10));

class StopsReading : public testing::TestWithParam<const char*> {};

TEST_P(StopsReading, IsAnErrorAndNoSignal) {
  FakeGuest guest(1024);
  guest.fill(0, 'x', 1024);
  const Result result = writer::dump(guest, to(GetParam()));
  EXPECT_FALSE(result.status.ok());
  EXPECT_FALSE(result.cancelled);
  EXPECT_EQ(guest.resumes, 1);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left to reap";
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

INSTANTIATE_TEST_SUITE_P(Commands, StopsReading,
                         testing::Values("|exec <&-; exit 0", "|head -c 2000000 >/dev/null", "|exit 3",
                                         "|cat >/dev/null; exit 3", "|/nonexistent/program 2>/dev/null"));

TEST(Command, ThatClosesItsInputAfterTheLastByteIsFine) {
  FakeGuest guest(16);
  EXPECT_TRUE(writer::dump(guest, to("|cat >/dev/null; exec <&-; exit 0")).status.ok());
}

TEST(Command, ThatLeavesTheLastByteUnreadHasNotGotTheDump) {
  FakeGuest guest(16);
  guest.fill(0, 'x', 16);
  const uint64_t size = writer::dump(guest, to("|cat >/dev/null")).bytes;
  ASSERT_GT(size, 16 * kPage);
  for (const bool whole : {false, true}) {
    const std::string read = std::to_string(whole ? size : size - 1);
    const Result result = writer::dump(guest, to("|head -c " + read + " >/dev/null"));
    EXPECT_EQ(result.status.ok(), whole) << result.status.text();
    if (whole) continue;
    EXPECT_EQ(result.status.error().code, EPIPE);
    EXPECT_THAT(result.status.text(), HasSubstr("it stopped reading after " + read + " bytes"));
  }
}

TEST(Killed, LeavesNothingUnderAFinalName) {
  constexpr uint64_t kPages = 2048;
  TempDir directory;
  FakeGuest guest(kPages);
  guest.fill(0, 'x', kPages);
  const auto start = std::chrono::steady_clock::now();
  const Result whole = writer::dump(guest, to(directory.path()));
  const std::chrono::microseconds took =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  ASSERT_TRUE(whole.status.ok());
  std::filesystem::remove(whole.path);
  unsigned finished = 0;
  uint32_t seed = 7;
  for (int moment = 0; moment < 50; ++moment) {
    seed = seed * 1664525 + 1013904223;
    const auto delay = std::chrono::microseconds(seed % (4 * took.count() + 1));
    const pid_t vmm = fork();
    ASSERT_GE(vmm, 0);
    if (vmm == 0) {
      for (;;) static_cast<void>(writer::dump(guest, to(directory.path())));
    }
    std::this_thread::sleep_for(delay);  // the moment is what is tested; any will do
    kill(vmm, SIGKILL);
    ASSERT_EQ(waitpid(vmm, nullptr, 0), vmm);
    for (const std::string& name : directory.entries()) {
      if (name.starts_with('.')) continue;  // on a file system without O_TMPFILE
      expect_whole(directory.path(name), kPages);
      ++finished;
      std::filesystem::remove(directory.path(name));
    }
  }
  EXPECT_GT(finished, 0U) << "some dumps were quick enough";
}

TEST(TwoVmms, WithOneNameInOneSecondGetANameEach) {
  TempDir directory;
  FakeGuest guest(256);
  guest.fill(0, 'x', 256);
  constexpr int kDumps = 4;
  pid_t vmms[2];
  for (pid_t& vmm : vmms) {
    vmm = fork();
    ASSERT_GE(vmm, 0);
    if (vmm != 0) continue;
    int failures = 0;
    for (int i = 0; i < kDumps; ++i) failures += writer::dump(guest, to(directory.path())).status.ok() ? 0 : 1;
    _exit(failures);
  }
  for (const pid_t vmm : vmms) {
    int status = 0;
    ASSERT_EQ(waitpid(vmm, &status, 0), vmm);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(directory.entries().size(), 2U * kDumps);
  for (const std::string& name : directory.entries()) expect_whole(directory.path(name), 256);
}

TEST(Directory, RemovedDuringTheDumpIsAnError) {
  TempDir directory;
  const std::string dumps = directory.path("dumps");
  std::filesystem::create_directory(dumps);
  FakeGuest guest;
  guest.on_read_cpu = [&](size_t, format::RegisterFile&) { return std::filesystem::remove_all(dumps), true; };
  const Result result = writer::dump(guest, to(dumps));
  EXPECT_EQ(result.status.error().code, ENOENT) << result.status.text();
  EXPECT_THAT(directory.entries(), IsEmpty());
}

TEST(Directory, ReplacedByALinkDuringTheDumpDoesNotLeadElsewhere) {
  TempDir directory, elsewhere;
  const std::string dumps = directory.path("dumps");
  std::filesystem::create_directory(dumps);
  FakeGuest guest;
  guest.on_read_cpu = [&](size_t, format::RegisterFile&) {
    if (std::filesystem::is_symlink(dumps)) return true;
    std::filesystem::rename(dumps, directory.path("moved"));
    std::filesystem::create_directory_symlink(elsewhere.path(), dumps);
    return true;
  };
  EXPECT_TRUE(writer::dump(guest, to(dumps)).status.ok());
  EXPECT_THAT(elsewhere.entries(), IsEmpty());
  EXPECT_FALSE(std::filesystem::is_empty(directory.path("moved")));
}

/// Lowers a limit of this process for its lifetime.
class Limit {
 public:
  Limit(__rlimit_resource resource, rlim_t soft) : resource_(resource) {
    EXPECT_EQ(getrlimit(resource, &before_), 0);
    const rlimit lower = {soft, before_.rlim_max};
    EXPECT_EQ(setrlimit(resource, &lower), 0);
  }
  ~Limit() { setrlimit(resource_, &before_); }

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

TEST(Limits, NoDescriptorsIsAnErrorBeforeThePause) {
  TempDir directory;
  FakeGuest guest;
  for (const std::string& target : {directory.path(), std::string("|cat >/dev/null")}) {
    const Limit none(RLIMIT_NOFILE, 3);
    const Result result = writer::dump(guest, to(target));
    EXPECT_EQ(result.status.error().code, EMFILE) << result.status.text();
  }
  EXPECT_EQ(guest.pauses, 0);
  EXPECT_THAT(directory.entries(), IsEmpty());
}

TEST(Limits, DescriptorsThatJustSufficeDo) {
  TempDir directory;
  FakeGuest guest(64, FakeGuest::Backing::host);
  guest.fill(0, 'x', 64);
  // Whatever the number is: an error or a whole dump.
  for (rlim_t limit = 3; limit < 24; ++limit) {
    Result result;
    {
      const Limit few(RLIMIT_NOFILE, limit);
      result = writer::dump(guest, to(directory.path()));
    }
    if (result.status.ok()) {
      expect_whole(result.path, 64);
      std::filesystem::remove(result.path);
    }
    EXPECT_THAT(directory.entries(), IsEmpty());
  }
}

// Sanitizers bring an allocator of their own, which ends the program where the C++ library's returns nothing.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Limits, NoMemoryIsAnErrorAndNotTheEnd) {
  TempDir directory;
  FakeGuest guest;
  guest.cpus = 65535;  // their registers take more than a program has lying about
  std::string text;
  {
    const Limit little(RLIMIT_AS, 1 << 20);  // what is mapped stays
    text = writer::dump(guest, to(directory.path())).status.text();
  }
  EXPECT_THAT(text, HasSubstr("bytes of memory that the dump takes"));
  EXPECT_EQ(guest.resumes, guest.pauses);
  EXPECT_THAT(directory.entries(), IsEmpty());
}
#endif

std::unique_ptr<writer::Dumper> g_dumper;

TEST(Signals, TenThousandDuringADumpMakeOneMore) {
  TempDir directory;
  FakeGuest guest(64, FakeGuest::Backing::callback);
  guest.fill(0, 'x', 64);
  std::atomic<bool> reading{false}, go{false};
  guest.on_read_memory = [&](uint64_t) {
    reading = true;
    reading.notify_all();
    go.wait(false);
  };
  writer::Status status;
  uint64_t requests = 0;
  g_dumper = writer::Dumper::create(
      guest, to(directory.path()), [&](const Result& result) { requests += result.requests; }, status);
  ASSERT_TRUE(g_dumper) << status.text();
  struct sigaction before, action = {};
  action.sa_handler = [](int) { g_dumper->request(); };
  ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);
  raise(SIGUSR2);
  reading.wait(false);
  for (int i = 0; i < 10000; ++i) raise(SIGUSR2);
  sigaction(SIGUSR2, &before, nullptr);
  go = true;
  go.notify_all();
  EXPECT_TRUE(g_dumper->wait().status.ok());
  EXPECT_EQ(g_dumper->progress().dumps, 2U);
  EXPECT_EQ(requests, 10001U);
  g_dumper.reset();
  EXPECT_EQ(directory.entries().size(), 2U);
}

TEST(Deadline, LongerThanTheClockCanCountIsNone) {
  TempDir directory;
  FakeGuest guest;
  Options options = to(directory.path());
  options.pause_deadline = std::chrono::milliseconds::max();
  EXPECT_TRUE(writer::dump(guest, options).status.ok());
}

/// Private anonymous memory, as a VMM without a memfd has it.
class AnonymousGuest : public FakeGuest {
 public:
  AnonymousGuest() {
    memory_ = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    EXPECT_NE(memory_, MAP_FAILED);
    madvise(memory_, kSize, MADV_NOHUGEPAGE);
    ranges = {{0, kSize / 2, memory_, -1, 0}, {kSize, kSize / 2, memory_ + kSize / 2, -1, 0}};
  }
  ~AnonymousGuest() override { munmap(memory_, kSize); }
  char* page(uint64_t index) const { return memory_ + index * kPage; }

  static constexpr uint64_t kSize = uint64_t{8} << 30;

 private:
  char* memory_ = nullptr;
};

TEST(Anonymous, PagesNeverTouchedAreNotRead) {
  TempDir directory;
  AnonymousGuest guest;
  const uint64_t last = AnonymousGuest::kSize / kPage - 1;
  for (const uint64_t page : {uint64_t{0}, uint64_t{4095}, uint64_t{4096}, uint64_t{1} << 20, last})
    *guest.page(page) = 'x';
  *guest.page(77) = 0;  // touched, and all zeros
  const Result result = writer::dump(guest, to(directory.path()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.written, 5U);
  EXPECT_EQ(result.pages.zero, 1U);
  EXPECT_EQ(result.pages.absent, last + 1 - 6);
  const int fd = open(result.path.c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  EXPECT_EQ(pread(fd, &byte, 1, static_cast<off_t>(result.bytes - 16384 - kPage)), 1);
  EXPECT_EQ(byte, 'x');
  close(fd);
}

TEST(Anonymous, PagesWithoutAccessAreMissing) {
  TempDir directory;
  AnonymousGuest guest;
  guest.ranges = {{0, 64 * kPage, guest.page(0), -1, 0}};
  *guest.page(0) = 'x';
  ASSERT_EQ(mprotect(guest.page(8), 2 * kPage, PROT_NONE), 0);
  const Result result = writer::dump(guest, to(directory.path()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.written, 1U);
  EXPECT_EQ(result.pages.missing, 2U);
  EXPECT_EQ(result.pages.absent, 61U);
}

TEST(Ranges, MoreThanAFileHoldsAreRefused) {
  TempDir directory;
  FakeGuest guest;
  guest.ranges = {{0, uint64_t{1} << 62, nullptr, guest.fd, 0}, {uint64_t{1} << 63, kPage, nullptr, guest.fd, 0}};
  EXPECT_THAT(writer::dump(guest, to(directory.path())).status.text(), HasSubstr("more than a file can hold"));
  guest.ranges = {{0, kPage, nullptr, guest.fd, UINT64_MAX - 4095}};
  EXPECT_THAT(writer::dump(guest, to(directory.path())).status.text(), HasSubstr("an offset that no file has"));
  EXPECT_EQ(guest.resumes, 2);
}

}  // namespace
}  // namespace gcore::tests
