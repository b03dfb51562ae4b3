// Connections: many at once, and none of them at the cost of another.
#include "gdbstub/protocol/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/fake_target.h"
#include "tests/support/rsp_client.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

struct ServerTest : testing::Test {
  ServerTest() {
    std::signal(SIGPIPE, SIG_IGN);
    if (pipe(stop) != 0) throw std::runtime_error("pipe");
  }
  ~ServerTest() override {
    end();
    close(stop[0]);
    close(stop[1]);
  }

  uint16_t listen(gdbstub::ServerOptions options = {}) {
    server = std::make_unique<gdbstub::Server>(target, std::move(options));
    const auto address = server->listen_tcp({"127.0.0.1", "0"});
    EXPECT_TRUE(address.has_value());
    start();
    return static_cast<uint16_t>(std::stoi(address->substr(address->rfind(':') + 1)));
  }
  void start() {
    thread = std::thread([this] { result = server->run(stop[0]).has_value(); });
  }
  /// Ends the server from outside, and waits for it.
  void end() {
    if (!thread.joinable()) return;
    EXPECT_EQ(write(stop[1], "x", 1), 1);
    thread.join();
    EXPECT_TRUE(result);
  }

  FakeTarget target;
  int stop[2];
  std::unique_ptr<gdbstub::Server> server;
  std::thread thread;
  bool result = false;
};

