// Dumps into commands.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Options;
using writer::Result;

Options to(const std::string& command) {
  Options options;
  options.target = "|" + command;
  return options;
}

/// The same bytes as `bytes`, without the section whose contents depend on times.
std::string without_info(const std::string& bytes) { return bytes.substr(0, bytes.size() - 16384); }

TEST(Pipe, GetsTheBytesOfTheFile) {
  TempDir directory;
  FakeGuest guest(600);
  guest.fill(3, 'x', 100);
  guest.fill(400, 'y', 150);
  const Result result = writer::dump(guest, to("cat > " + directory.path("copy")));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.path, "|cat > " + directory.path("copy"));
  EXPECT_EQ(result.command_status, 0);
  const std::string copy = read_file(directory.path("copy"));
  EXPECT_EQ(copy.size(), result.bytes);

  Options options;
  options.target = directory.path();
  const Result file = writer::dump(guest, options);
  ASSERT_TRUE(file.status.ok());
  EXPECT_TRUE(without_info(copy) == without_info(read_file(file.path)));
  EXPECT_THAT(DumpBytes(copy).info(), HasSubstr(R"("complete": true)"));
}

TEST(Pipe, ThroughGzip) {
  TempDir directory;
  FakeGuest guest;
  guest.fill(0, 'x', 10);
  const std::string packed = directory.path("d.gz");
  ASSERT_TRUE(writer::dump(guest, to("gzip > " + packed)).status.ok());
  const Result result = writer::dump(guest, to("cat > /dev/null; gzip -dc " + packed + " > " + directory.path("d")));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(read_file(directory.path("d")).size(), result.bytes);
}

TEST(Pipe, StatusOfTheCommandIsReported) {
  FakeGuest guest;
  const Result result = writer::dump(guest, to("cat > /dev/null; exit 7"));
  EXPECT_EQ(result.status.text(), "dump to command 'cat > /dev/null; exit 7': it exited with status 7");
  EXPECT_EQ(result.command_status, 7);
  EXPECT_EQ(guest.resumes, 1);
}

TEST(Pipe, SignalOfTheCommandIsReported) {
  FakeGuest guest;
  const Result result = writer::dump(guest, to("cat > /dev/null; kill -9 $$"));
  EXPECT_THAT(result.status.text(), HasSubstr("it was ended by signal 9"));
  EXPECT_EQ(result.command_status, 128 + SIGKILL);
}

TEST(Pipe, StatusThatLooksLikeASignalIsAStatus) {
  FakeGuest guest;
  const Result result = writer::dump(guest, to("cat > /dev/null; exit 255"));  // as ssh does
  EXPECT_THAT(result.status.text(), testing::EndsWith(": it exited with status 255"));
  EXPECT_EQ(result.command_status, 255);
  EXPECT_EQ(result.command_signal, 0);
  EXPECT_EQ(writer::dump(guest, to("cat > /dev/null; kill -9 $$")).command_signal, SIGKILL);
}

TEST(Pipe, WhatOnlyThePipeTookIsNotSaidToBeRead) {
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  for (const writer::PipeMemory memory : {writer::PipeMemory::copy, writer::PipeMemory::lend}) {
    Options options = to("false");
    options.pipe_memory = memory;
    const Result none = writer::dump(guest, options);
    EXPECT_EQ(none.status.text(), "dump to command 'false': it read nothing and exited with status 1");
    EXPECT_EQ(none.bytes, 0U);
    options.target = "|head -c 5000 >/dev/null; exit 2";
    const Result some = writer::dump(guest, options);
    // head's buffer decides: what it asked for, not what the pipe holds.
    EXPECT_THAT(some.status.text(),
                testing::MatchesRegex(".*: it stopped reading after [0-9]{4,5} bytes and exited.*"));
    EXPECT_LT(some.bytes, 100000U);
  }
}

// Whoever takes the end of its input for the end of the dump would keep half of one.
TEST(Pipe, OfADumpThatFailsDoesNotEndBeforeTheCommandDoes) {
  TempDir directory;
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  Options options = to("cat > /dev/null; echo whole > " + directory.path("whole"));
  options.bytes_per_second = 1 << 20;
  options.pause_deadline = std::chrono::milliseconds(200);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(writer::dump(guest, options).status.ok());
  EXPECT_THAT(directory.entries(), testing::IsEmpty());
}

