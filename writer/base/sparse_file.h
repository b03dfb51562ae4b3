// Files without a name, and files with holes: for copies of guest memory, most of which is zeros.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "writer/base/unique_fd.h"

namespace gcore::base {

/// Whether all bytes are 0.
inline bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

/// A file in `directory` that is gone when it is closed, for its owner alone; without one, errno says why.
inline UniqueFd unnamed_file(const std::string& directory) {
  UniqueFd file(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  std::string name = directory + "/.gcore-XXXXXX";  // not every file system can do without a name
  file = UniqueFd(mkostemp(name.data(), O_CLOEXEC));
  if (file) unlink(name.c_str());
  return file;
}

/// Writes all of it. 0, or errno.
inline int write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return 0;
}

/// Writes all but blocks of zeros, where the file has holes or nothing yet: its length is for the caller to set. 0, or
/// errno.
inline int write_sparse(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  constexpr size_t kBlock = 4096;
  const auto block_at = [&](size_t at) {
    return bytes.subspan(at, std::min<size_t>(bytes.size() - at, kBlock - (offset + at) % kBlock));
  };
  for (size_t start = 0; start < bytes.size();) {
    size_t end = start;
    while (end < bytes.size() && !is_zero(block_at(end))) end += block_at(end).size();
    if (end == start) {
      start += block_at(start).size();
      continue;
    }
    if (const int problem = write_at(fd, bytes.subspan(start, end - start), offset + start); problem != 0)
      return problem;
    start = end;
  }
  return 0;
}

}  // namespace gcore::base
