// Anonymous memory that is there page by page as it is used, and not on the heap: it may be large, and running out of
// it must be an error.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "writer/status.h"

namespace gcore::writer {

struct Mapping {
  Mapping() = default;
  ~Mapping() {
    if (at) munmap(at, size);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Zeros. `what` names it in the error.
  Status make(uint64_t bytes, const char* what) {
    void* made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return system_error(errno, what);
    at = static_cast<std::byte*>(made);
    size = bytes;
    return {};
  }

  std::byte* at = nullptr;
  uint64_t size = 0;
};

}  // namespace gcore::writer
