#include "gdbstub/protocol/server.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "gdbstub/protocol/pulse.h"

namespace gcore::gdbstub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReadSize = 1 << 16;
constexpr int kStepsPerTurn = 16;
constexpr int kBacklog = 512, kAcceptsPerTurn = 64;
/// More often than any debugger's patience (GDB: 2 s).
constexpr std::chrono::milliseconds kKeepAlive{1000};
/// So many clients are served at once: each may take up to about 2 MiB. One more is told so, and has to leave; of those
/// so many are there at once, and the next ones wait to be accepted.
constexpr size_t kMaxConnections = 256, kMaxRefused = 512;
constexpr char kRefusal[] = "this server has 256 clients, and takes no more: one of them must leave first";
static_assert(kMaxConnections == 256, "see kRefusal");
/// With all file descriptors taken, how long to leave new clients waiting before trying again.
constexpr int kAcceptRetryMs = 500;
/// The work that one client gets before the others' turn.
constexpr std::chrono::milliseconds kTurn{1};
/// How often to look whether what is done in the background is done.
constexpr int kWaitMs = 20;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

std::string reason() { return std::strerror(errno); }

/// "127.0.0.1:1234" as the socket has it, which matters with port 0.
std::string local_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  const bool v6 = address.ss_family == AF_INET6;
  return (v6 ? "[" : "") + std::string(host) + (v6 ? "]:" : ":") + port;
}

}  // namespace

struct Server::Connection {
  Connection(Pulse& signs, int in_fd, int out_fd, bool owned, size_t client, const Target& target,
             const SessionOptions& options)
      : pulse(signs),
        in(in_fd),
        out(out_fd),
        owns(owned),
        number(client),
        refused(!options.refusal.empty()),
        session(target, options) {
    pulse.add(out);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    pulse.remove(out);
    if (owns) close(in);
  }

  void receive();
  void work();
  void work_on_task();
  void keep_alive();
  void send();
  bool finished() {
    if (broken) return true;
    // What it has sent and nobody reads would make the end of the connection an error, which may overtake the answer.
    if (refused && !ended) return false;
    return (session.closed() || ended) && unsent() == 0 && !session.busy() && !runnable;
  }
  bool reads() { return !ended && (session.wants_input() || (refused && session.closed())); }
  size_t unsent() { return session.output().size() - sent; }
  bool stuck() { return session.output().size() >= Session::kOutputLimit; }

  Pulse& pulse;
  int in, out;
  bool owns;
  size_t number;
  bool refused;  // there were too many others
  Clock::time_point since = Clock::now();
  Session session;
  size_t sent = 0;        // bytes at the front of the output that are out already
  bool ended = false;     // the client sends nothing more
  bool broken = false;    // the connection is of no use any more
  bool runnable = false;  // there is work that needs no input
  Clock::time_point last_sign = Clock::now();
};

void Server::Connection::receive() {
  char buffer[kReadSize];
  const ssize_t got = read(in, buffer, sizeof buffer);
  if (got > 0) {
    if (session.closed()) return;
    session.receive({buffer, static_cast<size_t>(got)});
    runnable = true;
  } else if (got == 0) {
    ended = true;
  } else if (!would_block(errno)) {
    broken = true;
  }
}

/// Its packets; what takes long is begun only.
void Server::Connection::work() {
  const auto until = Clock::now() + kTurn;
  for (int i = 0; i < kStepsPerTurn && !stuck() && !session.busy(); ++i) {
    runnable = session.step();
    if (session.busy()) last_sign = Clock::now();
    if (!runnable || Clock::now() >= until) break;
  }
}

/// A slice of what takes long.
void Server::Connection::work_on_task() { runnable = session.step(); }

void Server::Connection::keep_alive() {
  if (!session.busy() || unsent() != 0 || Clock::now() - last_sign < kKeepAlive) return;
  session.keep_alive();
  last_sign = Clock::now();
}

