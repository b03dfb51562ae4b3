// Guest memory that is copied aside while the guest is paused, so that it can go on before the dump is written: memory
// takes several times as many bytes a second as a file system does.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-dump/capture.h"
#include "writer/base/unique_fd.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// Bytes that this process can have without that anybody's memory is written to a disk: what the kernel has available
/// (MemAvailable), and what the control groups that this process is in allow. 0: nobody knows.
uint64_t available_memory();

/// A file in memory that holds copies of parts of other files. What has no data there has none here.
class Aside {
 public:
  /// At most `most` bytes of data.
  explicit Aside(uint64_t most) : room_(most) {}

  /// Copies all of `range`, which is of a file, and returns the copy as a range. Nothing when there is no room for it,
  /// or the memory cannot be had. By several threads. The error is a clause: `limits` ended it.
  std::expected<std::optional<writer::MemoryRange>, std::string> take(const writer::MemoryRange& range,
                                                                      const CaptureLimits& limits);
  /// Whether it is one of the copies.
  bool has(const writer::MemoryRange& range) const { return file_ && range.fd == file_.get(); }

 private:
  bool make();

  uint64_t room_;
  base::UniqueFd file_;
  uint64_t size_ = 0;  // of the file
};

}  // namespace gcore::tools::qemu
