// The helpers on which the other tests lean: a helper that saw success everywhere would hide every failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/support/gdb_session.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using Stream = Process::Stream;

TEST(SupportProcess, LinesAreFoundInOrderOnEitherStream) {
  Process::Options options;
  options.pipe_stdin = true;
  Process process({"sh", "-c", "echo one; echo two; echo three >&2; read x; echo got $x"}, options);
  EXPECT_EQ(process.wait_for_line(Stream::out, "^t"), "two");
  EXPECT_EQ(process.wait_for_line(Stream::err, "three"), "three");
  EXPECT_EQ(process.wait_for_line(Stream::out, "one", 1ms), std::nullopt);  // it lies behind
  EXPECT_TRUE(process.write_stdin("four\n"));
  EXPECT_EQ(process.wait_for_line(Stream::out, "got"), "got four");
  EXPECT_EQ(process.wait(), (ExitStatus{0, 0}));
}

TEST(SupportProcess, EndOfOutputEndsTheWait) {
  Process process({"true"});
  EXPECT_EQ(process.wait_for_line(Stream::out, "never", 60s), std::nullopt);
}

TEST(SupportProcess, ExitStatusesAreToldApart) {
  EXPECT_EQ(run({"sh", "-c", "exit 3"}).status, (ExitStatus{3, 0}));
  EXPECT_EQ(run({"sh", "-c", "kill -TERM $$"}).status, (ExitStatus{-1, SIGTERM}));
  EXPECT_TRUE(run({"sleep", "1000"}, 1ms).timed_out);
  EXPECT_THROW(run({"/nonexistent/program"}), std::system_error);
}

TEST(SupportProcess, MuchInputAndOutputDoNotBlock) {
  EXPECT_EQ(run({"cat"}, 60s, std::string(1 << 20, 'x')).out.size(), 1U << 20);
}

TEST(SupportGdb, OutputIsSplitByCommandAndFailuresDoNotEndIt) {
  const GdbResult result = run_gdb({"print 1 + 1", "x/x 0", "print 3"});
  ASSERT_EQ(result.of.size(), 3U);
  EXPECT_EQ(result.of[0], "$1 = 2\n");
  EXPECT_THAT(result.of[1], testing::HasSubstr("Cannot access memory"));
  EXPECT_EQ(result.of[2], "$2 = 3\n");
}

TEST(SupportTempDir, GoesAwayWithItsContents) {
  std::string path;
  {
    TempDir folder;
    path = folder.write("file", "text");
    EXPECT_EQ(read_file(path), "text");
    EXPECT_THAT(folder.entries(), testing::ElementsAre("file"));
  }
  EXPECT_THROW(read_file(path), std::runtime_error);
}

}  // namespace
}  // namespace gcore::tests