void Server::Connection::send() {
  std::string& output = session.output();
  if (!pulse.send(out, output, sent)) broken = true;
  if (sent == output.size()) {
    output.clear();
    sent = 0;
    if (refused && session.closed()) shutdown(out, SHUT_WR);
  } else if (sent >= Session::kOutputLimit / 2) {
    output.erase(0, sent);
    sent = 0;
  }
}

std::expected<TcpAddress, std::string> TcpAddress::parse(const std::string& host_port) {
  const size_t colon = host_port.rfind(':');
  if (colon == std::string::npos) return std::unexpected("it is not HOST:PORT");
  TcpAddress address{.host = host_port.substr(0, colon), .port = host_port.substr(colon + 1)};
  auto& [host, port] = address;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) host = "127.0.0.1";
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoi(port) > 65535)
    return std::unexpected("the port is not a number up to 65535");
  return address;
}

Server::Server(const Target& target, ServerOptions options)
    : target_(target), options_(std::move(options)), pulse_(std::make_unique<Pulse>()) {}

Server::~Server() {
  for (const auto& [fd, flags] : saved_flags_) fcntl(fd, F_SETFL, flags);
  for (const int fd : listeners_) close(fd);
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
}

std::expected<std::string, std::string> Server::listen_tcp(const TcpAddress& wanted) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(wanted.host.c_str(), wanted.port.c_str(), &hints, &found); code != 0)
    return std::unexpected(code == EAI_SYSTEM ? reason() : gai_strerror(code));
  std::string why = "there is no such address";
  for (const addrinfo* each = found; each != nullptr && listeners_.empty(); each = each->ai_next) {
    const int fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, each->ai_protocol);
    const int on = 1;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, each->ai_addr, each->ai_addrlen) == 0 && listen(fd, kBacklog) == 0) {
      listeners_.push_back(fd);
      break;
    }
    why = reason();
    if (fd >= 0) close(fd);
  }
  freeaddrinfo(found);
  if (listeners_.empty()) return std::unexpected(why);
  return local_address(listeners_.back());
}

std::expected<std::string, std::string> Server::listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return std::unexpected("the path is empty or too long for a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return std::unexpected(reason());
  int bound = bind(fd, generic, sizeof address);
  struct stat status{};
  if (bound != 0 && errno == EADDRINUSE && lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
    // Left behind by a server that was killed, if nobody answers there.
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool dead = probe >= 0 && connect(probe, generic, sizeof address) != 0 && errno == ECONNREFUSED;
    if (probe >= 0) close(probe);
    errno = EADDRINUSE;
    if (dead && unlink(path.c_str()) == 0) bound = bind(fd, generic, sizeof address);
  }
  if (bound != 0 || listen(fd, kBacklog) != 0) {
    const std::string why = reason();
    close(fd);
    return std::unexpected(why);
  }
  unix_path_ = path;
  listeners_.push_back(fd);
  return path;
}

void Server::serve_descriptors(int in, int out) {
  for (const int fd : {in, out}) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) continue;
    saved_flags_.insert(saved_flags_.begin(), {fd, flags});  // the last one saved is the first one restored
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  }
  add_client(in, out, false);
  options_.once = true;
}

void Server::add_client(int in, int out, bool owned) {
  SessionOptions options = options_.session;
  ++clients_;
  if (options_.log)
    options.log = [this, client = clients_](char direction, std::string_view payload) {
      options_.log(client, direction, payload);
    };
  const auto refused = static_cast<size_t>(std::ranges::count(connections_, true, &Connection::refused));
  if (connections_.size() - refused >= kMaxConnections) options.refusal = kRefusal;
  connections_.push_back(std::make_unique<Connection>(*pulse_, in, out, owned, clients_, target_, options));
}

