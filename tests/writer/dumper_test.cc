// Requests, their coalescing, cancellation and progress.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using writer::Dumper;
using writer::Options;
using writer::Progress;
using writer::Reason;
using writer::Result;

Options to(const std::string& target) {
  Options options;
  options.target = target;
  return options;
}

std::unique_ptr<Dumper> make(FakeGuest& guest, Options options, Dumper::OnDone on_done = {}) {
  writer::Status status;
  auto dumper = Dumper::create(guest, std::move(options), std::move(on_done), status);
  EXPECT_TRUE(status.ok()) << status.text();
  return dumper;
}

/// Waits for what another thread makes true. A test that hangs here is ended by its time limit.
void wait_until(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::yield();
}

/// Opens once, for any number of waiters.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

TEST(Dumper, WaitWithoutARequestReturnsAtOnce) {
  FakeGuest guest;
  TempDir directory;
  const auto dumper = make(guest, to(directory.path()));
  const Result result = dumper->wait();
  EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(result.requests, 0U);
  EXPECT_EQ(result.path, "");
}

TEST(Dumper, RequestWithAReasonIsInTheFile) {
  FakeGuest guest;
  TempDir directory;
  const auto dumper = make(guest, to(directory.path()));
  dumper->request({Reason::Kind::watchdog, "wdt-sp805", 0, 1});
  const Result result = dumper->wait();
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  const DumpBytes file(read_file(result.path));
  EXPECT_THAT(file.info(), testing::HasSubstr(R"("kind": "watchdog", "detail": "wdt-sp805")"));
  EXPECT_EQ(file.u16(file.p_offset(0) + 6), 1);
}

Dumper* g_dumper = nullptr;

TEST(Dumper, SignalHandlerMayRequest) {
  FakeGuest guest;
  TempDir directory;
  const auto dumper = make(guest, to(directory.path()));
  g_dumper = dumper.get();
  struct sigaction before, action = {};
  action.sa_handler = [](int) { g_dumper->request(); };
  ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);
  errno = 4711;
  raise(SIGUSR2);
  EXPECT_EQ(errno, 4711);
  const Result first = dumper->wait();
  kill(getpid(), SIGUSR2);  // to the process: no thread of the writer takes it
  const Result second = dumper->wait();
  sigaction(SIGUSR2, &before, nullptr);
  ASSERT_TRUE(first.status.ok() && second.status.ok()) << second.status.text();
  EXPECT_EQ(directory.entries().size(), 2U);
  const DumpBytes file(read_file(first.path));
  EXPECT_THAT(file.info(), testing::HasSubstr(R"("kind": "signal", "detail": "SIGUSR2", "signal": 0)"));
  EXPECT_EQ(file.u8(file.p_offset(0) + 1), 0) << "no fault led to it";
  EXPECT_EQ(guest.pauses, 2);
}

/// A dump that has begun, and goes on when its gate is opened.
struct HeldDump : testing::Test {
  HeldDump() {
    guest.on_read_cpu = [this](size_t, format::RegisterFile&) {
      inside.open();
      go.wait();
      return true;
    };
    dumper = make(guest, to(directory.path()), [this](const Result& result) { results.push_back(result); });
    dumper->request();
    inside.wait();
  }

  FakeGuest guest;
  TempDir directory;
  Gate inside, go;
  std::vector<Result> results;
  std::unique_ptr<Dumper> dumper;
};

TEST_F(HeldDump, RequestsDuringItAreAnsweredByOneMore) {
  for (int i = 0; i < 5; ++i) dumper->request({Reason::Kind::api, "number " + std::to_string(i), 0, 0});
  go.open();
  dumper->wait();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].requests, 1U);
  EXPECT_EQ(results[1].requests, 5U);
  EXPECT_THAT(DumpBytes(read_file(results[1].path)).info(), testing::HasSubstr(R"("detail": "number 0")"));
  EXPECT_EQ(dumper->progress().dumps, 2U);
  EXPECT_EQ(guest.pauses, 2);
}

