// gcore-serve, while the server that has the dump fails, hangs, or puts another file in its place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <cstdio>
#include <stdexcept>

#include "tests/e2e/serve_process.h"
#include "tests/remote/remote_server.h"
#include "tests/support/dump_builder.h"
#include "tests/support/paths.h"
#include "tests/support/rsp_client.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr uint64_t kNumbers = 8 << 20, kAll = 96 << 20, kSwept = 12 << 20;
constexpr char kSecret[] = "topsecret";

/// Words that say where they are, and then more zeros than are kept of a dump in memory. Paging is off.
DumpBuilder numbers() {
  Bytes words;
  for (uint64_t at = 0; at < kNumbers; at += 8) words.u64(at + 1);
  QnxNote note;
  note.extra_names = {"cr0"};
  note.cpus.push_back({.registers = {{"cr0", 0x11}}});
  DumpBuilder dump;
  dump.note(note.build()).memory(0, words.str()).hole(kNumbers, kAll - kNumbers);
  return dump;
}

std::string words_at(uint64_t address) { return to_hex(Bytes().u64(address + 1).u64(address + 9).str()); }

/// What a client sends that wants the words there.
std::string read_packet(uint64_t address) {
  char packet[32];
  std::snprintf(packet, sizeof packet, "m%llx,10", static_cast<unsigned long long>(address));
  return packet;
}

/// The zeros, of which there are more than are kept, so that no number is any more.
std::string sweep_packet() {
  char packet[64];
  std::snprintf(packet, sizeof packet, "qSearch:memory:%llx;%llx;\1", static_cast<unsigned long long>(kSwept),
                static_cast<unsigned long long>(kAll - kSwept));
  return packet;
}

class RemoteServe : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new RemoteServer;
    numbers().write(shared_->folder().path("vm.gcore"));
  }
  static void TearDownTestSuite() { delete shared_; }
  RemoteServe() {
    server_.rules("[]");
    server_.log();
  }

  std::string url() const { return server_.url("vm.gcore", std::string("user:") + kSecret + "@") + "?key=" + kSecret; }

  static inline RemoteServer* shared_ = nullptr;
  RemoteServer& server_ = *shared_;
};

/// A client of gcore-serve, which has looked at the dump already and keeps no number of it.
class Client {
 public:
  explicit Client(const std::string& url, const std::string& log)
      : serve_(url, {"--symbols", "none", "--log", log}), rsp_(RspClient::tcp("127.0.0.1", serve_.port())) {
    rsp_.handshake();
    monitor_info();
    if (rsp_.request(read_packet(0)) != words_at(0)) throw std::runtime_error("the dump is not served");
    if (rsp_.request(sweep_packet()) != "0") throw std::runtime_error("the zeros are not searched");
  }
  std::string read(uint64_t address) { return rsp_.request(read_packet(address)); }
  std::string monitor_info() {
    rsp_.console.clear();
    rsp_.request("qRcmd," + to_hex("info"));
    return rsp_.console;
  }
  Process& process() { return serve_.process(); }

 private:
  ServeProcess serve_;
  RspClient rsp_;
};

struct Failure {
  const char *rules, *why;
};
constexpr Failure kFailures[] = {
    {R"([{"do": "status", "status": 403, "body": "<Code>topsecret</Code>"}])",
     "the server does not allow it (403, ...)"},
    {R"([{"do": "status", "status": 404}])", "there is no such file (404)"},
    {R"([{"do": "status", "status": 500}])", "the server failed (500), 3 times"},
    {R"([{"do": "status", "status": 503}])", "the server failed (503), 3 times"},
    {R"([{"do": "change"}])", "it has changed since it was opened"},
    {R"([{"do": "change", "late": true}])", "it has changed since it was opened: its ETag was "},
    {R"([{"do": "wrong-range", "value": "bytes 5-6/7"}])", "it has changed since it was opened: it had "},
    {R"([{"do": "no-ranges"}])", "the server no longer serves ranges of bytes"}};

TEST_F(RemoteServe, WhatCannotBeReadIsAnErrorAndNeverOtherBytes) {
  const TempDir folder;
  for (const auto& [rules, why] : kFailures) {
    SCOPED_TRACE(rules);
    const std::string log = folder.path("log");
    Client client(url(), log);
    server_.rules(rules);
    for (const uint64_t address : {0x100000, 0x100010, 0x300000})
      EXPECT_THAT(client.read(address), StartsWith("E")) << std::hex << address;
    const std::string line = "cannot read " + server_.url("vm.gcore") + "?...: " + why;
    EXPECT_TRUE(client.process().wait_for_line(Process::Stream::err, "^gcore-serve: cannot read "));
    EXPECT_THAT(client.process().err(), HasSubstr("gcore-serve: " + line));
    const std::string info = client.monitor_info();
    EXPECT_THAT(info, HasSubstr(std::string("it can no longer be read: ") + why));
    server_.rules("[]");
    client.process().signal(SIGTERM);
    EXPECT_EQ(client.process().wait(), (ExitStatus{0, 0}));
    for (const std::string& text : {client.process().err(), client.process().out(), info, read_file(log)})
      EXPECT_THAT(text, Not(HasSubstr(kSecret)));
  }
}

