// Connections: TCP, a UNIX socket, or standard input and output, with any number of clients in one poll loop.
//
// A client that stalls, floods or never ends a packet holds back only itself: its output and input are bounded by its
// session, and each turn of the loop gives every client one read and a short time for its packets, and one of them,
// each in turn, a slice of a long piece of work: however many wait for such, the others wait for a slice.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gdbstub/protocol/session.h"
#include "gdbstub/target.h"

namespace gcore::gdbstub {

struct ServerOptions {
  SessionOptions session = {};  // of each client; its `log` is set by the server
  /// Called for each packet of each client, which are numbered from 1 as they come. May be empty.
  std::function<void(size_t client, char direction, std::string_view payload)> log = {};
  /// End when the first client leaves.
  bool once = false;
  /// How long one that cannot be served, because there are too many, may take for its first word, which is answered by
  /// that; without one it is told as it leaves.
  std::chrono::milliseconds patience{10'000};
};

/// Where to listen for TCP connections. `host` is a name or an address, `port` the text of a number up to 65535.
struct TcpAddress {
  std::string host, port;

  /// Of "HOST:PORT" ("[::1]:1234" for IPv6; no host means 127.0.0.1: never all interfaces without being told). The
  /// error is the reason only.
  static std::expected<TcpAddress, std::string> parse(const std::string& host_port);
};

class Pulse;

class Server {
 public:
  /// The target outlives the server.
  Server(const Target& target, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Port 0 picks one. The result is the address that clients connect to, the error is the reason only.
  std::expected<std::string, std::string> listen_tcp(const TcpAddress& wanted);
  /// Listens on a UNIX socket. A socket that nobody listens on any more is replaced; any other file is an error.
  std::expected<std::string, std::string> listen_unix(const std::string& path);
  /// Serves one client over two descriptors, which stay the caller's. The loop ends when that client leaves.
  void serve_descriptors(int in, int out);

  /// The process must ignore SIGPIPE: clients leave when they like.
  /// Serves until `stop_fd` becomes readable, or as `once` and serve_descriptors say. The error is the reason.
  std::expected<void, std::string> run(int stop_fd);

 private:
  struct Connection;

  void accept_clients(int listener);
  bool accept_client(int listener);
  void add_client(int in, int out, bool owned);
  void serve(Connection& connection, short events, bool& more);
  void refuse();
  void work_on_one_task();
  void drop_finished();
  int patience(bool more) const;

  const Target& target_;
  ServerOptions options_;
  std::vector<int> listeners_;
  std::vector<std::pair<int, int>> saved_flags_;  // of the caller's descriptors
  std::string unix_path_;
  std::unique_ptr<Pulse> pulse_;
  std::vector<std::unique_ptr<Connection>> connections_;
  size_t clients_ = 0;      // so far
  size_t last_worked_ = 0;  // the number of the client whose long piece of work was last gone on with
  bool accepting_ = true;
  bool finished_ = false;
};

}  // namespace gcore::gdbstub
