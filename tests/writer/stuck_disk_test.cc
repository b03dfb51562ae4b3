// A file system that does not answer: a system call on the dump file blocks, as it does on a disk or a server that
// hangs, and nothing wakes it. The guest goes on and whoever waits is answered all the same.
//
// The system calls are those of this program: it defines pwrite(), fsync() and linkat(), which the writer, linked into
// it, then calls.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/syscall.h>

#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

/// The file system's answer, for calls of one kind; others are answered at once.
class Disk {
 public:
  enum class Call { none, write, fsync, name };

  void hang(Call call) {
    const std::lock_guard lock(mutex_);
    hanging_ = call;
  }
  void answer() { hang(Call::none), changed_.notify_all(); }
  void on(Call call) {
    std::unique_lock lock(mutex_);
    if (hanging_ != call) return;
    ++inside_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return hanging_ != call; });
    --inside_;
  }
  void wait_until_hanging(int calls = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return inside_ >= calls; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Call hanging_ = Call::none;
  int inside_ = 0;
};
Disk g_disk;

}  // namespace
}  // namespace gcore::tests

extern "C" {
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  gcore::tests::g_disk.on(gcore::tests::Disk::Call::write);
  return syscall(SYS_pwrite64, fd, bytes, size, offset);
}
int fsync(int fd) {
  gcore::tests::g_disk.on(gcore::tests::Disk::Call::fsync);
  return static_cast<int>(syscall(SYS_fsync, fd));
}
int linkat(int from, const char* old_name, int to, const char* new_name, int flags) noexcept {
  gcore::tests::g_disk.on(gcore::tests::Disk::Call::name);
  return static_cast<int>(syscall(SYS_linkat, from, old_name, to, new_name, flags));
}
}

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using writer::Dumper;
using writer::Options;
using writer::Result;

/// How many of this process's threads have that name.
int threads_called(const std::string& wanted) {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::error_code gone;
    const std::filesystem::path name = task.path() / "comm";
    if (std::filesystem::exists(name, gone)) {
      std::string text(32, '\0');
      const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
      const ssize_t size = fd >= 0 ? read(fd, text.data(), text.size()) : 0;
      if (fd >= 0) close(fd);
      if (size > 0 && text.starts_with(wanted + "\n")) ++count;
    }
  }
  return count;
}

/// How many write dumps.
int io_threads() { return threads_called("gcore-io"); }

class StuckDisk : public testing::TestWithParam<Disk::Call> {
 protected:
  StuckDisk() : guest_(64) {
    guest_.fill(0, 'x', 64);
    options_.target = directory_.path();
    writer::Status status;
    dumper_ = Dumper::create(guest_, options_, {}, status);
    EXPECT_TRUE(dumper_) << status.text();
  }
  ~StuckDisk() override { g_disk.answer(); }

  void expect_nothing_remains() {
    dumper_.reset();
    g_disk.answer();
    while (io_threads() > 0) std::this_thread::yield();
    EXPECT_THAT(directory_.entries(), IsEmpty());
  }

  TempDir directory_;
  FakeGuest guest_;
  Options options_;
  std::unique_ptr<Dumper> dumper_;
};

TEST_P(StuckDisk, CancelAnswersAndTheGuestGoesOn) {
  g_disk.hang(GetParam());
  dumper_->request();
  g_disk.wait_until_hanging();
  dumper_->cancel();
  const Result result = dumper_->wait();  // while the disk still hangs
  EXPECT_TRUE(result.cancelled);
  EXPECT_EQ(result.status.text(), "the dump was cancelled; what the dump is written to does not answer");
  EXPECT_EQ(result.path, "");
  EXPECT_EQ(guest_.pauses, 1);
  EXPECT_EQ(guest_.resumes, 1);
  expect_nothing_remains();
}

TEST_P(StuckDisk, DestructionDoesNotWaitForIt) {
  g_disk.hang(GetParam());
  dumper_->request();
  g_disk.wait_until_hanging();
  dumper_.reset();
  EXPECT_EQ(guest_.resumes, 1);
  expect_nothing_remains();
}

TEST_P(StuckDisk, NextDumpIsTakenWhenItAnswersAgain) {
  g_disk.hang(GetParam());
  dumper_->request();
  g_disk.wait_until_hanging();
  dumper_->cancel();
  EXPECT_TRUE(dumper_->wait().cancelled);
  g_disk.answer();
  dumper_->request();
  const Result result = dumper_->wait();
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.written, 64U);
  std::filesystem::remove(result.path);
  expect_nothing_remains();
}

TEST_P(StuckDisk, OnlySoManyDumpsAreLeftBehind) {
  g_disk.hang(GetParam());
  for (int stuck = 1; stuck <= 4; ++stuck) {
    dumper_->request();
    g_disk.wait_until_hanging(stuck);
    dumper_->cancel();
    EXPECT_TRUE(dumper_->wait().cancelled);
  }
  dumper_->request();
  const Result result = dumper_->wait();
  EXPECT_EQ(result.status.error().code, EBUSY);
  EXPECT_THAT(result.status.text(), HasSubstr("4 dumps before are stuck in a file system that does not answer"));
  EXPECT_EQ(guest_.pauses, 4) << "the guest is not stopped in vain";
  EXPECT_EQ(guest_.resumes, 4);
  expect_nothing_remains();
}