TEST_F(ServerTest, ClientsHaveTheirOwnThreadAndAddressSpace) {
  const uint16_t port = listen();
  auto one = RspClient::tcp("127.0.0.1", port), two = RspClient::tcp("127.0.0.1", port);
  one.handshake();
  two.handshake();
  EXPECT_EQ(one.request("Hg1"), "OK");
  EXPECT_EQ(two.request("Hg2"), "OK");
  EXPECT_EQ(one.request("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_EQ(one.request("m1000,2"), "0001");
  EXPECT_EQ(two.request("m1000,2"), "E01");
  EXPECT_EQ(one.request("p0"), "8877665544332211");
  EXPECT_EQ(two.request("p0"), "8977665544332211");
}

TEST_F(ServerTest, AStalledClientCostsNobodyElse) {
  const uint16_t port = listen();
  auto stalled = RspClient::tcp("127.0.0.1", port), greedy = RspClient::tcp("127.0.0.1", port);
  stalled.send_raw("$m4000");
  for (int i = 0; i < 2000; ++i) greedy.send_raw(packet("m400000,2000"));  // and never reads
  auto polite = RspClient::tcp("127.0.0.1", port);
  polite.handshake();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(polite.request("m400000,2"), "0001");
}

TEST_F(ServerTest, AnEndlessPacketCostsNobodyElse) {
  const uint16_t port = listen();
  std::thread flood([port] {
    auto client = RspClient::tcp("127.0.0.1", port);
    client.send_raw("$");
    const std::string piece(1 << 20, 'x');
    for (int i = 0; i < 1024; ++i) client.send_raw(piece);  // 1 GiB
    client.send_raw("#00");
    EXPECT_EQ(client.receive(), "E01");
    EXPECT_EQ(client.request("qC"), "QC3");
  });
  auto polite = RspClient::tcp("127.0.0.1", port);
  polite.handshake();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(polite.request("m400000,2"), "0001");
  flood.join();
}

TEST_F(ServerTest, ManyClientsComeAndGo) {
  const uint16_t port = listen();
  for (int i = 0; i < 300; ++i) {
    auto client = RspClient::tcp("127.0.0.1", port);
    if (i % 3 == 0) continue;  // leaves without a word
    if (i % 3 == 1) client.send_raw("$m400000,2");
    if (i % 3 == 2) {
      EXPECT_EQ(client.request("qC"), "QC3");
    }
  }
}

TEST_F(ServerTest, OneClientTooManyIsToldSo) {
  constexpr size_t kServed = 256, kRefused = 300;
  const uint16_t port = listen({.patience = std::chrono::milliseconds(500)});
  std::vector<RspClient> clients;
  for (size_t i = 0; i < kServed; ++i) {
    clients.push_back(RspClient::tcp("127.0.0.1", port));
    ASSERT_EQ(clients.back().request("qC"), "QC3");
  }
  auto surplus = RspClient::tcp("127.0.0.1", port);
  EXPECT_EQ(surplus.request("qSupported"),
            "E.this server has 256 clients, and takes no more: one of them must leave first");
  EXPECT_EQ(surplus.receive_until_closed(), "");
  // All at once, and each is told.
  std::vector<RspClient> many;
  for (size_t i = 0; i < kRefused; ++i) {
    many.push_back(RspClient::tcp("127.0.0.1", port));
    many.back().send("qSupported");
  }
  for (auto& each : many) EXPECT_EQ(each.receive().substr(0, 14), "E.this server ");
  many.clear();
  auto silent = RspClient::tcp("127.0.0.1", port);
  EXPECT_NE(silent.receive_until_closed().find("$E.this server"), std::string::npos) << "it may not stay for ever";
  EXPECT_EQ(clients.front().request("D"), "OK");
  EXPECT_EQ(clients.front().receive_until_closed(), "");
  auto next = RspClient::tcp("127.0.0.1", port);
  EXPECT_EQ(next.request("qC"), "QC3");
}

/// Of others' long work a client waits for one slice.
TEST_F(ServerTest, ManyLongPiecesOfWorkCostAnotherClientOneSliceARequest) {
  struct Endless : FakeTarget {
    size_t read(const gdbstub::Space&, uint64_t, std::span<std::byte> into) const override {
      if (into.size() > 4) ++slices;
      return into.size();
    }
    mutable std::atomic<size_t> slices = 0;
  } endless;
  constexpr size_t kBusy = 32, kRequests = 50;
  server = std::make_unique<gdbstub::Server>(endless, gdbstub::ServerOptions{});
  const auto address = server->listen_tcp({"127.0.0.1", "0"});
  ASSERT_TRUE(address.has_value());
  start();
  const auto port = static_cast<uint16_t>(std::stoi(address->substr(address->rfind(':') + 1)));
  std::vector<RspClient> busy;
  for (size_t i = 0; i < kBusy; ++i) {
    busy.push_back(RspClient::tcp("127.0.0.1", port));
    busy.back().send("qCRC:0,7fffffffffffffff");
  }
  while (endless.slices < 2 * kBusy) std::this_thread::yield();
  auto polite = RspClient::tcp("127.0.0.1", port);
  polite.handshake();
  const size_t before = endless.slices;
  for (size_t i = 0; i < kRequests; ++i) ASSERT_EQ(polite.request("m400000,2"), "0000");
  EXPECT_LE(endless.slices - before, 4 * kRequests) << "one while it asks, one while it is answered, and some luck";
  end();
}

TEST_F(ServerTest, DetachAndKillCloseTheConnectionAndNothingElse) {
  const uint16_t port = listen();
  auto detaching = RspClient::tcp("127.0.0.1", port);
  EXPECT_EQ(detaching.request("D"), "OK");
  EXPECT_EQ(detaching.receive_until_closed(), "");
  auto killing = RspClient::tcp("127.0.0.1", port);
  killing.send_raw(packet("k"));
  EXPECT_EQ(killing.receive_until_closed(), "+");
  auto next = RspClient::tcp("127.0.0.1", port);
  EXPECT_EQ(next.request("qC"), "QC3");
}

TEST_F(ServerTest, OnceEndsWithTheFirstClient) {
  const uint16_t port = listen({.once = true});
  {
    auto client = RspClient::tcp("127.0.0.1", port);
    EXPECT_EQ(client.request("qC"), "QC3");
  }
  thread.join();
  EXPECT_TRUE(result);
}

TEST_F(ServerTest, ARequestsAnswerArrivesAlthoughTheClientHasFinishedSending) {
  server = std::make_unique<gdbstub::Server>(target, gdbstub::ServerOptions{});
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const std::string question = packet("qSearch:memory:0;ffffffffffffffff;absent");
  ASSERT_EQ(write(sockets[1], question.data(), question.size()), static_cast<ssize_t>(question.size()));
  shutdown(sockets[1], SHUT_WR);
  server->serve_descriptors(sockets[0], sockets[0]);
  start();
  thread.join();
  EXPECT_TRUE(result);
  char answer[16] = {};
  EXPECT_EQ(read(sockets[1], answer, sizeof answer), 6);
  EXPECT_STREQ(answer, "+$0#30");
  close(sockets[0]);
  close(sockets[1]);
}

TEST_F(ServerTest, UnixSocket) {
  TempDir folder;
  const std::string path = folder.path() + "/socket";
  {
    // What a server that was killed leaves behind.
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(fd);
  }
  server = std::make_unique<gdbstub::Server>(target, gdbstub::ServerOptions{});
  ASSERT_TRUE(server->listen_unix(path).has_value());
  gdbstub::Server second(target, {});
  EXPECT_FALSE(second.listen_unix(path).has_value()) << "it is in use";
  start();
  auto client = RspClient::unix_socket(path);
  EXPECT_EQ(client.request("qC"), "QC3");
  end();
  server.reset();
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "it cleans up";
  std::ofstream(path) << "precious";
  EXPECT_FALSE(second.listen_unix(path).has_value()) << "a file is not replaced";
  EXPECT_FALSE(second.listen_unix(std::string(200, 'x')).has_value());
}

TEST_F(ServerTest, AddressesAreChecked) {
  gdbstub::Server each(target, {});
  for (const char* bad : {"", "1234", "localhost:", "localhost:x", "localhost:99999", "localhost:-1"})
    EXPECT_FALSE(gdbstub::TcpAddress::parse(bad).has_value()) << bad;
  EXPECT_EQ(gdbstub::TcpAddress::parse(":7").value().host, "127.0.0.1");
  EXPECT_EQ(gdbstub::TcpAddress::parse("[::1]:7").value().host, "::1");
  EXPECT_FALSE(each.listen_tcp({"no.such.host.invalid", "0"}).has_value());
  const uint16_t port = listen();
  EXPECT_EQ(each.listen_tcp({"127.0.0.1", std::to_string(port)}).error(), "Address already in use");
}

}  // namespace
}  // namespace gcore::tests
