// Dumps of a running guest that become objects of S3.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/dump/gcore_dump.h"
#include "tests/remote/remote_server.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

class DumpUpload : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new RemoteServer({"--keys", std::string(kKeyId) + ":" + kSecret});
    machine_ = new BareMachine(kX86, kLoop, kShared);
    machine_->start();
  }
  static void TearDownTestSuite() {
    delete machine_;
    delete server_;
  }
  DumpUpload() {
    server_->reset();
    std::filesystem::create_directory(server_->folder().path("bucket"));
  }
  static Completed dump(std::vector<std::string> more, const std::vector<std::string>& environment = {}) {
    std::vector<std::string> command{program("gcore-dump"), "--qmp", machine_->socket(), "--system", "vm"};
    command.insert(command.end(), more.begin(), more.end());
    Process::Options options;
    options.environment = aws_environment(*server_, kKeyId, kSecret, environment);
    Completed done = run(command, 60s, {}, options);
    EXPECT_THAT(done.out + done.err, Not(HasSubstr(kSecret)));
    EXPECT_TRUE(machine_->runs());
    return done;
  }
  /// Files below the bucket.
  static size_t objects() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(server_->folder().path("bucket")))
      count += entry.is_regular_file() ? 1 : 0;
    return count;
  }

  static inline RemoteServer* server_ = nullptr;
  static inline BareMachine* machine_ = nullptr;
};

TEST_F(DumpUpload, IsAnObjectWithTheNameOfAFile) {
  for (const std::string compress : {"none", "zstd"}) {
    const Completed done = dump({"--compress", compress, "s3://bucket/dumps/of/"});
    EXPECT_EQ(done.status, kDone) << done.err;
    const std::string name = line(done.out), start = "s3://bucket/dumps/of/vm-";
    EXPECT_EQ(name.substr(0, start.size()), start);
    EXPECT_EQ(open_dump(server_->folder().path(name.substr(5)))->memory_bytes() >> 20, 64u);
  }
  EXPECT_EQ(server_->uploads(), "[]");
}

TEST_F(DumpUpload, LeavesNothingWhereItFails) {
  server_->rules(R"([{"method": "PUT", "do": "status", "status": 403, "body": "<Code>AccessDenied</Code>"}])");
  const Completed done = dump({"s3://bucket/dumps/"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_EQ(done.out, "");
  EXPECT_THAT(done.err, HasSubstr("cannot write s3://bucket/dumps/vm-"));
  EXPECT_THAT(done.err, HasSubstr("the server does not allow it (403, AccessDenied)"));
  EXPECT_EQ(server_->uploads(), "[]");
  EXPECT_EQ(objects(), 0u);
}

TEST_F(DumpUpload, IsRefusedBeforeTheGuestIsTouched) {
  const Completed none = dump({"s3://bucket/dumps/"}, {"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="});
  EXPECT_EQ(none.status, kFailed);
  EXPECT_THAT(none.err, HasSubstr("there are no credentials"));
  for (const char* wrong : {"https://user:topsecret@host/", "s3://"}) {
    const Completed done = dump({wrong});
    EXPECT_EQ(done.status, kUsage);
    EXPECT_THAT(done.err, Not(HasSubstr("topsecret")));
  }
  EXPECT_THAT(dump({"--keep", "3", "s3://bucket/"}).err, HasSubstr("--keep is about a directory"));
  EXPECT_EQ(server_->requests(), 0u);
}

}  // namespace
}  // namespace gcore::tests