std::string call_name(const testing::TestParamInfo<Disk::Call>& instance) {
  switch (instance.param) {
    case Disk::Call::write:
      return "write";
    case Disk::Call::fsync:
      return "fsync";
    case Disk::Call::name:
      return "linkat";
    case Disk::Call::none:
      break;
  }
  return "none";
}
INSTANTIATE_TEST_SUITE_P(In, StuckDisk, testing::Values(Disk::Call::write, Disk::Call::fsync, Disk::Call::name),
                         call_name);

// The deadline is the guest's: in fsync() and linkat() it runs already.
TEST(StuckDiskDeadline, ResumesTheGuestAndFails) {
  TempDir directory;
  FakeGuest guest(64);
  guest.fill(0, 'x', 64);
  Options options;
  options.target = directory.path();
  options.pause_deadline = std::chrono::milliseconds(20);
  g_disk.hang(Disk::Call::write);
  const Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.error().code, ETIMEDOUT);
  EXPECT_THAT(result.status.text(), HasSubstr("paused for 20 ms, the pause deadline"));
  EXPECT_THAT(result.status.text(), HasSubstr("does not answer"));
  EXPECT_GT(result.paused, std::chrono::milliseconds(20));
  EXPECT_EQ(guest.resumes, 1);
  g_disk.answer();
  while (io_threads() > 0) std::this_thread::yield();
  EXPECT_THAT(directory.entries(), IsEmpty());
}

/// Writes to all of its memory when it goes on.
class BusyGuest : public FakeGuest {
 public:
  explicit BusyGuest(uint64_t pages) : FakeGuest(pages) { any_time = true; }
  ~BusyGuest() override { wait(); }
  void resume() override {
    FakeGuest::resume();
    wait();
    vcpu_ = std::thread([this] {
      for (uint64_t page = size / kPage; page-- > 0;) *static_cast<volatile char*>(host + page * kPage) = 'y';
    });
  }
  void wait() {
    if (vcpu_.joinable()) vcpu_.join();
  }

 private:
  std::thread vcpu_;
};

// What the guest is about to change goes to a file of its own.
TEST(StuckPageStore, CancelAnswersAndTheGuestGoesOn) {
  constexpr int kMost = 4;
  TempDir store;
  BusyGuest guest(2048);
  guest.fill(0, 'x', 2048);
  Options options;
  options.target = "|sleep 1000";
  options.live = true;
  options.live_memory = 1;
  options.page_store = store.path();
  writer::Status status;
  auto dumper = Dumper::create(guest, options, {}, status);
  ASSERT_TRUE(dumper) << status.text();
  g_disk.hang(Disk::Call::write);
  for (int stuck = 1; stuck <= kMost; ++stuck) {
    dumper->request();
    g_disk.wait_until_hanging(stuck);
    dumper->cancel();
    EXPECT_TRUE(dumper->wait().cancelled);  // while the disk still hangs
    guest.wait();
  }
  dumper.reset();
  options.target = "|cat >/dev/null";
  const Result paused = writer::dump(guest, options);
  EXPECT_TRUE(paused.status.ok()) << paused.status.text();
  EXPECT_FALSE(paused.live);
  EXPECT_THAT(paused.notice, HasSubstr("does not answer: 4 dumps before are stuck in it"));
  g_disk.answer();
  while (threads_called("gcore-live") > 0) std::this_thread::yield();
  const Result live = writer::dump(guest, options);
  EXPECT_TRUE(live.status.ok() && live.live) << live.status.text() << live.notice;
}

// read_memory() is the VMM's: no dump is given up inside it, since the VMM may go away afterwards.
TEST(StuckDiskDeadline, WaitsForAFunctionOfTheVmms) {
  TempDir directory;
  FakeGuest guest(64, FakeGuest::Backing::callback);
  guest.fill(0, 'x', 64);
  Options options;
  options.target = directory.path();
  writer::Status status;
  std::atomic<bool> inside{false}, go{false}, answered{false};
  guest.on_read_memory = [&](uint64_t) {
    inside = true;
    inside.notify_all();
    go.wait(false);
  };
  const auto dumper = Dumper::create(guest, options, [&](const Result&) { answered = true; }, status);
  dumper->request();
  inside.wait(false);
  dumper->cancel();
  std::this_thread::sleep_for(std::chrono::milliseconds(120));  // longer than a thread that is stuck is waited for
  EXPECT_FALSE(answered);
  EXPECT_TRUE(guest.paused);
  go = true;
  go.notify_all();
  EXPECT_TRUE(dumper->wait().cancelled);
  EXPECT_EQ(guest.resumes, 1);
}

}  // namespace
}  // namespace gcore::tests
