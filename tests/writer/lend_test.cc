// Guest memory that goes into a pipe without a copy: what the command reads is what the guest had while it stood still.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "tests/support/paths.h"
#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using writer::Options;
using writer::PipeMemory;
using writer::Result;

Options to(const std::string& command, PipeMemory memory = PipeMemory::automatic) {
  Options options;
  options.target = "|" + command;
  options.pipe_memory = memory;
  return options;
}

/// Writes all over its memory as soon as it runs again.
class BusyGuest : public FakeGuest {
 public:
  using FakeGuest::FakeGuest;
  void resume() override {
    FakeGuest::resume();
    std::memset(host, 'y', size);
    if (on_resume) on_resume();
  }
  std::function<void()> on_resume;
};

using Case = std::tuple<FakeGuest::Backing, PipeMemory>;
class Lend : public testing::TestWithParam<Case> {
 protected:
  FakeGuest::Backing backing() const { return std::get<0>(GetParam()); }
  PipeMemory memory() const { return std::get<1>(GetParam()); }
  bool is_lent() const { return memory() != PipeMemory::copy && backing() != FakeGuest::Backing::callback; }
  TempDir directory_;
};

// 200 pages fit into the pipe whole: without waiting for the command the guest would run before anything was read.
TEST_P(Lend, CommandReadsWhatTheGuestHadBeforeItWentOn) {
  BusyGuest guest(200, backing());
  for (uint64_t page = 0; page < guest.size / kPage; ++page) guest.fill(page, static_cast<char>('A' + page % 20));
  guest.fill(17, 0, 3);
  const std::string before(guest.host, guest.size);
  const Result result = writer::dump(guest, to("cat > " + directory_.path("copy"), memory()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  const DumpBytes copy(read_file(directory_.path("copy")));
  EXPECT_EQ(copy.size(), result.bytes);
  EXPECT_TRUE(copy.text(copy.p_offset(1), copy.p_filesz(1)) + copy.text(copy.p_offset(2), copy.p_filesz(2)) == before);
  EXPECT_EQ(result.pages.written + result.pages.zero + result.pages.absent, 200U);
  EXPECT_THAT(copy.info(), HasSubstr("\"complete\": true"));
}

TEST_P(Lend, PageThatCannotBeReadCostsThatPageOnly) {
  FakeGuest guest(600, backing());
  guest.fill(0, 'x', 600);
  if (backing() == FakeGuest::Backing::host) {
    ASSERT_EQ(mprotect(guest.host + 100 * kPage, 2 * kPage, PROT_NONE), 0);
  } else if (backing() == FakeGuest::Backing::callback) {
    guest.unreadable_from = 598 * kPage;
  } else {
    ASSERT_EQ(ftruncate(guest.fd, 598 * kPage), 0);
  }
  const Result result = writer::dump(guest, to("cat > " + directory_.path("copy"), memory()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  EXPECT_EQ(result.pages.missing, 2U);
  EXPECT_EQ(result.pages.written, 598U);
  const DumpBytes copy(read_file(directory_.path("copy")));
  const std::string bytes = copy.text(copy.p_offset(1), 600 * kPage);
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 'x'), static_cast<ptrdiff_t>(598 * kPage));
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), '\0'), static_cast<ptrdiff_t>(2 * kPage));
}

TEST_P(Lend, MemoryThatIsNotAlignedInItsFileArrives) {
  FakeGuest guest(300, backing());
  for (uint64_t at = 0; at < guest.size; at += 8) std::memcpy(guest.host + at, &at, 8);
  if (backing() != FakeGuest::Backing::callback) guest.ranges = {guest.range(0, 104, 299 * kPage)};
  const Result result = writer::dump(guest, to("cat > " + directory_.path("copy"), memory()));
  ASSERT_TRUE(result.status.ok()) << result.status.text();
  const uint64_t skipped = guest.ranges.empty() ? 0 : 104;
  const DumpBytes copy(read_file(directory_.path("copy")));
  EXPECT_TRUE(copy.text(copy.p_offset(1), 299 * kPage) == std::string(guest.host + skipped, 299 * kPage));
}

