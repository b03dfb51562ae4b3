// s3://, against a server that checks signatures by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/inspect/sample.h"
#include "tests/reader/packing.h"
#include "tests/remote/remote_server.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr ExitStatus kDone{0, 0}, kFailed{1, 0};

class S3 : public testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = new RemoteServer({"--keys", std::string(kKeyId) + ":" + kSecret}); }
  static void TearDownTestSuite() { delete shared_; }
  S3() {
    server_.reset();
    EXPECT_EQ(std::system(("mkdir " + server_.folder().path("bucket")).c_str()), 0);
    server_.folder().write("bucket/vm.gcore", sample_dump().build());
  }
  Completed run_as(const std::string& secret, std::vector<std::string> command,
                   const std::vector<std::string>& more = {}) const {
    Process::Options options;
    options.environment = aws_environment(server_, kKeyId, secret, more);
    command[0] = program(command[0]);
    Completed done = run(std::move(command), 60s, {}, options);
    for (const char* hidden : {kSecret, kKeyId, "Signature=", "another-secret"})
      EXPECT_THAT(done.out + done.err, Not(HasSubstr(hidden)));
    return done;
  }
  Completed run_signed(std::vector<std::string> command) const { return run_as(kSecret, std::move(command)); }
  Completed inspect_local(const std::string& name, const char* mode) const {
    return run({program("gcore-inspect"), server_.folder().path(name), mode});
  }
  /// A dump that takes three parts.
  std::string large_dump() const {
    std::string memory(20 << 20, '\0');
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<char>(i * 2654435761u >> 13);
    QnxNote note;
    note.cpus.resize(1);
    DumpBuilder().note(note.build()).memory(0, memory).write(server_.folder().path("large.gcore"));
    return server_.folder().path("large.gcore");
  }
  std::vector<std::string> objects() const {
    std::vector<std::string> names;
    const Completed listed = run({"ls", server_.folder().path("bucket")});
    for (size_t at = 0, end; (end = listed.out.find('\n', at)) != std::string::npos; at = end + 1)
      names.push_back(listed.out.substr(at, end - at));
    return names;
  }
  static inline RemoteServer* shared_ = nullptr;
  RemoteServer& server_ = *shared_;
};

TEST_F(S3, IsReadWithSignedRequests) {
  server_.folder().write("bucket/a key=with+odd*signs&\xc3\xa4(1)~.gcore", sample_dump().build());
  for (const char* key : {"vm.gcore", "a key=with+odd*signs&\xc3\xa4(1)~.gcore"}) {
    const Completed done = run_signed({"gcore-inspect", std::string("s3://bucket/") + key, "--segments"});
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_EQ(done.out, inspect_local(std::string("bucket/") + key, "--segments").out);
  }
  EXPECT_THAT(run_signed({"gcore-inspect", "s3://bucket/vm.gcore", "--json"}).out,
              HasSubstr("\"path\": \"s3://bucket/vm.gcore\""));
}

TEST_F(S3, IsReadWithATemporaryToken) {
  RemoteServer server({"--keys", std::string(kKeyId) + ":" + kSecret + ":token/with=signs", "--region", "eu-west-1"});
  EXPECT_EQ(std::system(("mkdir " + server.folder().path("b")).c_str()), 0);
  server.folder().write("b/k", sample_dump().build());
  Process::Options options;
  options.environment =
      aws_environment(server, kKeyId, kSecret, {"AWS_SESSION_TOKEN=token/with=signs", "AWS_REGION=eu-west-1"});
  const Completed done = run({program("gcore-inspect"), "s3://b/k", "--segments"}, 60s, {}, options);
  EXPECT_EQ(done.status, kDone) << done.err;
}

