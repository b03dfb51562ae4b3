// A watchdog's clock: it expires when nobody restarts it in time, after one or more countdowns. The devices by which
// the guest sets it are the VM's.
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
  static constexpr unsigned kNeverExpires = ~0u;  // it counts down once, and that is all

  /// `on_expiry` is called on the watchdog's thread, once for each time that it expires; it may take its time, but must
  /// not destroy the watchdog. So is `on_countdown`, when one of several countdowns ends that is not the last. The
  /// watchdog is not running at first.
  explicit Watchdog(std::function<void()> on_expiry, std::function<void()> on_countdown = nullptr);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// All from any thread. It expires after so many countdowns of this length.
  void restart(std::chrono::microseconds countdown, unsigned countdowns = 1);
  void disable();
  /// Countdowns that have ended since it was restarted; 0 when it was disabled.
  unsigned countdowns();
  /// Of the countdown that runs; 0 when none does.
  std::chrono::microseconds left();
  /// Time stands still between freeze() and thaw(): a guest that is paused cannot serve it. Calls pair up.
  void freeze();
  void thaw();
  /// It never expires again; when this returns, on_expiry is not running. Not from on_expiry.
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  void run();

  std::function<void()> on_expiry_, on_countdown_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Clock::time_point> deadline_;  // while not frozen
  std::optional<Clock::duration> left_;        // while frozen
  std::chrono::microseconds countdown_{0};
  unsigned countdowns_ = 1, ended_ = 0;
  int frozen_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace gcore::tools::vmm
