// The disks of a Linux guest, and which requests they have not answered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct Disk {
  std::string name{};    // "vda"
  size_t in_flight = 0;  // requests that its driver has, and has not finished
  /// When the oldest of them was made, on the kernel's monotonic clock. Nothing: the kernel keeps no such account.
  std::optional<uint64_t> oldest_ns{};
};

/// At most 1024. Empty where the types or the list are not found. Devices without a queue of requests (dm, md, zram)
/// have none in flight: what is asked of them is with the disks below.
std::vector<Disk> find_disks(const Kernel& kernel);

}  // namespace gcore::reader::linux_guest