TEST(Dumper, CancelEndsADumpIntoACommandThatDoesNotRead) {
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  TempDir directory;
  const auto dumper = make(guest, to("|echo $$ > " + directory.path("pid") + "; sleep 1000 | sleep 1000"));
  dumper->request();
  wait_until([&] {
    return dumper->progress().phase == Progress::Phase::writing && !directory.entries().empty() &&
           !read_file(directory.path("pid")).empty();
  });
  EXPECT_TRUE(guest.paused);
  const pid_t group = std::stoi(read_file(directory.path("pid")));
  dumper->cancel();
  const Result result = dumper->wait();
  EXPECT_TRUE(result.cancelled);
  EXPECT_EQ(result.status.text(), "the dump was cancelled");
  EXPECT_EQ(result.command_status, 128 + SIGKILL);
  EXPECT_EQ(guest.resumes, 1);
  wait_until([&] { return kill(-group, 0) != 0; });  // the members that are not our children are reaped by init
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left to reap";
}

TEST(Dumper, CancelEndsTheWaitForACommand) {
  FakeGuest guest;
  const auto dumper = make(guest, to("|cat > /dev/null; sleep 1000"));
  dumper->request();
  wait_until([&] { return dumper->progress().phase == Progress::Phase::finishing; });
  dumper->cancel();
  EXPECT_TRUE(dumper->wait().cancelled);
}

TEST(Dumper, CancelEndsASlowDump) {
  FakeGuest guest(64);
  guest.fill(0, 'x', 64);
  TempDir directory;
  Options options = to(directory.path());
  options.bytes_per_second = 1;
  const auto dumper = make(guest, options);
  dumper->request();
  wait_until([&] { return dumper->progress().phase == Progress::Phase::writing; });
  dumper->cancel();
  EXPECT_TRUE(dumper->wait().cancelled);
  EXPECT_TRUE(directory.entries().empty());
  EXPECT_EQ(guest.resumes, 1);
}

TEST_F(HeldDump, CancelDropsWhatWaitsAndNothingThatComesLater) {
  dumper->request();
  dumper->cancel();
  go.open();
  dumper->wait();
  dumper->request();
  dumper->wait();
  ASSERT_EQ(results.size(), 3U);
  EXPECT_TRUE(results[0].cancelled);
  EXPECT_TRUE(results[1].cancelled);
  EXPECT_TRUE(results[2].status.ok()) << results[2].status.text();
  EXPECT_EQ(guest.pauses, 2) << "a request that was dropped does not stop the guest";
  EXPECT_EQ(directory.entries().size(), 1U);
}

TEST(Dumper, DestructionCancels) {
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  auto dumper = make(guest, to("|sleep 1000"));
  dumper->request();
  wait_until([&] { return guest.paused.load(); });
  dumper->request();
  dumper.reset();
  EXPECT_EQ(guest.pauses, 1);
  EXPECT_EQ(guest.resumes, 1);
}

TEST(Dumper, CallbackMayRequestAgain) {
  FakeGuest guest;
  TempDir directory;
  Dumper* self = nullptr;
  Gate ready;
  std::atomic<int> done{0};
  auto dumper = make(guest, to(directory.path()), [&](const Result&) {
    ready.wait();
    if (++done < 3) self->request();
  });
  self = dumper.get();
  ready.open();
  dumper->request();
  wait_until([&] { return done == 3; });
  EXPECT_EQ(dumper->progress().dumps, 3U);
}

TEST(Dumper, GuestRunsWhenTheCallbackIsCalled) {
  FakeGuest guest;
  TempDir directory;
  bool paused = true;
  const auto dumper = make(guest, to(directory.path()), [&](const Result&) { paused = guest.paused; });
  dumper->request();
  dumper->wait();
  EXPECT_FALSE(paused);
}

