// Signs of life to clients while the server's loop waits for memory that is long in coming (from a network, from a disk
// that hangs). GDB gives up after some seconds, and would take a reply that comes after that for the one to its next
// request. Internal to the server.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace gcore::gdbstub {

class Pulse {
 public:
  Pulse() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

  /// The loop's work begins, and ends: between the two nobody else sees to the clients.
  void begin() {
    since_ = Clock::now().time_since_epoch().count();
    if (!asleep_) return;
    const std::lock_guard lock(mutex_);
    asleep_ = false;
    wake_.notify_one();
  }
  void end() { since_ = 0; }

  void add(int out) {
    const std::lock_guard lock(mutex_);
    lines_.push_back({out});
  }
  void remove(int out) {
    const std::lock_guard lock(mutex_);
    std::erase_if(lines_, [out](const Line& line) { return line.out == out; });
  }

  /// Sends from `sent` on what the descriptor takes, and counts it. False: the connection is of no use any more. What
  /// is left over is the end of a packet, within which there are no signs of life.
  bool send(int out, const std::string& output, size_t& sent) {
    const std::lock_guard lock(mutex_);
    bool good = true;
    while (sent < output.size()) {
      const ssize_t put = write(out, output.data() + sent, output.size() - sent);
      if (put < 0) {
        good = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        break;
      }
      sent += static_cast<size_t>(put);
    }
    for (Line& line : lines_)
      if (line.out == out) line.between_packets = sent == output.size();
    return good;
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Line {
    int out;
    bool between_packets = true;
  };

  void run(const std::stop_token& stop) {
    constexpr std::chrono::milliseconds kLook{500}, kPatience{1000};  // GDB's is 2 s
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      asleep_ = true;
      if (since_ == 0) wake_.wait(lock, stop, [this] { return !asleep_; });
      asleep_ = false;
      wake_.wait_for(lock, stop, kLook, [] { return false; });
      const Clock::rep since = since_;
      if (stop.stop_requested() || since == 0 || Clock::now() - Clock::time_point(Clock::duration(since)) < kPatience)
        continue;
      for (const Line& line : lines_)
        if (line.between_packets) [[maybe_unused]]
          const ssize_t ignored = write(line.out, "+", 1);
    }
  }

  std::atomic<Clock::rep> since_ = 0;  // when the loop's work began; 0: it waits for clients
  std::atomic<bool> asleep_ = false;   // the thread is, until there is work
  std::mutex mutex_;                   // of the lines, and of writing to them
  std::condition_variable_any wake_;
  std::vector<Line> lines_;
  std::jthread thread_;
};

}  // namespace gcore::gdbstub
