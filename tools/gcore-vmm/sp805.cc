#include "tools/gcore-vmm/sp805.h"

#include <algorithm>
#include <limits>

namespace gcore::tools::vmm {
namespace {

constexpr uint64_t kLoad = 0, kValue = 4, kControl = 8, kInterruptClear = 0xc, kRawInterrupt = 0x10,
                   kMaskedInterrupt = 0x14, kLock = 0xc00, kIdentity = 0xfe0;
constexpr uint32_t kCounts = 1, kResets = 2;
constexpr uint32_t kUnlock = 0x1acce551;
constexpr uint8_t kIdentityBytes[] = {0x05, 0x18, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

}  // namespace

void Sp805::start() {
  if ((control_ & kCounts) == 0) {
    watchdog_.disable();
    return;
  }
  const bool resets = (control_ & kResets) != 0;
  watchdog_.restart(std::chrono::microseconds(load_), resets ? 2 : Watchdog::kNeverExpires);
}

void Sp805::write(uint64_t offset, uint32_t value) {
  const std::lock_guard lock(mutex_);
  if (offset == kLock) locked_ = value != kUnlock;
  if (locked_) return;
  if (offset == kLoad) load_ = value;
  if (offset == kControl) control_ = value;
  if (offset == kLoad || offset == kControl || offset == kInterruptClear) start();
}

uint32_t Sp805::read(uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const bool raised = watchdog_.countdowns() > 0;
  switch (offset) {
    case kLoad:
      return load_;
    case kValue: {
      if ((control_ & kCounts) == 0) return load_;
      return static_cast<uint32_t>(std::clamp<int64_t>(watchdog_.left().count(), 0, load_));
    }
    case kControl:
      return control_;
    case kRawInterrupt:
      return raised;
    case kMaskedInterrupt:
      return raised && (control_ & kCounts) != 0;
    case kLock:
      return locked_;
    default:
      break;
  }
  if (offset < kIdentity || (offset - kIdentity) / 4 >= std::size(kIdentityBytes) || offset % 4 != 0) return 0;
  return kIdentityBytes[(offset - kIdentity) / 4];
}

}  // namespace gcore::tools::vmm
