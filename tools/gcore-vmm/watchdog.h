// A watchdog: it expires when nobody restarts it in time. The devices in front of it are the VM's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace gcore::tools::vmm {

class Watchdog {
 public:
  /// `on_expiry` is called on the watchdog's thread, once for each time that it expires; it may take its time, but must
  /// not destroy the watchdog. The watchdog is not running at first.
  explicit Watchdog(std::function<void()> on_expiry);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// All from any thread.
  void restart(std::chrono::microseconds timeout);
  void disable();
  /// Time stands still between freeze() and thaw(): a guest that is paused cannot serve it. Calls pair up.
  void freeze();
  void thaw();
  /// It never expires again; when this returns, on_expiry is not running. Not from on_expiry.
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  void run();

  std::function<void()> on_expiry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Clock::time_point> deadline_;  // while not frozen
  std::optional<Clock::duration> left_;        // while frozen
  int frozen_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace gcore::tools::vmm
