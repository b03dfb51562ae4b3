// ARM's watchdog module SP805 (ARM DDI 0270): a counter that interrupts when it has counted down, starts again, and
// resets the machine when it has counted down a second time before the interrupt was cleared.
//
//     0x000 WDOGLOAD     what is counted down from; at 1 MHz, so microseconds. Writing it starts the count again
//     0x004 WDOGVALUE    the counter (read only)
//     0x008 WDOGCONTROL  bit 0: INTEN, count; bit 1: RESEN, reset after the second countdown
//     0x00c WDOGINTCLR   any value clears the interrupt and starts the count again
//     0x010 WDOGRIS      bit 0: the interrupt, raised by the first countdown (read only)
//     0x014 WDOGMIS      the same, if INTEN (read only)
//     0xc00 WDOGLOCK     0x1acce551 lets the other registers be written, any other value forbids it; reads as 1 when
//                        they are locked
//     0xfe0 to 0xffc     the numbers by which drivers recognise the module
//
// No interrupt is delivered to the guest: it has to look at WDOGRIS.
#pragma once

#include <cstdint>
#include <mutex>

#include "tools/gcore-vmm/watchdog.h"

namespace gcore::tools::vmm {

class Sp805 {
 public:
  /// `watchdog` outlives this. Its expiry is the module's reset.
  explicit Sp805(Watchdog& watchdog) : watchdog_(watchdog) {}

  /// By any vCPU; `offset` in the module's page. What is no register is ignored, and reads as 0.
  void write(uint64_t offset, uint32_t value);
  uint32_t read(uint64_t offset);

 private:
  void start();

  Watchdog& watchdog_;
  std::mutex mutex_;
  uint32_t load_ = 0xffffffff, control_ = 0;
  bool locked_ = false;
};

}  // namespace gcore::tools::vmm
