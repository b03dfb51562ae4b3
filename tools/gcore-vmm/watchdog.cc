#include "tools/gcore-vmm/watchdog.h"

#include <algorithm>

namespace gcore::tools::vmm {

Watchdog::Watchdog(std::function<void()> on_expiry, std::function<void()> on_countdown)
    : on_expiry_(std::move(on_expiry)), on_countdown_(std::move(on_countdown)), thread_([this] { run(); }) {}

Watchdog::~Watchdog() { end(); }

void Watchdog::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::restart(std::chrono::microseconds countdown, unsigned countdowns) {
  const std::lock_guard lock(mutex_);
  countdown_ = countdown;
  countdowns_ = countdowns;
  ended_ = 0;
  if (frozen_ > 0) {
    left_ = countdown;
  } else {
    deadline_ = Clock::now() + countdown;
  }
  changed_.notify_all();
}

void Watchdog::disable() {
  const std::lock_guard lock(mutex_);
  deadline_.reset();
  left_.reset();
  ended_ = 0;
  changed_.notify_all();
}

unsigned Watchdog::countdowns() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

std::chrono::microseconds Watchdog::left() {
  const std::lock_guard lock(mutex_);
  const auto left = deadline_ ? std::max(*deadline_ - Clock::now(), Clock::duration::zero())
                              : left_.value_or(Clock::duration::zero());
  return std::chrono::duration_cast<std::chrono::microseconds>(left);
}

void Watchdog::freeze() {
  const std::lock_guard lock(mutex_);
  if (frozen_++ > 0 || !deadline_) return;
  left_ = std::max(*deadline_ - Clock::now(), Clock::duration::zero());
  deadline_.reset();
  changed_.notify_all();
}

void Watchdog::thaw() {
  const std::lock_guard lock(mutex_);
  if (--frozen_ > 0 || !left_) return;
  deadline_ = Clock::now() + *left_;
  left_.reset();
  changed_.notify_all();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (!deadline_) {
      changed_.wait(lock);
    } else if (Clock::now() < *deadline_) {
      const Clock::time_point until = *deadline_;
      changed_.wait_until(lock, until);
    } else {
      const bool expires = ++ended_ >= countdowns_;
      const bool goes_on = !expires && countdowns_ != kNeverExpires;
      // Not from now, which may be late; but never in the past, or a length of 0 would keep others out.
      deadline_ = goes_on
                      ? std::optional(std::max(*deadline_ + countdown_, Clock::now() + std::chrono::microseconds(1)))
                      : std::nullopt;
      const auto& event = expires ? on_expiry_ : on_countdown_;
      if (!event || (!expires && !goes_on)) continue;
      lock.unlock();
      event();
      lock.lock();
    }
  }
}

}  // namespace gcore::tools::vmm