// The command has all of the memory in its pipe, and reads nothing of it.
TEST_P(Lend, CommandThatReadsNothingMeetsTheDeadline) {
  if (!is_lent()) return;  // a guest whose memory was copied has gone on
  FakeGuest guest(32, backing());
  guest.fill(0, 'x', 32);
  Options options = to("sleep 1000", memory());
  options.pause_deadline = std::chrono::milliseconds(30);
  const Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.error().code, ETIMEDOUT) << result.status.text();
  EXPECT_EQ(guest.resumes, 1);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "nothing is left to reap";
}

TEST_P(Lend, CommandThatReadsNothingIsCancelled) {
  FakeGuest guest(32, backing());
  guest.fill(0, 'x', 32);
  writer::Status status;
  const auto dumper = writer::Dumper::create(guest, to("sleep 1000", memory()), {}, status);
  dumper->request();
  while (dumper->progress().memory_done < guest.size) std::this_thread::yield();
  dumper->cancel();
  EXPECT_TRUE(dumper->wait().cancelled);
  EXPECT_EQ(guest.resumes, 1);
}

TEST_P(Lend, CommandThatEndsUnreadIsAnError) {
  FakeGuest guest(32, backing());
  guest.fill(0, 'x', 32);
  const Result result = writer::dump(guest, to("head -c 100 > /dev/null", memory()));
  EXPECT_EQ(result.status.error().code, EPIPE) << result.status.text();
  EXPECT_EQ(guest.resumes, 1);
}

INSTANTIATE_TEST_SUITE_P(Each, Lend,
                         testing::Combine(testing::Values(FakeGuest::Backing::memfd,
                                                          FakeGuest::Backing::memfd_without_mapping,
                                                          FakeGuest::Backing::host, FakeGuest::Backing::callback),
                                          testing::Values(PipeMemory::automatic, PipeMemory::copy, PipeMemory::lend)));

/// What splicer.cc says: whether it may splice, and the first byte of a page that it held when the guest went on.
std::string what_a_splicer_holds(PipeMemory memory) {
  TempDir directory;
  BusyGuest guest(32);
  guest.fill(0, 'x', 32);
  guest.on_resume = [&] { directory.write("resumed", ""); };
  const std::string splicer = build_dir() + "/tests/bin/splicer";
  const Result result =
      writer::dump(guest, to(splicer + " " + directory.path("resumed") + " > " + directory.path("said"), memory));
  EXPECT_TRUE(result.status.ok()) << result.status.text();
  return read_file(directory.path("said"));
}

TEST(LendTo, ACommandThatSplicesIsKeptFromIt) {
  const std::string invalid = std::to_string(EINVAL);
  EXPECT_EQ(what_a_splicer_holds(PipeMemory::automatic), "splice " + invalid + " tee " + invalid + " -\n")
      << "this test runs as root";
}

TEST(LendTo, ACommandThatIsTrustedMayAndHoldsTornPages) {
  EXPECT_EQ(what_a_splicer_holds(PipeMemory::lend), "splice 0 tee 0 y\n");
}

TEST(LendTo, ACommandThatGetsACopyMayAndHoldsWhatItWas) {
  EXPECT_EQ(what_a_splicer_holds(PipeMemory::copy), "splice 0 tee 0 x\n");
}

TEST(LendTo, ACommandOfAnUnprivilegedVmmIsNot) {
  BusyGuest guest(32);
  guest.fill(0, '~', 32);
  const pid_t vmm = fork();
  ASSERT_GE(vmm, 0);
  if (vmm == 0) {
    if (setresuid(65534, 65534, 65534) != 0) _exit(9);
    // The command finds its privileges as they were: no_new_privs would be 1.
    const Result result =
        writer::dump(guest, to("grep -q 'NoNewPrivs:.0' /proc/self/status && "
                               "grep -q 'Seccomp:.0' /proc/self/status && tr -cd '~' | wc -c | grep -q " +
                               std::to_string(32 * kPage)));
    _exit(result.status.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(vmm, &status, 0), vmm);
  EXPECT_EQ(status, 0);
}

TEST(LendTo, TheFilterStaysWithTheCommand) {
  FakeGuest guest(8);
  ASSERT_TRUE(writer::dump(guest, to("cat > /dev/null")).status.ok());
  EXPECT_THAT(read_file("/proc/thread-self/status"), HasSubstr("Seccomp:\t0\n"));
}

}  // namespace
}  // namespace gcore::tests