TEST(Pipe, MayBeThereAlready) {
  TempDir directory;
  FakeGuest guest(600);
  guest.fill(3, 'x', 100);
  std::string name, copy;
  std::thread reader;
  Options options = to("elsewhere");
  options.open_pipe = [&](const std::string& file) {
    name = file;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    reader = std::thread([&copy, output = ends[0]] {
      char bytes[4096];
      for (ssize_t n; (n = read(output, bytes, sizeof bytes)) > 0;) copy.append(bytes, static_cast<size_t>(n));
      close(output);
    });
    return ends[1];
  };
  const Result result = writer::dump(guest, options);
  reader.join();
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_THAT(name, testing::EndsWith(".gcore"));
  EXPECT_EQ(copy.size(), result.bytes);
  EXPECT_THAT(DumpBytes(copy).info(), HasSubstr(R"("complete": true)"));

  options.open_pipe = [](const std::string&) {
    errno = EMFILE;
    return -1;
  };
  EXPECT_EQ(writer::dump(guest, options).status.text(), "dump to elsewhere: Too many open files");
  options.open_pipe = [](const std::string&) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    close(ends[0]);
    return ends[1];
  };
  EXPECT_EQ(writer::dump(guest, options).status.text(), "dump to elsewhere: it read nothing");
}

TEST(Pipe, EnvironmentSaysWhatTheDumpIs) {
  TempDir directory;
  FakeGuest guest;
  guest.vm_name = "M\xc3\xbcller/7";
  setenv("GCORE_NAME", "of the VMM's own", 1);
  setenv("GCORE_TEST_OTHER", "stays", 1);
  const std::string out = directory.path("environment");
  Options options = to("cat > /dev/null; env | grep ^GCORE_ | grep -v GCORE_GO | sort > " + out);
  options.compression = writer::Compression::zstd;
  const Result result = writer::dump(guest, options, {writer::Reason::Kind::watchdog, "wdt-ib700", 0, 0});
  unsetenv("GCORE_NAME");
  unsetenv("GCORE_TEST_OTHER");
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_THAT(read_file(out),
              testing::MatchesRegex("GCORE_FILE=M\xc3\xbcller_7-[0-9]{8}-[0-9]{6}\\.gcore\\.zst\n"
                                    "GCORE_NAME=M\xc3\xbcller_7\n"
                                    "GCORE_REASON=watchdog\n"
                                    "GCORE_TEST_OTHER=stays\n"
                                    "GCORE_TIME=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\n"));
}

TEST(Pipe, CommandThatIsNotThere) {
  FakeGuest guest;
  const Result result = writer::dump(guest, to("/nonexistent/program 2>/dev/null"));
  EXPECT_EQ(result.command_status, 127);
  EXPECT_FALSE(result.status.ok());
}

volatile sig_atomic_t g_sigpipes = 0;

TEST(Pipe, CommandThatStopsReadingRaisesNoSignal) {
  struct sigaction before, count = {};
  count.sa_handler = [](int) { g_sigpipes = g_sigpipes + 1; };
  ASSERT_EQ(sigaction(SIGPIPE, &count, &before), 0);
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  const Result result = writer::dump(guest, to("head -c 100 > /dev/null"));
  sigaction(SIGPIPE, &before, nullptr);
  EXPECT_EQ(result.status.error().code, EPIPE);
  EXPECT_THAT(result.status.text(), HasSubstr("it stopped reading after "));
  EXPECT_THAT(result.status.text(), HasSubstr("exited with status 0"));
  EXPECT_EQ(g_sigpipes, 0);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  EXPECT_EQ(guest.resumes, 1);
}

TEST(Pipe, CommandThatStopsReadingAndGoesOnIsEnded) {
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  const auto start = std::chrono::steady_clock::now();
  const Result result = writer::dump(guest, to("exec 0<&-; sleep 1000"));
  const auto elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(result.status.error().code, EPIPE);
  EXPECT_THAT(result.status.text(), testing::EndsWith(": it read nothing"));
  EXPECT_EQ(result.command_status, 128 + SIGKILL);
  EXPECT_GE(elapsed - result.paused, std::chrono::milliseconds(900)) << "the guest ran while the end was awaited";
  EXPECT_EQ(guest.resumes, 1);
}

