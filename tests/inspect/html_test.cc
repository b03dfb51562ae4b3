// --html: the page is complete, shows what the text of the dump says as text, and is written or not at all a success.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "tests/inspect/sample.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Html, IsOnePageWithEverything) {
  const Inspect inspect;
  const Completed done = inspect({"sample.gcore", "--html", "page.html"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_EQ(done.out, "");
  const std::string page = read_file(inspect.folder().path("page.html"));
  EXPECT_THAT(page, AllOf(testing::StartsWith("<!DOCTYPE html>"), testing::EndsWith("</html>\n")));
  for (const char* part : {"qnx7", "SIGUSR2", "0xffff800000008010", "user, CPL 3", "NXE LMA LME SCE", "shell",
                           "0x0000000000200000", "not in the dump", "r-xu"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(page, Not(HasSubstr("://")));  // nothing from elsewhere
}

TEST(Html, TextOfTheDumpIsText) {
  QnxNote note = sample_note();
  note.cpus[1].process = "<script>alert(\"&\")</script>";
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory());
  const Inspect inspect;
  EXPECT_EQ(inspect.with(dump, {"--html", "page.html"}).status, (ExitStatus{0, 0}));
  EXPECT_THAT(read_file(inspect.folder().path("page.html")),
              AllOf(HasSubstr("&lt;script&gt;alert(&quot;&amp;&quot;)"), Not(HasSubstr("<script>alert"))));
}

TEST(Html, FailuresAreToldAndTheDumpIsSafe) {
  const Inspect inspect;
  const std::string before = read_file(inspect.folder().path("sample.gcore"));
  const Completed itself = inspect({"sample.gcore", "--html", "./sample.gcore"});
  EXPECT_EQ(itself.status, (ExitStatus{1, 0}));
  EXPECT_EQ(itself.err, "gcore-inspect: write ./sample.gcore: that is the dump itself\n");
  EXPECT_EQ(read_file(inspect.folder().path("sample.gcore")), before);
  EXPECT_EQ(inspect({"sample.gcore", "--html", "absent/page.html"}).err,
            "gcore-inspect: write absent/page.html: No such file or directory\n");
  const Completed full = inspect({"sample.gcore", "--html", "/dev/full"});
  EXPECT_EQ(full.status, (ExitStatus{1, 0}));
  EXPECT_THAT(full.err, HasSubstr("write /dev/full: No space left on device"));
}

TEST(Html, IsTheOwnersAlone) {
  const Inspect inspect;
  ASSERT_EQ(inspect({"sample.gcore", "--html", "page.html"}).status, (ExitStatus{0, 0}));
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(inspect.folder().path("page.html")).permissions(),
            perms::owner_read | perms::owner_write);
}

TEST(Html, OfADashIsStandardOutput) {
  const Inspect inspect;
  ASSERT_EQ(inspect({"sample.gcore", "--html", "page.html"}).status, (ExitStatus{0, 0}));
  EXPECT_EQ(inspect({"sample.gcore", "--html", "-"}).out, read_file(inspect.folder().path("page.html")));
  EXPECT_THAT(inspect({"sample.gcore", "--diff", "sample.gcore", "--html", "-"}).out,
              testing::StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(inspect.folder().entries(), testing::UnorderedElementsAre("page.html", "sample.gcore"));
}

TEST(Html, ReplacesAPageAndNothingElse) {
  const Inspect inspect;
  inspect.folder().write("notes.txt", "mine");
  const Completed other = inspect({"sample.gcore", "--html", "notes.txt"});
  EXPECT_EQ(other.status, (ExitStatus{1, 0}));
  EXPECT_EQ(other.err,
            "gcore-inspect: write notes.txt: it exists and is no page, so it is not replaced; give another name\n");
  EXPECT_EQ(read_file(inspect.folder().path("notes.txt")), "mine");
  EXPECT_THAT(inspect({"sample.gcore", "--html", "."}).err, HasSubstr("it is a folder"));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(inspect({"sample.gcore", "--html", "page.html"}).status, (ExitStatus{0, 0}));
  inspect.folder().write("empty", "");
  EXPECT_EQ(inspect({"sample.gcore", "--html", "empty"}).status, (ExitStatus{0, 0}));
  EXPECT_THAT(inspect.folder().entries(),
              testing::UnorderedElementsAre("empty", "notes.txt", "page.html", "sample.gcore"));
}

TEST(Html, AnInterruptedOneLeavesNothing) {
  const Inspect inspect;
  Process::Options options;
  options.directory = inspect.folder().path();
  options.pipe_stdin = true;
  Process process({program("gcore-inspect"), "-", "--html", "page.html"}, options);
  ASSERT_TRUE(process.write_stdin(read_file(inspect.folder().path("sample.gcore")).substr(0, 4096)));
  ASSERT_TRUE(process.signal(SIGINT));
  EXPECT_EQ(process.wait(), (ExitStatus{-1, SIGINT}));
  EXPECT_THAT(inspect.folder().entries(), testing::ElementsAre("sample.gcore"));
}

}  // namespace
}  // namespace gcore::tests
