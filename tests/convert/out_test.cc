// What OUT may be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/convert/convert.h"
#include "tests/support/dump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

class ConvertOut : public testing::Test {
 protected:
  ConvertOut() {
    QnxNote note;
    note.cpus.resize(1);
    DumpBuilder builder;
    builder.note(note.build()).memory(0, std::string(8192, 'm')).write(in());
  }
  std::string in() const { return folder_.path("in.gcore"); }
  void expect_refused(const std::string& out, const std::string& why) const {
    for (const char* option : {"--progress", "--force"}) {
      const Completed done = convert({in(), out, option});
      EXPECT_EQ(done.status, kFailed) << out;
      EXPECT_THAT(done.err, HasSubstr(why));
    }
  }
  TempDir folder_;
};

// A file in the place of /dev/null would be found by everybody.
TEST_F(ConvertOut, IsNoDeviceAndNoPipe) {
  const std::string pipe = folder_.path("pipe"), null = folder_.path("null");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(symlink("/dev/null", null.c_str()), 0);
  expect_refused(pipe, "pipe is no regular file, and is not replaced by one");
  expect_refused(null, "null leads to something that is no regular file, and is not replaced by one");
  struct stat facts;
  ASSERT_EQ(lstat(pipe.c_str(), &facts), 0);
  EXPECT_TRUE(S_ISFIFO(facts.st_mode));
  EXPECT_EQ(lstat(null.c_str(), &facts), 0);
  EXPECT_TRUE(S_ISLNK(facts.st_mode));
  EXPECT_THAT(folder_.entries(), testing::UnorderedElementsAre("in.gcore", "pipe", "null"));
}

TEST_F(ConvertOut, MayBeALinkToAFile) {
  const std::string old = folder_.write("old", "precious"), link = folder_.path("link");
  ASSERT_EQ(symlink(old.c_str(), link.c_str()), 0);
  EXPECT_THAT(convert({in(), link}).err, HasSubstr("--force"));
  EXPECT_EQ(convert({in(), link, "--force"}).status, kDone);
  EXPECT_EQ(read_file(old), "precious");  // the link is what was replaced
  EXPECT_EQ(open_dump(link)->memory_bytes(), 8192u);
}

TEST_F(ConvertOut, IsNeitherStandardOutputNorACommand) {
  for (const char* out : {"-", "|cat", "|"}) {
    const Completed done = convert({in(), out});
    EXPECT_EQ(done.status, kUsage) << out;
    EXPECT_THAT(
        done.err,
        HasSubstr(std::string("OUT is a file, not standard output or a command; one of that name is ./") + out));
  }
  EXPECT_EQ(run({"sh", "-c", "cd \"$0\" && \"$1\" in.gcore './|cat'", folder_.path(), program("gcore-convert")}).status,
            kDone);
  EXPECT_EQ(open_dump(folder_.path("|cat"))->memory_bytes(), 8192u);
}

}  // namespace
}  // namespace gcore::tests
