#include "tools/gcore-vmm/watchdog.h"

#include <algorithm>

namespace gcore::tools::vmm {

Watchdog::Watchdog(std::function<void()> on_expiry) : on_expiry_(std::move(on_expiry)), thread_([this] { run(); }) {}

Watchdog::~Watchdog() { end(); }

void Watchdog::end() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::restart(std::chrono::microseconds timeout) {
  const std::lock_guard lock(mutex_);
  if (frozen_ > 0) {
    left_ = timeout;
  } else {
    deadline_ = Clock::now() + timeout;
  }
  changed_.notify_all();
}

void Watchdog::disable() {
  const std::lock_guard lock(mutex_);
  deadline_.reset();
  left_.reset();
  changed_.notify_all();
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
      deadline_.reset();
      lock.unlock();
      on_expiry_();
      lock.lock();
    }
  }
}

}  // namespace gcore::tools::vmm
