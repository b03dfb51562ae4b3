#include "reader/file.h"

#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

namespace gcore::reader {
namespace {

constexpr uint64_t kMaxOffset = static_cast<uint64_t>(std::numeric_limits<off_t>::max());

}  // namespace

Expected<File> File::adopt(int fd) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(Error{Error::Kind::io, fmt::format("its size cannot be found: {}", std::strerror(error))});
  }
  return File(fd, static_cast<uint64_t>(end));
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::Result File::read(FileOffset offset, std::span<std::byte> into) const {
  Result result;
  while (result.bytes < into.size()) {
    const uint64_t at = offset.value + result.bytes;
    if (at < offset.value || at > kMaxOffset) break;
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(into.size() - result.bytes, kMaxOffset - at));
    const ssize_t n = ::pread(fd_, into.data() + result.bytes, wanted, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result.error = errno;
    if (n <= 0) break;
    result.bytes += static_cast<size_t>(n);
  }
  return result;
}

Expected<void> File::read_exactly(FileOffset offset, std::span<std::byte> into, const char* what) const {
  const Result result = read(offset, into);
  if (result.bytes == into.size()) return {};
  if (result.error != 0)
    return std::unexpected(Error{Error::Kind::io, fmt::format("{} at offset {} cannot be read: {}", what, offset.value,
                                                              std::strerror(result.error))});
  return std::unexpected(
      Error{Error::Kind::truncated, fmt::format("{} ({} bytes at offset {}) goes past the end of the file ({} bytes)",
                                                what, into.size(), offset.value, size_)});
}

FileOffset File::next_hole(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  const off_t at = ::lseek(fd_, static_cast<off_t>(offset.value), SEEK_HOLE);
  return FileOffset(at < 0 ? size_ : std::min(static_cast<uint64_t>(at), size_));
}

FileOffset File::next_data(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  const off_t at = ::lseek(fd_, static_cast<off_t>(offset.value), SEEK_DATA);
  if (at >= 0) return FileOffset(std::min(static_cast<uint64_t>(at), size_));
  return errno == ENXIO ? FileOffset(size_) : offset;
}

}  // namespace gcore::reader