TEST(Dumper, ProgressCountsMemory) {
  FakeGuest guest(64);
  TempDir directory;
  guest.fill(0, 'x', 64);
  Options options = to(directory.path());
  options.bytes_per_second = 100;
  const auto dumper = make(guest, options);
  EXPECT_EQ(dumper->progress().phase, Progress::Phase::idle);
  dumper->request();
  wait_until([&] { return dumper->progress().phase == Progress::Phase::writing; });
  EXPECT_EQ(dumper->progress().memory_total, 64 * kPage);
  EXPECT_LE(dumper->progress().memory_done, 64 * kPage);
}

TEST(Dumper, BadOptionsAreRefusedAtCreation) {
  FakeGuest guest;
  writer::Status status;
  EXPECT_EQ(Dumper::create(guest, to(""), {}, status), nullptr);
  EXPECT_FALSE(status.ok());
}

TEST(Dumper, TargetIsLookedAtAtCreation) {
  FakeGuest guest;
  TempDir directory;
  const auto error_of = [&](const std::string& target) {
    writer::Status status;
    EXPECT_EQ(Dumper::create(guest, to(target), {}, status), nullptr) << target;
    return status.text();
  };
  EXPECT_THAT(error_of(directory.path("no/such")),
              testing::EndsWith("No such file or directory; make it with mkdir -p"));
  EXPECT_EQ(error_of("/dev/null"), "the dump directory '/dev/null': Not a directory");
  EXPECT_EQ(error_of("/proc"), "creation of a dump file in directory '/proc': No such file or directory");
  EXPECT_TRUE(directory.entries().empty());
  const auto dumper = make(guest, to(directory.path("dumps")));
  EXPECT_EQ(dumper->notice(), "made the dump directory '" + directory.path("dumps") + "' (mode 0700)");
  EXPECT_THAT(directory.entries(), testing::ElementsAre("dumps"));
  EXPECT_EQ(make(guest, to(directory.path("dumps")))->notice(), "");
}

/// The time that the file says the dump was asked for.
int64_t requested_ns(const std::string& path) {
  const std::string info = DumpBytes(read_file(path)).info(), key = "\"requested_ns\": ";
  return std::stoll(info.substr(info.find(key) + key.size()));
}

// Each dump bears the time of the first request that it answers, however close that came to the one before it was
// taken.
TEST(Dumper, EveryRequestHasItsOwnTime) {
  constexpr uint64_t kDumps = 2000;
  constexpr int64_t kStep = 10'000;  // what the time is rounded down to
  FakeGuest guest(2);
  TempDir directory;
  struct Span {
    int64_t before, after;
  };
  constexpr uint64_t kMostWaiting = 50'000;  // a dump counts no more than some 65,000
  std::vector<Span> requests(4'000'000);
  std::vector<std::pair<uint64_t, int64_t>> dumps;  // the number of the first request, the time in the file
  std::atomic<uint64_t> answered{0}, finished{0};
  Options options = to(directory.path());
  options.sync = false;
  options.file_name = "dump";
  options.replace = true;
  const auto dumper = make(guest, options, [&](const Result& result) {
    dumps.emplace_back(answered, requested_ns(result.path));
    answered += result.requests;
    ++finished;
  });
  const auto now = [] {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
  };
  uint64_t made = 0;
  for (; made < requests.size() && finished < kDumps; ++made) {
    wait_until([&] { return made - answered < kMostWaiting; });
    requests[made].before = now();
    dumper->request();
    requests[made].after = now();
  }
  dumper->wait();
  ASSERT_EQ(answered, made);
  for (const auto& [first, time] : dumps) {
    EXPECT_GE(time + kStep, requests[first].before) << "request " << first;
    EXPECT_LE(time, requests[first].after) << "request " << first;
  }
}

TEST(Dumper, ManyRequestsFromManyThreadsAreAllCounted) {
  FakeGuest guest;
  TempDir directory;
  uint64_t answered = 0;
  Options options = to(directory.path());
  options.sync = false;
  options.file_name = "dump";
  options.replace = true;
  const auto dumper = make(guest, options, [&](const Result& result) { answered += result.requests; });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) dumper->request();
    });
  for (std::thread& thread : threads) thread.join();
  dumper->wait();
  EXPECT_EQ(answered, 400U);
}

}  // namespace
}  // namespace gcore::tests