TEST_F(RemoteServe, GoesOnWhenTheServerDoes) {
  const TempDir folder;
  Client client(url(), folder.path("log"));
  server_.rules(R"([{"do": "status", "status": 503, "times": 3}])");
  EXPECT_THAT(client.read(0x100000), StartsWith("E"));
  std::string words = "E";
  while (words.starts_with('E') && !client.process().wait(50ms)) words = client.read(0x100000);
  EXPECT_EQ(words, words_at(0x100000));
  server_.rules(R"([{"do": "cut"}])");  // half of the rest each time
  EXPECT_EQ(client.read(0x400000), words_at(0x400000));
}

std::string framed(const std::string& payload) {
  unsigned sum = 0;
  for (const char c : payload) sum += static_cast<unsigned char>(c);
  char end[8];
  std::snprintf(end, sizeof end, "#%02x", sum & 0xff);
  return "$" + payload + end;
}

/// What came in packets, one after the other with a blank between them; run lengths undone.
std::string payloads(const std::string& output) {
  std::string all;
  bool within = false;
  for (size_t at = 0; at < output.size(); ++at) {
    if (output[at] == '$') {
      all += all.empty() ? "" : " ";
      within = true;
    } else if (output[at] == '#') {
      within = false;
    } else if (within && output[at] == '*') {
      all.append(static_cast<size_t>(output[++at] - 29), all.back());
    } else if (within) {
      all += output[at];
    }
  }
  return all;
}

// A debugger that gives up would take what comes after that for the answer to its next question.
TEST_F(RemoteServe, ShowsSignsOfLifeWhileTheServerHangs) {
  Process::Options options;
  options.pipe_stdin = true;
  Process serve({program("gcore-serve"), "--stdio", "--symbols", "none", url()}, options);
  size_t before = 0;
  const auto wait_for = [&](const std::string& wanted) {
    for (std::string out; !serve.wait(10ms);)
      if (out = serve.out().substr(before); out.ends_with(wanted) || payloads(out).ends_with(wanted)) break;
  };
  serve.write_stdin(framed("qRcmd," + to_hex("info")) + framed(sweep_packet()));
  wait_for("OK 0");
  server_.rules(R"([{"do": "wait"}])");
  before = serve.out().size();
  serve.write_stdin(framed(read_packet(0x200000)));
  wait_for("+++++");
  server_.rules("[]");
  server_.go();
  wait_for(words_at(0x200000));
  serve.write_stdin(framed(read_packet(0x300000)));
  serve.close_stdin();
  EXPECT_EQ(serve.wait(), (ExitStatus{0, 0}));
  EXPECT_EQ(payloads(serve.out().substr(before)), words_at(0x200000) + " " + words_at(0x300000));
}

TEST_F(RemoteServe, GdbSaysWhatItCannotRead) {
  Process::Options options;
  options.pipe_stdin = options.merge_stderr = true;
  Process gdb({"gdb", "-nx", "-q", "-iex", "set debuginfod enabled off", "-iex", "set pagination off", "-ex",
               "target remote | " + program("gcore-serve") + " --stdio --symbols none '" + url() + "'"},
              options);
  const auto type = [&](const std::string& command, const std::string& answer) {
    gdb.write_stdin(command + "\n");
    return gdb.wait_for_line(Process::Stream::out, answer, 60s).has_value();
  };
  EXPECT_TRUE(type("monitor info", "memory: [0-9]+ bytes"));
  EXPECT_TRUE(type("find /b 0xc00000, +0x5400000, 1", "Pattern not found")) << gdb.out();
  EXPECT_TRUE(type("x/gx 0x100000", "0x100000:\t0x0000000000100001")) << gdb.out();
  server_.rules(R"([{"do": "status", "status": 403}])");
  EXPECT_TRUE(type("x/gx 0x400000", "Cannot access memory at address 0x400000")) << gdb.out();
  EXPECT_TRUE(type("x/gx 0x100008", "0x100008:\t0x0000000000100009")) << "it is still there: " << gdb.out();
  EXPECT_TRUE(type("monitor info", "it can no longer be read: the server does not allow it \\(403\\)")) << gdb.out();
  gdb.close_stdin();
  EXPECT_TRUE(gdb.wait());
  const std::string said = gdb.out();
  EXPECT_THAT(said.substr(said.find("(gdb)")), Not(HasSubstr(kSecret)));  // before that it repeats what it was told
}

}  // namespace
}  // namespace gcore::tests