TEST(Pipe, CommandHasDefaultSignalsAndNoneBlocked) {
  struct sigaction before, ignore = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGUSR1, &ignore, &before);
  sigset_t blocked, mask;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &mask);
  TempDir directory;
  FakeGuest guest;
  const std::string out = directory.path("status");
  const Result result = writer::dump(guest, to("cat > /dev/null; grep -E 'SigBlk|SigIgn' /proc/self/status > " + out));
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  sigaction(SIGUSR1, &before, nullptr);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  unsigned long blocked_there = 1, ignored_there = 1;
  ASSERT_EQ(std::sscanf(read_file(out).c_str(), "SigBlk: %lx SigIgn: %lx", &blocked_there, &ignored_there), 2);
  EXPECT_EQ(blocked_there, 0U);
  constexpr unsigned long kOfTheCLibrary = 3UL << 31;  // 32 and 33, which glibc ignores in every child that it spawns
  EXPECT_EQ(ignored_there & ~kOfTheCLibrary, 0U);
}

TEST(Pipe, CommandGetsNoDescriptorOfOurs) {
  TempDir directory;
  FakeGuest guest;
  const int leaky = open("/dev/null", O_RDONLY);  // not close-on-exec, as in many a VMM
  const std::string out = directory.path("fds");
  const Result result = writer::dump(guest, to("cat > /dev/null; ls /proc/$$/fd | tr '\\n' ' ' > " + out));
  close(leaky);
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_THAT(read_file(out), testing::StartsWith("0 1 2"));
  EXPECT_THAT(read_file(out), testing::Not(HasSubstr(" " + std::to_string(leaky) + " ")));
}

TEST(Pipe, CommandRunsInAGroupOfItsOwn) {
  TempDir directory;
  FakeGuest guest;
  const std::string out = directory.path("group");
  ASSERT_TRUE(writer::dump(guest, to("cat > /dev/null; ps -o pgid= -p $$ | tr -d ' ' > " + out + "; echo $$ >> " + out))
                  .status.ok());
  const std::string text = read_file(out);
  const std::string first = text.substr(0, text.find('\n'));
  EXPECT_EQ(text, first + "\n" + first + "\n");
  EXPECT_NE(first, std::to_string(getpgrp()));
}

TEST(Pipe, NothingIsLeftToReap) {
  FakeGuest guest;
  EXPECT_TRUE(writer::dump(guest, to("cat > /dev/null")).status.ok());
  EXPECT_FALSE(writer::dump(guest, to("exit 1")).status.ok());
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Pipe, VmmThatReapsEveryChildIsTold) {
  struct sigaction before, ignore = {};
  ignore.sa_handler = SIG_IGN;  // the kernel then reaps
  sigaction(SIGCHLD, &ignore, &before);
  FakeGuest guest;
  const Result result = writer::dump(guest, to("cat > /dev/null"));
  sigaction(SIGCHLD, &before, nullptr);
  EXPECT_EQ(result.command_status, -1);
  EXPECT_THAT(result.status.text(), HasSubstr("status that is unknown"));
}

TEST(Pipe, DeadlineResumesTheGuestAndFails) {
  FakeGuest guest(4096);
  guest.fill(0, 'x', 4096);
  Options options = to("sleep 1000");
  options.pause_deadline = std::chrono::milliseconds(50);
  const Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.error().code, ETIMEDOUT);
  EXPECT_THAT(result.status.text(), HasSubstr("paused for 50 ms"));
  EXPECT_EQ(result.command_status, 128 + SIGKILL);
  EXPECT_EQ(guest.resumes, 1);
}

TEST(Pipe, DeadlineDoesNotCountOnceTheGuestRuns) {
  FakeGuest guest;
  Options options = to("cat > /dev/null; while kill -0 $PPID && ! [ -e $GCORE_GO ]; do sleep 0.01; done");
  TempDir directory;
  setenv("GCORE_GO", directory.path("go").c_str(), 1);
  options.pause_deadline = std::chrono::milliseconds(10000);
  writer::Status status;
  const auto dumper = writer::Dumper::create(guest, options, {}, status);
  dumper->request();
  while (dumper->progress().phase != writer::Progress::Phase::finishing) sched_yield();
  EXPECT_FALSE(guest.paused) << "the command's end is awaited with the guest running";
  directory.write("go", "");
  EXPECT_TRUE(dumper->wait().status.ok()) << dumper->wait().status.text();
}

TEST(Pipe, RateIsKept) {
  FakeGuest guest(64);
  guest.fill(0, 'x', 64);
  Options options = to("cat > /dev/null");
  options.bytes_per_second = 1 << 20;
  const Result result = writer::dump(guest, options);
  ASSERT_TRUE(result.status.ok());
  EXPECT_GE(result.paused, std::chrono::milliseconds(200)) << "256 KiB at 1 MiB/s take a quarter of a second";
}

}  // namespace
}  // namespace gcore::tests
