// What limits a dump while it runs: cancellation, the pause deadline, the byte rate. Everything that may block asks
// here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "writer/dump.h"
#include "writer/unique_fd.h"

namespace gcore::writer {

/// One dump's limits and progress. Used by the thread that writes and the one that waits for it; the progress fields
/// are read by others. Refers to nothing of the Dumper's, since a thread that is stuck may outlive that.
class Control {
 public:
  using Clock = std::chrono::steady_clock;

  struct Cancellation {
    int fd = -1;  // an eventfd that becomes readable after `up_to` was raised; -1: not cancellable
    std::shared_ptr<const std::atomic<uint64_t>> up_to;  // dumps with a serial up to this one are cancelled
    uint64_t serial = 0;                                 // of this dump
  };

  Control(const Options& options, Cancellation cancellation);

  bool cancelled() const { return cancellation_.up_to && *cancellation_.up_to >= cancellation_.serial; }

  /// From here to pause_ended() the pause deadline, if there is one, counts.
  void pause_started();
  void pause_ended() { deadline_ = kNever; }

  /// An error with code ECANCELED or ETIMEDOUT when the dump is to stop.
  Status check() const;
  /// To be called after `bytes` went out: check(), and waits as long as the byte rate asks for.
  Status spend(uint64_t bytes);
  /// Waits until poll() reports `events` (or an error) on `fd`, at most for `limit`. The error of check() when that
  /// comes first.
  Status wait_for(int fd, short events, std::chrono::milliseconds limit = std::chrono::milliseconds::max()) const;

  /// Of these two the first decides: the file has its name and keeps it, or nobody waits for the dump any more and
  /// nothing of it may stay. True for the one that decided, and when it is called again.
  bool commit() { return decide(Fate::committed); }
  bool abandon() { return decide(Fate::abandoned); }
  bool is_abandoned() const { return fate_ == Fate::abandoned; }

  /// Around calls of the VMM's functions, and uses of its memory's files, by a thread that reads memory. False: the
  /// dump is abandoned, and both may be gone.
  bool enter_guest() {
    ++in_guest_;
    if (!is_abandoned()) return true;
    --in_guest_;
    return false;
  }
  void leave_guest() { --in_guest_; }
  bool is_in_guest() const { return in_guest_ > 0; }

  std::atomic<Progress::Phase> phase{Progress::Phase::idle};
  std::atomic<uint64_t> memory_done{0}, memory_total{0};

 private:
  uint64_t rate_, spent_ = 0;
  std::chrono::milliseconds pause_limit_;
  Cancellation cancellation_;
  UniqueFd cancel_fd_;  // a duplicate
  enum class Fate : uint8_t { open, committed, abandoned };
  bool decide(Fate fate) {
    Fate before = Fate::open;
    return fate_.compare_exchange_strong(before, fate) || before == fate;
  }
  std::atomic<Fate> fate_{Fate::open};
  std::atomic<int> in_guest_{0};  // threads
  static constexpr Clock::rep kNever = Clock::time_point::max().time_since_epoch().count();
  std::atomic<Clock::rep> deadline_{kNever};
  Clock::time_point started_{};  // of the first spend()
};

}  // namespace gcore::writer