/// Those that there is no room for leave after a while, also if they do not want to. One that has not asked anything is
/// told why.
void Server::refuse() {
  for (const auto& connection : connections_) {
    if (!connection->refused || Clock::now() - connection->since < options_.patience) continue;
    if (!connection->session.closed()) connection->session.refuse();
    connection->send();
    connection->broken = true;
  }
}

/// One slice for one client, each in its turn.
void Server::work_on_one_task() {
  Connection* next = nullptr;
  for (const auto& each : connections_) {
    if (!each->session.busy() || each->session.waiting() || each->stuck()) continue;
    const bool later = each->number > last_worked_;
    if (next == nullptr || (later && next->number <= last_worked_)) next = each.get();
  }
  if (next == nullptr) return;
  last_worked_ = next->number;
  next->work_on_task();
  if (next->unsent() > 0) next->send();
}

void Server::accept_clients(int listener) {
  for (int i = 0; i < kAcceptsPerTurn && accept_client(listener); ++i) {
  }
}

bool Server::accept_client(int listener) {
  if (connections_.size() >= kMaxConnections + kMaxRefused) {
    accepting_ = false;
    return false;
  }
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    // Out of descriptors: the client stays in the queue, and trying again at once would keep the processor busy.
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) accepting_ = false;
    return false;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails on UNIX sockets, which do not need it
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  add_client(fd, fd, true);
  return true;
}

void Server::drop_finished() {
  const size_t dropped = std::erase_if(connections_, [this](auto& connection) {
    if (!connection->finished()) return false;
    finished_ = finished_ || (options_.once && !connection->refused);
    return true;
  });
  if (dropped != 0) accepting_ = true;
}

void Server::serve(Connection& connection, short in_events, bool& more) {
  if ((in_events & (POLLIN | POLLHUP | POLLERR)) != 0) connection.receive();
  if (connection.runnable && !connection.session.busy()) connection.work();
  connection.keep_alive();
  if (connection.unsent() > 0) connection.send();
  if (connection.unsent() == 0 && !connection.session.busy()) connection.session.work_ahead();
  if (!connection.broken && connection.runnable && !connection.stuck() && !connection.session.waiting()) more = true;
}

/// How long to wait for somebody to say something, in milliseconds.
int Server::patience(bool more) const {
  if (more) return 0;
  int patience = accepting_ ? -1 : kAcceptRetryMs;
  const auto at_most = [&patience](int limit) { patience = patience < 0 ? limit : std::min(patience, limit); };
  for (const auto& connection : connections_) {
    if (connection->session.waiting()) at_most(kWaitMs);
    if (connection->refused) at_most(kAcceptRetryMs);
  }
  return patience;
}

std::expected<void, std::string> Server::run(int stop_fd) {
  std::vector<pollfd> fds;
  bool more = false;
  while (!finished_) {
    fds.assign(1, {stop_fd, POLLIN, 0});
    for (const int listener : listeners_) fds.push_back({accepting_ ? listener : -1, POLLIN, 0});
    const size_t first = fds.size();
    for (const auto& connection : connections_) {
      fds.push_back({connection->reads() ? connection->in : -1, POLLIN, 0});
      fds.push_back({connection->unsent() > 0 ? connection->out : -1, POLLOUT, 0});
    }
    pulse_->end();
    if (poll(fds.data(), fds.size(), patience(more)) < 0 && errno != EINTR) return std::unexpected(reason());
    if ((fds[0].revents & POLLIN) != 0) break;
    pulse_->begin();
    accepting_ = true;
    more = false;
    const size_t served = connections_.size();
    for (size_t i = 0; i < served; ++i) serve(*connections_[i], fds[first + 2 * i].revents, more);
    work_on_one_task();
    refuse();
    for (size_t i = 0; i < listeners_.size(); ++i)
      if ((fds[1 + i].revents & POLLIN) != 0) accept_clients(listeners_[i]);
    drop_finished();
  }
  pulse_->end();
  return {};
}

}  // namespace gcore::gdbstub
