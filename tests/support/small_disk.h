#pragma once

#include <string>

#include "tests/support/temp_dir.h"

namespace gcore::tests {

/// A file system of its own (tmpfs), as small as wanted; unmounted with the object. Takes root: throws
/// std::system_error when it cannot be mounted.
class SmallDisk {
 public:
  /// `size` as mount's option: "64k".
  explicit SmallDisk(const std::string& size);
  ~SmallDisk();
  void make_read_only();
  const TempDir& directory() const { return directory_; }

 private:
  TempDir directory_;
};

}  // namespace gcore::tests
