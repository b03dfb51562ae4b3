// The programs, given the address of a dump.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/inspect/sample.h"
#include "tests/reader/packing.h"
#include "tests/remote/remote_server.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr ExitStatus kDone{0, 0}, kFailed{1, 0}, kUsage{2, 0};

class RemoteDump : public testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = new RemoteServer; }
  static void TearDownTestSuite() { delete shared_; }
  RemoteDump() {
    server_.reset();
    const std::string dump = sample_dump().build();
    server_.folder().write("vm.gcore", dump);
    server_.folder().write("vm.gcore.zst", zstd_seekable(dump));
    server_.folder().write("vm.gcore.gz",
                           in_pieces(dump, 1 << 20, [](std::string_view piece) { return gzip_member(piece); }));
    server_.folder().write("whole.gcore.zst", zstd_frame(dump + std::string(40 << 20, '\0')));
  }
  static Completed inspect(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program("gcore-inspect"));
    return run(std::move(arguments));
  }
  static inline RemoteServer* shared_ = nullptr;
  RemoteServer& server_ = *shared_;
};

TEST_F(RemoteDump, SaysWhatTheFileSays) {
  for (const char* name : {"vm.gcore", "vm.gcore.zst", "vm.gcore.gz", "whole.gcore.zst"})
    for (const char* mode : {"--segments", "--registers", "--map", "--stats"}) {
      const Completed local = inspect({server_.folder().path(name), mode}), remote = inspect({server_.url(name), mode});
      EXPECT_EQ(remote.status, kDone) << remote.err;
      EXPECT_EQ(remote.out, local.out) << name << " " << mode;
    }
}

TEST_F(RemoteDump, IsNeverShownWithAPassword) {
  const std::string url = server_.url("vm.gcore", "user:topsecret@") + "?X-Amz-Signature=topsecret";
  const std::string shown = server_.url("vm.gcore") + "?...";
  const Completed json = inspect({url, "--json"});
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"path\": \"" + shown + "\""), Not(HasSubstr("topsecret"))));
  const std::string page = server_.folder().path("page.html");
  EXPECT_EQ(inspect({url, "--html", page}).status, kDone);
  EXPECT_THAT(read_file(page), AllOf(HasSubstr(shown), Not(HasSubstr("topsecret"))));
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{url},
                                             {url, "--verify"},
                                             {url, "--progress"},
                                             {url, "--registers", "7"},
                                             {url, url},
                                             {url, "--diff", url},
                                             {server_.folder().path("vm.gcore"), "--diff", url + "x", "--exit-code"},
                                             {url, "--raw-memory", "z80"}}) {
    const Completed done = inspect(arguments);
    EXPECT_THAT(done.out + done.err, Not(HasSubstr("topsecret"))) << testing::PrintToString(arguments);
  }
  server_.rules(R"([{"do": "status", "status": 403, "body": "<Code>topsecret topsecret</Code>"}])");
  const Completed failed = inspect({url});
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_EQ(failed.err, "gcore-inspect: cannot open " + shown + ": the server does not allow it (403)\n");
}

