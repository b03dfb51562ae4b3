#include "tools/gcore-dump/qmp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tools/gcore-dump/tcp.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;
using Kind = QmpError::Kind;

// The longest answer that is believed: `info registers -a` of 1024 vCPUs is 5 MB.
constexpr size_t kLongestMessage = 64 << 20;
// The first with query-cpus-fast; `info mtree -f` came two releases before.
constexpr std::pair<int64_t, int64_t> kOldest{2, 12};
// For the answer to gdb's detach.
constexpr std::chrono::milliseconds kStubTimeout{1000}, kNoPatience{0};

std::unexpected<QmpError> error(Kind kind, std::string text) {
  return std::unexpected(QmpError{kind, std::move(text)});
}

std::string os_error(int code) { return std::strerror(code); }

int milliseconds_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

enum class Waited { ready, deadline, interrupted };

/// `interrupt`: another descriptor that ends the wait when it is readable, or -1.
Waited wait_for(int fd, short events, std::chrono::steady_clock::time_point deadline, int interrupt) {
  for (;;) {
    pollfd both[2] = {{fd, events, 0}, {interrupt, POLLIN, 0}};
    const int ready = poll(both, 2, milliseconds_until(deadline));
    if (ready > 0) return both[0].revents != 0 ? Waited::ready : Waited::interrupted;
    if (ready == 0 && milliseconds_until(deadline) == 0) return Waited::deadline;
    if (ready < 0 && errno != EINTR) return Waited::deadline;
  }
}

std::string seconds(std::chrono::milliseconds time) {
  const auto count = time.count();
  return count % 1000 == 0 ? std::to_string(count / 1000) + " s" : std::to_string(count) + " ms";
}

}  // namespace

Qmp::~Qmp() {
  if (fd_ >= 0) close(fd_);
}

QmpResult<std::unique_ptr<Qmp>> Qmp::connect(const std::string& path, std::chrono::milliseconds timeout,
                                             int interrupt) {
  std::unique_ptr<Qmp> qmp(new Qmp);
  qmp->set_interrupt(interrupt);
  const auto deadline = Clock::now() + timeout;
  if (auto opened = qmp->open_socket(path, deadline); !opened) return std::unexpected(opened.error());
  if (auto greeted = qmp->read_greeting(deadline); !greeted) {
    const Kind kind = greeted.error().kind;
    if (kind != Kind::closed && qmp->detach_from_gdb_stub(kind == Kind::interrupted ? kNoPatience : kStubTimeout))
      return error(Kind::protocol,
                   "what answers is QEMU's gdb stub (-gdb, -s), not QMP; it stopped the guest, which goes on again");
    if (kind != Kind::deadline) return std::unexpected(greeted.error());
    return error(
        Kind::deadline,
        "no greeting within " + seconds(timeout) +
            ": another client is connected to it (QEMU serves one at a time; give it a second -qmp socket), or "
            "QEMU hangs, or it is not a QMP socket");
  }
  if (!qmp->passes_descriptors_) qmp->peer_pid_ = tcp_peer_pid(qmp->fd_);  // which has accepted it by now
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  if (auto ready = qmp->execute("qmp_capabilities", {}, left); !ready) return std::unexpected(ready.error());
  return qmp;
}

