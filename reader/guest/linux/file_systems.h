// The mounted file systems of a Linux guest: its super_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::reader::linux_guest {

struct FileSystem {
  VirtAddr super_block{};
  uint64_t size = 0;     // of the struct super_block, bytes
  std::string type{};    // "ext4"
  std::string device{};  // "vda1"; for those without a device what the kernel has in its place, such as "proc"
  bool frozen = false;   // or about to be: fsfreeze, a guest's agent before a snapshot, the device mapper
};

/// In the kernel's order, at most 4096; empty where its types or its list are not found.
std::vector<FileSystem> find_file_systems(const Kernel& kernel);

}  // namespace gcore::reader::linux_guest