TEST_F(S3, FailuresHaveTheServersWordForThem) {
  const auto error = [&](const std::string& url, const std::string& secret = kSecret) {
    const Completed done = run_as(secret, {"gcore-inspect", url});
    EXPECT_EQ(done.status, kFailed);
    return done.err;
  };
  EXPECT_EQ(error("s3://bucket/vm.gcore", "another-secret"),
            "gcore-inspect: cannot open s3://bucket/vm.gcore: the server does not allow it (403, "
            "SignatureDoesNotMatch)\n");
  EXPECT_THAT(error("s3://bucket/none"), HasSubstr("there is no such object (404, NoSuchKey)"));
  EXPECT_THAT(error("s3://other/none"), HasSubstr("there is no such object (404, NoSuchBucket)"));
  EXPECT_THAT(error("s3://bucket"), HasSubstr("there is no key in it: it is s3://BUCKET/KEY"));
  EXPECT_THAT(error("s3://"), HasSubstr("there is no bucket in it"));
  server_.rules(
      R"([{"do": "status", "status": 301, "headers": {"x-amz-bucket-region": "eu-west-1", "Location": "http://127.0.0.1:1/"}}])");
  EXPECT_THAT(error("s3://bucket/vm.gcore"), HasSubstr("the bucket is in region eu-west-1: set AWS_REGION"));
}

TEST_F(S3, NobodyIsAnonymousUnwanted) {
  const Completed none = run_as("", {"gcore-inspect", "s3://bucket/vm.gcore"}, {"AWS_ACCESS_KEY_ID="});
  EXPECT_EQ(none.status, kFailed);
  EXPECT_THAT(none.err, HasSubstr("there are no credentials"));
  EXPECT_EQ(server_.requests(), 0u);
  const Completed anonymous =
      run_as("", {"gcore-inspect", "s3://bucket/vm.gcore", "--no-sign-request"}, {"AWS_ACCESS_KEY_ID="});
  EXPECT_THAT(anonymous.err, HasSubstr("(403, AccessDenied)"));
  EXPECT_THAT(server_.log(), Not(HasSubstr("authorization")));
}

TEST_F(S3, AConvertedDumpAppearsWhenItIsComplete) {
  const std::string in = large_dump();
  EXPECT_EQ(run_signed({"gcore-convert", in, "s3://bucket/new/out.gcore", "--dialect", "qnx"}).err, "");
  EXPECT_EQ(server_.uploads(), "[]");
  EXPECT_EQ(run({program("gcore-inspect"), in, "--diff", server_.folder().path("bucket/new/out.gcore"), "--exit-code"})
                .status,
            kDone);
  EXPECT_THAT(server_.log(), HasSubstr("[\"partNumber\", \"3\"]"));
  const Completed packed =
      run_signed({"gcore-convert", "s3://bucket/new/out.gcore", "s3://bucket/out.gcore.zst", "--compress", "zstd"});
  EXPECT_EQ(packed.status, kDone) << packed.err;
  EXPECT_EQ(run_signed({"gcore-inspect", "s3://bucket/out.gcore.zst", "--diff", in, "--exit-code"}).status, kDone);
}

TEST_F(S3, WhatIsThereIsNotReplacedUnasked) {
  const std::string in = server_.folder().path("bucket/vm.gcore");
  server_.folder().write("bucket/old", "precious");
  const Completed refused = run_signed({"gcore-convert", in, "s3://bucket/old"});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("cannot write s3://bucket/old: it exists; --force replaces it"));
  EXPECT_EQ(read_file(server_.folder().path("bucket/old")), "precious");
  EXPECT_EQ(run_signed({"gcore-convert", in, "s3://bucket/old", "--force"}).status, kDone);
  EXPECT_NE(read_file(server_.folder().path("bucket/old")), "precious");
}

struct Trouble {
  const char *name, *rules, *why;
};
constexpr Trouble kTroubles[] = {
    Trouble{"NotAllowed", R"([{"method": "POST", "do": "status", "status": 403, "body": "<Code>AccessDenied</Code>"}])",
            "cannot write s3://bucket/out.gcore: the server does not allow it (403, AccessDenied)"},
    Trouble{"APartIsRefused", R"([{"method": "PUT", "do": "status", "status": 400, "skip": 1}])",
            "the server refuses it (400)"},
    Trouble{"NoEtag", R"([{"method": "PUT", "do": "answer", "body": ""}])", "does not confirm a part"},
    Trouble{"NoId", R"([{"method": "POST", "do": "answer", "body": "<html>"}])", "does not begin an upload"},
    Trouble{"ErrorInTheAnswer",
            R"([{"method": "POST", "do": "answer", "skip": 1, "body": "<Error><Code>InternalError</Code></Error>"}])",
            "could not put its parts together (InternalError)"}};

TEST_F(S3, ABrokenUploadLeavesNothing) {
  const std::string in = large_dump();
  for (const Trouble& trouble : kTroubles) {
    SCOPED_TRACE(trouble.name);
    server_.rules(trouble.rules);
    const Completed done = run_signed({"gcore-convert", in, "s3://bucket/out.gcore"});
    EXPECT_EQ(done.status, kFailed);
    EXPECT_THAT(done.err, HasSubstr(trouble.why));
    EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    EXPECT_THAT(objects(), Not(Contains("out.gcore")));
    EXPECT_EQ(server_.uploads(), "[]");
  }
}

TEST_F(S3, APartIsSentAgain) {
  server_.rules(R"([{"method": "PUT", "do": "status", "status": 503, "times": 3}])");
  const std::string in = large_dump();
  EXPECT_EQ(run_signed({"gcore-convert", in, "s3://bucket/out.gcore", "--dialect", "qnx"}).err, "");
  EXPECT_EQ(
      run({program("gcore-inspect"), in, "--diff", server_.folder().path("bucket/out.gcore"), "--exit-code"}).status,
      kDone);
}

TEST_F(S3, AnInterruptedUploadLeavesNothing) {
  server_.rules(R"([{"method": "PUT", "do": "wait", "skip": 1}])");
  Process::Options options;
  options.environment = aws_environment(server_, kKeyId, kSecret);
  Process convert({program("gcore-convert"), large_dump(), "s3://bucket/out.gcore"}, options);
  while (server_.uploads().find("\"parts\": 1") == std::string::npos) ASSERT_FALSE(convert.wait(10ms)) << convert.err();
  convert.signal(SIGINT);
  EXPECT_EQ(convert.wait(30s), (ExitStatus{-1, SIGINT}));
  EXPECT_EQ(server_.uploads(), "[]");
  EXPECT_THAT(objects(), Not(Contains("out.gcore")));
  server_.go();
}

TEST_F(S3, OnlyObjectsOfS3AreWritten) {
  const std::string in = server_.folder().path("bucket/vm.gcore");
  const Completed done = run_signed({"gcore-convert", in, "https://user:topsecret@host/out"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_EQ(done.err, "gcore-convert: cannot write https://host/out: only s3://BUCKET/KEY can be written to\n");
}

}  // namespace
}  // namespace gcore::tests
