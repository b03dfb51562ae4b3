// A fuzz target's input, as bytes and as a file.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

namespace gcore::tests {

inline void require(bool condition) {
  if (!condition) std::abort();
}

inline std::vector<std::byte> copy(std::span<const uint8_t> bytes) {
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  return {first, first + bytes.size()};
}

/// An unnamed file of these bytes, read and write position at its end; the caller owns the descriptor.
inline int input_file(const void* data, size_t size) {
  const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  require(fd >= 0 && (size == 0 || ::write(fd, data, size) == static_cast<ssize_t>(size)));
  return fd;
}

}  // namespace gcore::tests
