#include "tools/gcore-vmm/console.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace gcore::tools::vmm {

namespace {

constexpr size_t kMaxLine = 4000;  // with its newline less than PIPE_BUF: a pipe that is ready takes it whole
constexpr int kPatienceMilliseconds = 20;

}  // namespace

void Console::put(size_t cpu, char c) {
  if (c == '\0') return;
  const std::lock_guard lock(mutex_);
  if (raw_) {
    if (c == '\n') ++count_;
    write_out({&c, 1});
    return;
  }
  std::string& line = lines_[cpu];
  if (c != '\n') line += c;
  if (c == '\n' || line.size() >= kMaxLine) write_line(line);
}

void Console::flush() {
  const std::lock_guard lock(mutex_);
  for (std::string& line : lines_)
    if (!line.empty()) write_line(line);
}

uint64_t Console::lines() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

void Console::write_line(std::string& line) {
  line += '\n';
  ++count_;
  write_out(line);
  line.clear();
}

void Console::write_out(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    pollfd ready{fd_, POLLOUT, 0};
    const int count = poll(&ready, 1, kPatienceMilliseconds);
    if (count == 0 && hurry_ > 0) break;
    if (count == 0 || (count < 0 && errno == EINTR)) continue;
    const ssize_t written = write(fd_, text.data() + at, text.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    at += static_cast<size_t>(written);
  }
}

}  // namespace gcore::tools::vmm
