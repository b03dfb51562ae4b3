// A QMP server that says what it is told to.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temp_dir.h"

namespace gcore::tests {

inline constexpr char kGreeting[] =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}})"
    "\r\n";

/// A server that sends one line for each that it gets, the first of them unasked, and then closes.
class QmpServer {
 public:
  explicit QmpServer(std::vector<std::string> lines) : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 4) != 0)
      throw std::runtime_error(std::strerror(errno));
    thread_ = std::thread([this, lines = std::move(lines)] { serve(lines); });
  }
  ~QmpServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string path() const { return folder_.path("s"); }

 private:
  void serve(const std::vector<std::string>& lines) {
    const int client = accept(listener_, nullptr, nullptr);
    for (size_t i = 0; i < lines.size(); ++i) {
      char byte = 0;
      while (i > 0 && byte != '\n')
        if (recv(client, &byte, 1, 0) <= 0) return void(close(client));
      send(client, lines[i].data(), lines[i].size(), MSG_NOSIGNAL);
    }
    close(client);
  }

  TempDir folder_;
  int listener_;
  std::thread thread_;
};

}  // namespace gcore::tests
