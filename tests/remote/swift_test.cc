// s3:// on OpenStack Swift: a server that is not ours, and checks signatures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <span>

#include "reader/source/remote/remote.h"
#include "tests/remote/remote_server.h"
#include "tests/support/dump_builder.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr ExitStatus kDone{0, 0}, kFailed{1, 0};
constexpr char kSwiftSecret[] = "swift/SECRET+of=tests";

/// A dump that takes three parts.
std::string large_dump(char seed) {
  std::string memory(20 << 20, '\0');
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<char>(seed + (i * 2654435761u >> 13));
  QnxNote note;
  note.cpus.resize(1);
  return DumpBuilder().note(note.build()).memory(0, memory).build();
}

class Swift : public testing::Test {
 protected:
  class Server {
   public:
    Server() {
      Process::Options how;
      how.pipe_stdin = true;
      process_.emplace(std::vector<std::string>{"/usr/bin/python3", source_dir() + "/tests/remote/swift_server.py",
                                                folder_.path(), "bucket", "id", kSwiftSecret},
                       how);
      const auto line = process_->wait_for_line(Process::Stream::out, "listening on [0-9]+", 60s);
      if (!line) throw std::runtime_error("swift_server.py did not start: " + process_->err());
      endpoint = "http://127.0.0.1:" + line->substr(line->rfind(' ') + 1);
    }
    std::string objects() {
      process_->write_stdin("\n");
      return process_->wait_for_line(Process::Stream::out, "END$", 60s).value_or("(none)");
    }
    std::string endpoint;

   private:
    TempDir folder_;
    std::optional<Process> process_;
  };

  static void SetUpTestSuite() { server_ = new Server; }
  static void TearDownTestSuite() { delete server_; }

  static std::map<std::string, std::string> environment(const std::string& secret = kSwiftSecret) {
    return {{"AWS_ACCESS_KEY_ID", "test:id"},
            {"AWS_SECRET_ACCESS_KEY", secret},
            {"AWS_SESSION_TOKEN", ""},
            {"AWS_PROFILE", ""},
            {"AWS_REGION", "us-east-1"},
            {"AWS_ENDPOINT_URL_S3", ""},
            {"AWS_CONFIG_FILE", "/none"},
            {"AWS_SHARED_CREDENTIALS_FILE", "/none"},
            {"AWS_ENDPOINT_URL", server_->endpoint}};
  }
  static Process::Options options(const std::string& secret = kSwiftSecret) {
    Process::Options options;
    for (const auto& [name, value] : environment(secret)) options.environment.push_back(name + "=" + value);
    return options;
  }
  static Completed run_with(std::vector<std::string> command, const std::string& secret = kSwiftSecret) {
    command[0] = program(command[0]);
    Completed done = run(std::move(command), 60s, {}, options(secret));
    EXPECT_THAT(done.out + done.err, Not(HasSubstr(secret)));
    return done;
  }

  TempDir folder_;
  static inline Server* server_ = nullptr;
};

TEST_F(Swift, HasWhatIsWritten) {
  const std::string in = folder_.write("in", large_dump('a'));
  const std::string key = "s3://bucket/deep/a key=with+odd*signs&\xc3\xa4(1)~";
  for (const char* compression : {"none", "zstd"}) {
    const Completed done =
        run_with({"gcore-convert", in, key, "--dialect", "qnx", "--compress", compression, "--force"});
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_EQ(run_with({"gcore-inspect", key, "--diff", in, "--exit-code"}).status, kDone);
    for (const char* range : {"0x1:7", "0x7fffff:0x10001", "0x13fff00:0x100"}) {
      const std::vector<std::string> mode{"--read", range, "--phys", "--raw"};
      const auto read = [&](const std::string& from) {
        return run_with({"gcore-inspect", from, mode[0], mode[1], mode[2], mode[3]}).out;
      };
      EXPECT_EQ(read(key), read(in)) << range;
    }
  }
  const Completed refused = run_with({"gcore-convert", in, key});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("it exists; --force replaces it"));
}

TEST_F(Swift, SaysNo) {
  const std::string in = folder_.write("in", large_dump('a'));
  const auto error = [&](std::vector<std::string> command, const std::string& secret = kSwiftSecret) {
    const Completed done = run_with(std::move(command), secret);
    EXPECT_EQ(done.status, kFailed);
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    return done.err;
  };
  EXPECT_THAT(error({"gcore-inspect", "s3://bucket/none"}), HasSubstr("there is no such object (404, NoSuchKey)"));
  EXPECT_THAT(error({"gcore-inspect", "s3://none/none"}), HasSubstr("there is no such object (404, NoSuchBucket)"));
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"gcore-inspect", "s3://bucket/in"}, {"gcore-convert", in, "s3://bucket/in"}})
    EXPECT_THAT(error(command, "another-secret"),
                HasSubstr("the server does not allow it (403, SignatureDoesNotMatch)"));
  EXPECT_THAT(server_->objects(), Not(HasSubstr("bucket/in ")));
}

TEST_F(Swift, HasNothingOfAnInterruptedUpload) {
  RemoteServer slow;
  slow.folder().write("in", large_dump('a'));
  slow.rules(R"([{"do": "wait", "skip": 24}])");
  Process convert({program("gcore-convert"), slow.url("in"), "s3://bucket/interrupted"}, options());
  while (server_->objects().find("bucket+segments/interrupted/") == std::string::npos)
    ASSERT_FALSE(convert.wait(10ms)) << convert.err();
  convert.signal(SIGINT);
  EXPECT_EQ(convert.wait(), (ExitStatus{-1, SIGINT}));
  slow.go();
  EXPECT_THAT(server_->objects(), AllOf(Not(HasSubstr("/interrupted")), HasSubstr("END")));
}

TEST_F(Swift, TellsThatAnObjectIsAnotherOneNow) {
  for (const auto& [name, value] : environment()) setenv(name.c_str(), value.c_str(), 1);
  const auto write = [&](char seed) {
    const std::string in = folder_.write("in", large_dump(seed));
    return run_with({"gcore-convert", in, "s3://bucket/replaced", "--dialect", "qnx", "--force"}).status;
  };
  ASSERT_EQ(write('a'), kDone);
  const auto remote = reader::open_remote("s3://bucket/replaced");
  ASSERT_TRUE(remote) << remote.error().text;
  std::byte byte{};
  EXPECT_EQ(remote->source->read(reader::FileOffset(5 << 20), std::span(&byte, 1)).bytes, 1u);
  ASSERT_EQ(write('b'), kDone);
  EXPECT_EQ(remote->source->read(reader::FileOffset(15 << 20), std::span(&byte, 1)).bytes, 0u);
  EXPECT_THAT(remote->state->trouble(), HasSubstr("it has changed since it was opened"));
}

}  // namespace
}  // namespace gcore::tests
