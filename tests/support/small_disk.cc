#include "tests/support/small_disk.h"

#include <sys/mount.h>

#include <cerrno>
#include <system_error>

namespace gcore::tests {

SmallDisk::SmallDisk(const std::string& size) {
  if (mount("gcore-test", directory_.path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0)
    throw std::system_error(errno, std::generic_category(), "mount of a small tmpfs, as root");
}

SmallDisk::~SmallDisk() { umount2(directory_.path().c_str(), MNT_DETACH); }

void SmallDisk::make_read_only() {
  if (mount(nullptr, directory_.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    throw std::system_error(errno, std::generic_category(), "remount of a tmpfs");
}

}  // namespace gcore::tests