// Whatever was printed until then: what comes of half a dump is not its truth.
TEST_F(RemoteDump, ThatFailsMeanwhileIsAFailure) {
  server_.folder().write("big", DumpBuilder().note(sample_note().build()).memory(0, std::string(8 << 20, 'x')).build());
  server_.rules(R"([{"do": "change", "skip": 2}])");
  const Completed done = inspect({server_.url("big"), "--stats"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("cannot read " + server_.url("big") + ": it has changed since it was opened"));
}

TEST_F(RemoteDump, HasOneLineOfJsonEvenIfItCannotBeRead) {
  const Completed good = inspect({server_.url("vm.gcore"), "--json=lines"});
  EXPECT_EQ(good.status, kDone);
  EXPECT_THAT(good.out, StartsWith("{\"schema\":1,\"file\":{"));
  EXPECT_EQ(std::ranges::count(good.out, '\n'), 1);
  const Completed none = inspect({server_.url("none"), "--json=lines", "--why"});
  EXPECT_EQ(none.status, kFailed);
  EXPECT_EQ(none.out, "{\"error\":\"cannot open " + server_.url("none") +
                          ": there is no such file (404, NotFound)\",\"file\":{\"path\":\"" + server_.url("none") +
                          "\"},\"schema\":1}\n");
  server_.folder().write("big", DumpBuilder().note(sample_note().build()).memory(0, std::string(8 << 20, 'x')).build());
  server_.rules(R"([{"do": "change", "skip": 2}])");
  const Completed half = inspect({server_.url("big"), "--json=lines", "--stats"});
  EXPECT_EQ(half.status, kFailed);
  EXPECT_THAT(half.out, AllOf(StartsWith("{\"error\":\"cannot read "), HasSubstr("it has changed")));
  EXPECT_EQ(std::ranges::count(half.out, '\n'), 1);
}

TEST_F(RemoteDump, ALineThatDoesNotArriveIsAFailure) {
  for (const std::string& name : {server_.url("vm.gcore"), server_.url("none")}) {
    const Completed done = run({"sh", "-c", "\"$0\" \"$1\" --json=lines >/dev/full", program("gcore-inspect"), name});
    EXPECT_EQ(done.status, kFailed);
    EXPECT_THAT(done.err, HasSubstr("write to standard output: No space left on device"));
  }
}

TEST_F(RemoteDump, IsDownloadedWhereTheServerServesNoRanges) {
  server_.rules(R"([{"do": "no-ranges"}])");
  EXPECT_THAT(inspect({server_.url("vm.gcore")}).err, HasSubstr("with --download all of it is read"));
  const Completed done = inspect({server_.url("vm.gcore"), "--download", "--segments"});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.out, inspect({server_.folder().path("vm.gcore"), "--segments"}).out);
  for (const char* option : {"--download", "--no-sign-request"}) {
    const Completed wrong = inspect({server_.folder().path("vm.gcore"), option});
    EXPECT_EQ(wrong.status, kUsage);
    EXPECT_THAT(wrong.err, HasSubstr("is no address of a server"));
  }
}

TEST_F(RemoteDump, IsConverted) {
  const std::string out = server_.folder().path("out.gcore"), vm = server_.folder().path("vm.gcore");
  for (const char* name : {"vm.gcore", "vm.gcore.zst"}) {
    EXPECT_EQ(run({program("gcore-convert"), server_.url(name), out, "--dialect", "vmcore", "--force"}).status, kDone);
    const Completed local =
        run({program("gcore-convert"), vm, server_.folder().path("local"), "--dialect", "vmcore", "--force"});
    EXPECT_EQ(local.status, kDone);
    EXPECT_EQ(inspect({out, "--diff", server_.folder().path("local"), "--exit-code"}).status, kDone);
  }
}

TEST_F(RemoteDump, IsConvertedWithoutWhatIsSecretInItsAddress) {
  const std::string url = server_.url("vm.gcore", "user:topsecret@") + "?X-Amz-Signature=topsecret";
  for (const char* dialect : {"qnx", "vmcore"}) {
    const std::string out = server_.folder().path(std::string("of-") + dialect);
    const Completed done = run({program("gcore-convert"), url, out, "--dialect", dialect, "--progress"});
    EXPECT_EQ(done.status, kDone);
    EXPECT_THAT(done.out + done.err + read_file(out), Not(HasSubstr("topsecret")));
    EXPECT_THAT(inspect({out, "--json"}).out, Not(HasSubstr("topsecret")));
  }
  const Completed wrong = run({program("gcore-convert"), server_.folder().path("vm.gcore"), url});
  EXPECT_EQ(wrong.status, kFailed);
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("cannot write"), Not(HasSubstr("topsecret"))));
  server_.rules(R"([{"do": "etag", "value": "topsecret"}, {"do": "change", "late": true, "skip": 1}])");
  const Completed changed = inspect({url, "--stats"});
  EXPECT_THAT(changed.out + changed.err, Not(HasSubstr("topsecret")));
}

