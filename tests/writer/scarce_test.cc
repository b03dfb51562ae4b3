// A VMM that is short of something: stack, heap, threads. In a process of its own, which then cannot hurt the other
// tests.
#include <gmock/gmock.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using writer::Compression;
using writer::Options;
using writer::Result;

Options to(const std::string& target, Compression compression = Compression::none) {
  Options options;
  options.target = target;
  options.compression = compression;
  return options;
}

/// What `body` returns, in a process of its own; 128 + N when signal N ended that.
template <class Body>
int in_a_process(Body body) {
  const pid_t child = fork();
  EXPECT_GE(child, 0);
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// 0 for success, else 1 with the reason on standard error.
int verdict(const Result& result) {
  if (result.status.ok()) return 0;
  std::fprintf(stderr, "%s\n", result.status.text().c_str());
  return 1;
}

void lower(__rlimit_resource resource, rlim_t limit) {
  const rlimit lower = {limit, limit};
  if (setrlimit(resource, &lower) != 0) _exit(9);
}

// Sanitizers need address space, and stack, of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
rlim_t address_space() {
  long pages = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (!file || std::fscanf(file, "%ld", &pages) != 1) _exit(9);
  std::fclose(file);
  return static_cast<rlim_t>(pages) * kPage;
}

class Scarce : public testing::TestWithParam<Compression> {};

TEST_P(Scarce, HeapOf32MiBIsEnough) {
  TempDir directory;
  FakeGuest guest(4096);
  for (uint64_t at = 0; at < guest.size; at += 8) guest.host[at] = static_cast<char>(at * 2654435761U >> 24);
  for (const std::string& target : {directory.path(), std::string("|cat > /dev/null")}) {
    EXPECT_EQ(in_a_process([&] {
                lower(RLIMIT_AS, address_space() + (rlim_t{32} << 20));
                return verdict(writer::dump(guest, to(target, GetParam())));
              }),
              0)
        << target;
  }
  EXPECT_EQ(directory.entries().size(), 1U);
}

// More than all of the guest is never needed.
TEST(ScarceHeap, IsNotTakenForMorePagesAsideThanTheGuestHas) {
  TempDir directory;
  FakeGuest guest(64);
  guest.any_time = true;
  EXPECT_EQ(in_a_process([&] {
              lower(RLIMIT_AS, address_space() + (rlim_t{64} << 20));
              Options options = to(directory.path());
              options.live = true;
              options.live_memory = UINT64_MAX;
              const Result result = writer::dump(guest, options);
              if (!result.live) std::fprintf(stderr, "%s\n", result.notice.c_str());
              return result.live ? verdict(result) : 2;
            }),
            0);
}

INSTANTIATE_TEST_SUITE_P(Each, Scarce, testing::Values(Compression::none, Compression::gzip, Compression::zstd));

TEST(ScarceStack, Of32KiBIsEnough) {
  TempDir directory;
  FakeGuest guest;
  guest.fill(3, 'x', 5);
  for (const std::string& target : {directory.path(), std::string("|cat > /dev/null")}) {
    struct Call {
      FakeGuest& guest;
      Options options;
      Result result;
    } call = {guest, to(target), {}};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, 32 * 1024), 0);
    pthread_t thread;
    const auto body = [](void* argument) -> void* {
      auto* to_do = static_cast<Call*>(argument);
      to_do->result = writer::dump(to_do->guest, to_do->options);
      return nullptr;
    };
    ASSERT_EQ(pthread_create(&thread, &attributes, body, &call), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    EXPECT_TRUE(call.result.status.ok()) << call.result.status.text();
  }
}
#endif

TEST(ScarceRights, DirectoryOfSomebodyElseIsAnErrorBeforeThePause) {
  TempDir directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0555), 0);
  FakeGuest guest;
  EXPECT_EQ(in_a_process([&] {
              if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) return 9;
              const Result result = writer::dump(guest, to(directory.path()));
              if (guest.pauses != 0) return 2;
              return result.status.ok() || result.status.error().code != EACCES ? 3 : 0;
            }),
            0);
  EXPECT_THAT(directory.entries(), testing::IsEmpty());
}

/// As a user without privileges who may not have one more process or thread.
void become_a_user_without_processes() {
  lower(RLIMIT_NPROC, 0);
  if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) _exit(9);
}

TEST(ScarceProcesses, DumpIntoAFileNeedsNone) {
  TempDir directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  FakeGuest guest;
  guest.fill(3, 'x', 5);
  for (const Compression compression : {Compression::none, Compression::gzip, Compression::zstd})
    EXPECT_EQ(in_a_process([&] {
                become_a_user_without_processes();
                return verdict(writer::dump(guest, to(directory.path(), compression)));
              }),
              0);
  EXPECT_EQ(directory.entries().size(), 3U);
}

TEST(ScarceProcesses, CommandThatCannotBeStartedIsAnErrorBeforeThePause) {
  FakeGuest guest;
  EXPECT_EQ(in_a_process([&] {
              become_a_user_without_processes();
              const Result result = writer::dump(guest, to("|cat > /dev/null"));
              if (guest.pauses != 0) return 2;
              return result.status.ok() || result.status.error().code != EAGAIN ? 3 : 0;
            }),
            0);
}

TEST(ScarceProcesses, DumperReservesItsThreadsBeforehand) {
  TempDir directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  FakeGuest guest;
  EXPECT_EQ(in_a_process([&] {
              writer::Status status;
              const auto dumper = writer::Dumper::create(guest, to(directory.path()), {}, status);
              if (!dumper) return 2;
              become_a_user_without_processes();
              dumper->request();
              return verdict(dumper->wait());
            }),
            0);
  EXPECT_EQ(directory.entries().size(), 1U);
  EXPECT_EQ(in_a_process([&] {
              become_a_user_without_processes();
              writer::Status status;
              const auto dumper = writer::Dumper::create(guest, to(directory.path()), {}, status);
              return dumper || status.error().code != EAGAIN ? 1 : 0;
            }),
            0)
      << "without threads there is an error";
}

}  // namespace
}  // namespace gcore::tests
