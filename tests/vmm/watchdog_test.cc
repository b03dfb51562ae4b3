#include "tools/gcore-vmm/watchdog.h"

#include <gtest/gtest.h>

namespace gcore::tools::vmm {
namespace {

using namespace std::chrono_literals;

class Expiries {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool wait_for(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return count_ >= count; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

TEST(Watchdog, ExpiresOnceForEachStart) {
  Expiries expiries;
  Watchdog watchdog([&] { expiries.add(); });
  watchdog.restart(1us);
  ASSERT_TRUE(expiries.wait_for(1));
  watchdog.restart(1us);
  ASSERT_TRUE(expiries.wait_for(2));
  watchdog.end();
  EXPECT_EQ(expiries.count(), 2);
}

TEST(Watchdog, StandsStillWhileFrozen) {
  Expiries expiries;
  Watchdog watchdog([&] { expiries.add(); });
  watchdog.freeze();
  watchdog.freeze();
  watchdog.restart(1us);
  watchdog.thaw();
  EXPECT_EQ(expiries.count(), 0);
  watchdog.thaw();
  EXPECT_TRUE(expiries.wait_for(1));
}

TEST(Watchdog, DoesNotExpireWhenServedOrDisabled) {
  Expiries expiries;
  Watchdog watchdog([&] { expiries.add(); });
  watchdog.restart(1h);
  watchdog.restart(2h);
  watchdog.disable();
  watchdog.freeze();
  watchdog.thaw();
  watchdog.end();
  EXPECT_EQ(expiries.count(), 0);
}

}  // namespace
}  // namespace gcore::tools::vmm