TEST_F(RemoteDump, ThatFailsMeanwhileIsNotConverted) {
  server_.folder().write("big", DumpBuilder().note(sample_note().build()).memory(0, std::string(8 << 20, 'x')).build());
  server_.rules(R"([{"do": "change", "skip": 3}])");
  const std::string out = server_.folder().path("out.gcore");
  const Completed done = run({program("gcore-convert"), server_.url("big"), out});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("it has changed since it was opened"));
  EXPECT_THAT(server_.folder().entries(), Not(testing::Contains("out.gcore")));
}

TEST_F(RemoteDump, IsServedToGdb) {
  const Completed gdb = run({"gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off", "-ex",
                             "target remote | " + program("gcore-serve") + " --stdio " + server_.url("vm.gcore.zst"),
                             "-ex", "thread 2", "-ex", "x/s 0x400000"},
                            120s);
  EXPECT_THAT(gdb.out, HasSubstr("the quick brown fox"));
}

struct Bad {
  std::string address;
  const char* why;
};

TEST_F(RemoteDump, BadAddressesSayWhatIsWrong) {
  const std::string schemes = "; addresses begin with https://, http:// or s3://, in small letters";
  for (const auto& [address, why] :
       {Bad{"http://", "there is no host in that address"},
        {"https:///vm.gcore", "there is no host in that address"},
        {"http://nobody.invalid/vm.gcore", "Could not resolve host: nobody.invalid"},
        {"http://127.0.0.1:1/vm.gcore", "Failed to connect to 127.0.0.1 port 1"},
        {"http://127.0.0.1:99999/vm.gcore", "that is no address: "},
        {"http://[::1/vm.gcore", "that is no address: "},
        {server_.url("a file"), "a blank in it is written as %20"},
        {"https" + server_.url("vm.gcore").substr(4), "if the server has none, say http://"},
        {server_.url(""), "there is no such file (404, NotFound)"},
        {"s3://", "there is no bucket in it: it is s3://BUCKET/KEY"},
        {"s3://bucket", "there is no key in it: it is s3://BUCKET/KEY"},
        {"s3://buck:et/key", "its bucket has a character that no bucket's name has"},
        {"s3:/bucket/key", "No such file or directory"},
        {"HTTP" + server_.url("vm.gcore").substr(4), schemes.c_str()},
        {"gs://bucket/key", schemes.c_str()},
        {"file:///vm.gcore", schemes.c_str()}}) {
    SCOPED_TRACE(address);
    for (const char* tool : {"gcore-inspect", "gcore-convert"}) {
      std::vector<std::string> command{program(tool), address};
      if (std::string_view(tool) == "gcore-convert") command.push_back(server_.folder().path("out"));
      const Completed done = run(command);
      EXPECT_EQ(done.status, kFailed);
      EXPECT_THAT(done.err, HasSubstr(why));
      EXPECT_EQ(std::ranges::count(done.err, '\n'), 1) << done.err;
    }
  }
  EXPECT_THAT(server_.folder().entries(), Not(testing::Contains("out")));
}

// An address in a dump is text.
TEST_F(RemoteDump, NothingThatADumpNamesIsOpened) {
  const std::string url = server_.url("bait");
  server_.folder().write("bait", sample_dump().build());
  DumpBuilder dump;
  QnxNote note = sample_note();
  dump.note(note.build())
      .note(elf_note("VMCOREINFO", 0, "OSRELEASE=" + url + "\nBUILD-ID=" + url + "\n"))
      .memory(0, sample_memory())
      .section(".gcore.info", "{\"vm\": \"" + url + "\", \"program\": \"" + url + "\"}");
  const std::string path = server_.folder().path("naming.gcore");
  dump.write(path);
  EXPECT_THAT(run({program("gcore-inspect"), path, "--json"}).out, HasSubstr(url));  // it is said
  run({program("gcore-convert"), path, server_.folder().path("out"), "--force"});
  const Completed gdb = run(
      {"gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off", "-ex",
       "target remote | " + program("gcore-serve") + " --stdio " + path, "-ex", "info threads", "-ex", "monitor info"},
      120s);
  EXPECT_THAT(gdb.out, HasSubstr("vCPU 0"));
  EXPECT_EQ(server_.requests(), 0u);
}

}  // namespace
}  // namespace gcore::tests
