// --html: the page is complete, shows what the text of the dump says as text, and is written or not at all a success.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/inspect/sample.h"

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
                           "0x0000000000200000", "Not in the dump:", "r-xu"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http"))));
}

TEST(Html, TextOfTheDumpIsText) {
  QnxNote note = sample_note();
  note.cpus[1].process = "<script>alert(\"&\")</script>";
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory());
  const Inspect inspect;
  EXPECT_EQ(inspect.with(dump, {"--html", "page.html"}).status, (ExitStatus{0, 0}));
  EXPECT_THAT(read_file(inspect.folder().path("page.html")),
              AllOf(HasSubstr("&lt;script&gt;alert(&quot;&amp;&quot;)"), Not(HasSubstr("<script"))));
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

}  // namespace
}  // namespace gcore::tests