QmpResult<void> Qmp::open_socket(const std::string& path, Clock::time_point deadline) {
  constexpr std::string_view kTcp = "tcp:";
  if (path.starts_with(kTcp)) return open_tcp(path.substr(kTcp.size()), deadline);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return error(Kind::unavailable,
                 "the path of a UNIX socket has 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return error(Kind::unavailable, os_error(errno));
  while (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    switch (errno) {
      case EINTR:
        continue;
      case ENOENT:
        if (path.starts_with("unix:"))
          return error(Kind::unavailable,
                       "no such file; --qmp takes the path alone, without unix: and what follows it");
        if (path.find('/') == std::string::npos && path.find(':') != std::string::npos)
          return error(Kind::unavailable,
                       "no such file; --qmp takes the path of a UNIX socket (QEMU makes it with -qmp "
                       "unix:PATH,server=on,wait=off) or tcp:HOST:PORT");
        return error(Kind::unavailable, "no such file; QEMU makes it with -qmp unix:PATH,server=on,wait=off");
      case ECONNREFUSED:
        return error(Kind::unavailable, "nobody listens: it is no socket, or QEMU has ended");
      case EACCES:
        return error(Kind::unavailable, "permission denied: run as the user that runs QEMU, or as root");
      case EAGAIN: {  // the queue of waiting clients is full
        if (milliseconds_until(deadline) == 0)
          return error(Kind::deadline, "too many clients wait for it: QEMU serves one at a time");
        if (wait_for(-1, 0, std::min(deadline, Clock::now() + std::chrono::milliseconds(10)), interrupt_) ==
            Waited::interrupted)
          return error(Kind::interrupted, "told to end");
        continue;
      }
      default:
        return error(Kind::unavailable, os_error(errno));
    }
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) peer_pid_ = peer.pid;
  return {};
}

QmpResult<void> Qmp::open_tcp(const std::string& host_and_port, Clock::time_point deadline) {
  auto ends = resolve_tcp(host_and_port);
  if (!ends) return error(Kind::unavailable, ends.error());
  passes_descriptors_ = false;
  int problem = 0;
  for (TcpEnd& end : *ends) {
    const auto* address = reinterpret_cast<const sockaddr*>(end.address.data());
    problem = ::connect(end.socket.get(), address, static_cast<socklen_t>(end.address.size())) == 0 ? 0 : errno;
    if (problem == EINPROGRESS) {
      const Waited waited = wait_for(end.socket.get(), POLLOUT, deadline, interrupt_);
      if (waited == Waited::interrupted) return error(Kind::interrupted, "told to end");
      if (waited == Waited::deadline) return error(Kind::deadline, "nobody answers there");
      socklen_t size = sizeof problem;
      if (getsockopt(end.socket.get(), SOL_SOCKET, SO_ERROR, &problem, &size) != 0) problem = errno;
    }
    if (problem != 0) continue;
    const int at_once = 1;  // a command is small, and its answer is waited for
    setsockopt(end.socket.get(), IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    fd_ = end.socket.release();
    return {};
  }
  return error(Kind::unavailable, problem == ECONNREFUSED ? "nobody listens there" : os_error(problem));
}

QmpResult<void> Qmp::read_greeting(Clock::time_point deadline) {
  auto greeting = next_message(deadline);
  // What QEMU had to tell a client that has just left comes to the next one first.
  const auto is_of_another = [](const json::Object& message) {
    return message.get("event") != nullptr || message.get("return") != nullptr || message.get("error") != nullptr;
  };
  while (greeting && is_of_another(*greeting)) greeting = next_message(deadline);
  if (!greeting) return std::unexpected(greeting.error());
  const json::Object* qmp = greeting->getObject("QMP");
  const json::Object* version = qmp ? qmp->getObject("version") : nullptr;
  const json::Object* numbers = version ? version->getObject("qemu") : nullptr;
  if (!numbers) return error(Kind::protocol, "what answers is not QEMU's QMP (the greeting is missing)");
  const int64_t major = numbers->getInteger("major").value_or(0), minor = numbers->getInteger("minor").value_or(0);
  version_ = std::to_string(major) + "." + std::to_string(minor) + "." +
             std::to_string(numbers->getInteger("micro").value_or(0));
  if (std::pair(major, minor) < kOldest)
    return error(Kind::too_old, "QEMU " + version_ + " is too old: gcore-dump needs " + std::to_string(kOldest.first) +
                                    "." + std::to_string(kOldest.second) + " or later");
  return {};
}

/// QEMU's gdb stub stops the guest for whoever connects, and keeps it stopped when he goes without a word. It says
/// nothing until it is asked, or how the guest stopped ("$T05...") if it has had a debugger before; so has nobody else
/// who would make anything of a detach: a QMP socket that serves another client drops it with this connection.
bool Qmp::detach_from_gdb_stub(std::chrono::milliseconds patience) {
  if (!buffer_.empty() && buffer_.front() != '$') return false;
  const auto deadline = Clock::now() + patience;
  if (!send("$D#44", -1, deadline)) return false;
  set_interrupt(-1);
  while (buffer_.find("$OK#9a") == std::string::npos)
    if (!fill(deadline)) return false;
  return true;
}

QmpResult<json::Value> Qmp::execute(std::string_view command, json::Object arguments, std::chrono::milliseconds timeout,
                                    int pass_fd) {
  last_command_ = command;
  json::Object request{{"execute", llvm::StringRef(command.data(), command.size())}, {"id", ++last_id_}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(request));
  text += '\n';
  const auto deadline = Clock::now() + timeout;
  if (auto sent = send(text, pass_fd, deadline); !sent) return late(sent.error(), timeout);
  return wait_on(timeout);
}

QmpResult<json::Value> Qmp::wait_on(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    auto message = next_message(deadline);
    if (!message) return late(message.error(), timeout);
    if (keep_event(*message)) continue;
    const auto answers = message->getInteger("id");
    if (answers && *answers != last_id_) continue;  // to a command that was given up
    if (const json::Object* failed = message->getObject("error")) {
      std::string words = failed->getString("desc").value_or("refused").str();
      if (failed->getString("class").value_or("") == "CommandNotFound") words += " (QEMU " + version_ + " lacks it)";
      return error(Kind::refused, last_command_ + ": " + words);
    }
    if (json::Value* result = message->get("return")) return std::move(*result);
    return error(Kind::protocol, last_command_ + ": the answer is neither a result nor an error");
  }
}

std::unexpected<QmpError> Qmp::late(QmpError why, std::chrono::milliseconds timeout) const {
  if (why.kind == Kind::deadline) why.text = "QEMU did not answer within " + seconds(timeout);
  why.text = last_command_ + ": " + why.text;
  return std::unexpected(std::move(why));
}

QmpResult<std::string> Qmp::human(std::string_view command_line, int cpu) {
  auto answer = execute(
      "human-monitor-command",
      json::Object{{"command-line", llvm::StringRef(command_line.data(), command_line.size())}, {"cpu-index", cpu}});
  if (!answer) return std::unexpected(answer.error());
  const auto text = answer->getAsString();
  if (!text) return error(Kind::protocol, "human-monitor-command: the answer is no text");
  std::string lines = text->str();
  std::erase(lines, '\r');
  return lines;
}

QmpResult<void> Qmp::receive() {
  for (;;) {
    if (auto message = take_message(); !message) {
      return std::unexpected(message.error());
    } else if (*message) {
      keep_event(**message);
    } else if (auto more = fill(Clock::now()); !more) {
      if (more.error().kind == Kind::deadline || more.error().kind == Kind::interrupted) return {};
      return more;
    }
  }
}

size_t Qmp::events_waiting(std::string_view name) const {
  return static_cast<size_t>(std::ranges::count(events_, name, &QmpEvent::name));
}

std::optional<QmpEvent> Qmp::event_after(std::string_view name, size_t earlier) const {
  for (const QmpEvent& event : events_)
    if (event.name == name && earlier-- == 0) return event;
  return std::nullopt;
}

std::optional<QmpEvent> Qmp::next_event() {
  if (events_.empty()) return std::nullopt;
  QmpEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

bool Qmp::keep_event(json::Object& message) {
  const auto name = message.getString("event");
  if (!name) return false;
  QmpEvent event{name->str(), {}, {}};
  if (json::Object* data = message.getObject("data")) event.data = std::move(*data);
  if (const json::Object* time = message.getObject("timestamp"))
    event.time = std::chrono::seconds(time->getInteger("seconds").value_or(0)) +
                 std::chrono::microseconds(time->getInteger("microseconds").value_or(0));
  events_.push_back(std::move(event));
  return true;
}

/// A message is a JSON object: on a line of its own, or (-qmp-pretty) on several. It ends with the bracket that closes
/// it.
QmpResult<std::optional<json::Object>> Qmp::take_message() {
  for (; scanned_ < buffer_.size(); ++scanned_) {
    const char byte = buffer_[scanned_];
    if (depth_ == 0) {
      if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') continue;
      buffer_.erase(0, std::exchange(scanned_, 0));
      if (byte != '{')
        return error(Kind::protocol, "what answers is not QMP (it sends something else than JSON objects)");
      depth_ = 1;
    } else if (in_string_) {
      in_string_ = escaped_ || byte != '"';
      escaped_ = !escaped_ && byte == '\\';
    } else if (byte == '"') {
      in_string_ = true;
    } else if (byte == '{' || byte == '[') {
      ++depth_;
    } else if ((byte == '}' || byte == ']') && --depth_ == 0) {
      auto value = json::parse(llvm::StringRef(buffer_).substr(0, scanned_ + 1));
      buffer_.erase(0, std::exchange(scanned_, 0) + 1);
      if (value && value->getAsObject()) return std::move(*value->getAsObject());
      if (!value) llvm::consumeError(value.takeError());
      return error(Kind::protocol, "what answers is not QMP (what it sends is not JSON)");
    }
  }
  if (buffer_.size() > kLongestMessage) return error(Kind::protocol, "what answers is not QMP (a message without end)");
  return std::nullopt;
}

QmpResult<json::Object> Qmp::next_message(Clock::time_point deadline) {
  for (;;) {
    auto message = take_message();
    if (!message) return std::unexpected(message.error());
    if (*message) return std::move(**message);
    if (auto more = fill(deadline); !more) return std::unexpected(more.error());
  }
}

QmpResult<void> Qmp::fill(Clock::time_point deadline) {
  for (;;) {
    char bytes[1 << 16];
    const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
    if (got > 0) {
      buffer_.append(bytes, static_cast<size_t>(got));
      return {};
    }
    if (got == 0) return error(Kind::closed, "QEMU closed the connection");
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return error(Kind::closed, "QEMU has gone: " + os_error(errno));
    // QEMU sends an event and the answer after it in two pieces, and the second waits until the first is acknowledged.
    const int at_once = 1;
    if (!passes_descriptors_) setsockopt(fd_, IPPROTO_TCP, TCP_QUICKACK, &at_once, sizeof at_once);
    const Waited waited = wait_for(fd_, POLLIN, deadline, interrupt_);
    if (waited == Waited::deadline) return error(Kind::deadline, "no answer");
    if (waited == Waited::interrupted) return error(Kind::interrupted, "told to end");
  }
}

QmpResult<void> Qmp::send(std::string_view text, int pass_fd, Clock::time_point deadline) {
  while (!text.empty()) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (pass_fd >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &pass_fd, sizeof pass_fd);
    }
    const ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
      pass_fd = -1;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return error(Kind::closed, "QEMU has gone: " + os_error(errno));
    // Not to be interrupted: half a message would make nonsense of the next.
    if (wait_for(fd_, POLLOUT, deadline, -1) != Waited::ready) return error(Kind::deadline, "no answer");
  }
  return {};
}

}  // namespace gcore::tools::qemu
