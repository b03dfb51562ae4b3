// What limits a dump while it runs: cancellation, the pause deadline, the byte rate. Everything that may block asks
// here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "writer/dump.h"

namespace gcore::writer {

/// One dump's limits and progress. Used by the dumping thread; the progress fields are read by others.
class Control {
 public:
  using Clock = std::chrono::steady_clock;

  struct Cancellation {
    int fd = -1;  // an eventfd that becomes readable after `up_to` was raised; -1: not cancellable
    const std::atomic<uint64_t>* up_to = nullptr;  // dumps with a serial up to this one are cancelled
    uint64_t serial = 0;                           // of this dump
  };

  Control(const Options& options, Cancellation cancellation)
      : rate_(options.bytes_per_second), pause_limit_(options.pause_deadline), cancellation_(cancellation) {}

  bool cancelled() const { return cancellation_.up_to && *cancellation_.up_to >= cancellation_.serial; }

  /// From here to pause_ended() the pause deadline, if there is one, counts.
  void pause_started();
  void pause_ended() { deadline_ = Clock::time_point::max(); }

  /// An error with code ECANCELED or ETIMEDOUT when the dump is to stop.
  Status check() const;
  /// To be called after `bytes` went out: check(), and waits as long as the byte rate asks for.
  Status spend(uint64_t bytes);
  /// Waits until poll() reports `events` (or an error) on `fd`, at most for `limit`. The error of check() when that
  /// comes first.
  Status wait_for(int fd, short events, std::chrono::milliseconds limit = std::chrono::milliseconds::max()) const;

  std::atomic<Progress::Phase> phase{Progress::Phase::idle};
  std::atomic<uint64_t> memory_done{0}, memory_total{0};

 private:
  uint64_t rate_, spent_ = 0;
  std::chrono::milliseconds pause_limit_;
  Cancellation cancellation_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point started_{};  // of the first spend()
};

}  // namespace gcore::writer
