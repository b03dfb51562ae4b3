#include "tools/gcore-vmm/sp805.h"

#include <gtest/gtest.h>

#include <condition_variable>

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kLoad = 0, kValue = 4, kControl = 8, kInterruptClear = 0xc, kRaw = 0x10, kMasked = 0x14,
                   kLock = 0xc00;
constexpr uint32_t kHour = 3'600'000'000u, kInten = 1, kResen = 2;

/// Two flags that a test waits for.
class Events {
 public:
  void set(int bit) {
    const std::lock_guard lock(mutex_);
    bits_ |= bit;
    changed_.notify_all();
  }
  bool wait_for(int bit) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return (bits_ & bit) != 0; });
  }
  bool has(int bit) {
    const std::lock_guard lock(mutex_);
    return (bits_ & bit) != 0;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int bits_ = 0;
};

class Sp805Test : public testing::Test {
 protected:
  static constexpr int kExpired = 1, kCountedDown = 2;
  Events events_;
  Watchdog watchdog_{[this] { events_.set(kExpired); }, [this] { events_.set(kCountedDown); }};
  Sp805 device_{watchdog_};
};

TEST_F(Sp805Test, InterruptsAfterOneCountdownAndResetsAfterTwo) {
  device_.write(kLoad, 1000);
  device_.write(kControl, kInten | kResen);
  EXPECT_TRUE(events_.wait_for(kExpired));
  EXPECT_TRUE(events_.has(kCountedDown));
  EXPECT_EQ(watchdog_.countdowns(), 2u);
}

TEST_F(Sp805Test, ClearingTheInterruptStartsAgain) {
  // From here on time stands still unless it is let go: nothing of this depends on how fast the test is.
  watchdog_.freeze();
  device_.write(kLoad, 1);
  device_.write(kControl, kInten | kResen);
  EXPECT_EQ(device_.read(kRaw), 0u);
  device_.write(kLoad, kHour);
  watchdog_.thaw();
  device_.write(kInterruptClear, 1);
  EXPECT_EQ(device_.read(kRaw), 0u);
  EXPECT_EQ(device_.read(kMasked), 0u);
  EXPECT_LE(device_.read(kValue), kHour);
  EXPECT_GT(device_.read(kValue), kHour / 2);
  watchdog_.end();
  EXPECT_FALSE(events_.has(kExpired | kCountedDown));
}

TEST_F(Sp805Test, WithoutResetOnlyInterrupts) {
  device_.write(kLoad, 1);
  device_.write(kControl, kInten);
  while (device_.read(kRaw) == 0) std::this_thread::yield();
  EXPECT_EQ(device_.read(kMasked), 1u);
  device_.write(kControl, 0);
  EXPECT_EQ(device_.read(kMasked), 0u);
  watchdog_.end();
  EXPECT_FALSE(events_.has(kExpired));
}

TEST_F(Sp805Test, IgnoresWritesWhileLocked) {
  device_.write(kLock, 1);
  EXPECT_EQ(device_.read(kLock), 1u);
  device_.write(kLoad, 1);
  device_.write(kControl, kInten | kResen);
  EXPECT_EQ(device_.read(kLoad), 0xffffffffu);
  EXPECT_EQ(device_.read(kControl), 0u);
  device_.write(kLock, 0x1acce551);
  EXPECT_EQ(device_.read(kLock), 0u);
  device_.write(kLoad, 1);
  device_.write(kControl, kInten | kResen);
  EXPECT_TRUE(events_.wait_for(kExpired));
}

TEST_F(Sp805Test, IsRecognisedByDrivers) {
  uint32_t part = 0, cell = 0;
  for (unsigned i = 0; i < 4; ++i) {
    part |= device_.read(0xfe0 + 4 * i) << (8 * i);
    cell |= device_.read(0xff0 + 4 * i) << (8 * i);
  }
  EXPECT_EQ(part & 0xfffff, 0x41805u);  // part 805, designed by ARM
  EXPECT_EQ(cell, 0xb105f00du);         // of every PrimeCell
  EXPECT_EQ(device_.read(0x500), 0u);
  EXPECT_EQ(device_.read(0xfe2), 0u);
}

}  // namespace
}  // namespace gcore::tools::vmm
