#include "tests/support/qmp.h"

#include <llvm/Support/JSON.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace gcore::tests {
namespace {

using Clock = std::chrono::steady_clock;

void wait_readable(int fd, Clock::time_point deadline, const char* what) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  pollfd polled{fd, POLLIN, 0};
  if (poll(&polled, 1, static_cast<int>(std::max<int64_t>(left.count(), 0))) <= 0) {
    throw std::runtime_error(std::string("qmp: deadline passed while waiting for ") + what);
  }
}

std::string text_of(const llvm::json::Value& value) {
  std::string text;
  llvm::raw_string_ostream(text) << value;
  return text;
}

}  // namespace

struct Qmp::State {
  int listener = -1, fd = -1;
  std::string buffer;
  std::vector<std::string> events;

  ~State() {
    if (fd >= 0) close(fd);
    if (listener >= 0) close(listener);
  }

  llvm::json::Object next(Clock::time_point deadline) {
    size_t end = 0;
    while ((end = buffer.find('\n')) == std::string::npos) {
      wait_readable(fd, deadline, "an answer");
      std::array<char, 65536> chunk{};
      ssize_t n = ::read(fd, chunk.data(), chunk.size());
      if (n <= 0) throw std::runtime_error("qmp: QEMU closed the connection");
      buffer.append(chunk.data(), static_cast<size_t>(n));
    }
    std::string line = buffer.substr(0, end);
    buffer.erase(0, end + 1);
    auto parsed = llvm::json::parse(line);
    if (!parsed || !parsed->getAsObject()) {
      llvm::consumeError(parsed.takeError());
      throw std::runtime_error("qmp: not a JSON object: " + line);
    }
    llvm::json::Object object = *parsed->getAsObject();
    if (auto event = object.getString("event")) events.push_back(event->str());
    return object;
  }

  llvm::json::Value execute(llvm::json::Object request, Clock::time_point deadline) {
    std::string line = text_of(llvm::json::Value(std::move(request))) + "\n";
    if (::send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
      throw std::system_error(errno, std::generic_category(), "qmp: send");
    }
    for (;;) {
      llvm::json::Object answer = next(deadline);
      if (const auto* value = answer.get("return")) return *value;
      if (const auto* error = answer.getObject("error")) {
        throw std::runtime_error("qmp: " + line + error->getString("desc").value_or("?").str());
      }
    }
  }
};

Qmp::Qmp(const std::string& path) : state_(std::make_unique<State>()) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("socket path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  state_->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(state_->listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(state_->listener, 1) != 0) {
    throw std::system_error(errno, std::generic_category(), path);
  }
}

Qmp::~Qmp() = default;

void Qmp::accept(std::chrono::milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  wait_readable(state_->listener, deadline, "QEMU to connect");
  state_->fd = accept4(state_->listener, nullptr, nullptr, SOCK_CLOEXEC);
  state_->next(deadline);  // the greeting
  execute("qmp_capabilities");
}

std::string Qmp::execute(std::string_view command, std::string_view arguments, std::chrono::milliseconds timeout) {
  auto parsed = llvm::json::parse(llvm::StringRef(arguments.data(), arguments.size()));
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    throw std::runtime_error("qmp: arguments are no JSON: " + std::string(arguments));
  }
  llvm::json::Object request{{"execute", std::string(command)}, {"arguments", *parsed}};
  return text_of(state_->execute(std::move(request), Clock::now() + timeout));
}

std::string Qmp::human(std::string_view command_line, int cpu) {
  llvm::json::Object request{
      {"execute", "human-monitor-command"},
      {"arguments", llvm::json::Object{{"command-line", std::string(command_line)}, {"cpu-index", cpu}}}};
  auto value = state_->execute(std::move(request), Clock::now() + 60s);
  std::string text = value.getAsString().value_or("").str();
  std::erase(text, '\r');
  return text;
}

void Qmp::wait_event(std::string_view name, std::chrono::milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  for (;;) {
    auto& events = state_->events;
    if (auto found = std::find(events.begin(), events.end(), name); found != events.end()) {
      events.erase(found);
      return;
    }
    state_->next(deadline);
  }
}

std::string Qmp::quote(std::string_view text) { return text_of(llvm::json::Value(std::string(text))); }

}  // namespace gcore::tests
