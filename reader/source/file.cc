#include "reader/source/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

namespace gcore::reader {
namespace {

// What is read from the mapping where there is one: beyond that a system call costs less than page faults.
constexpr size_t kMappedRead = size_t{64} << 10;
constexpr size_t kPage = 4096;
constexpr uint64_t kMaxOffset = static_cast<uint64_t>(std::numeric_limits<off_t>::max());

bool sealed_against_shrinking(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

/// Pages by a size that the compiler knows: it copies them in place (x86: rep movs), which is faster than the library's
/// registers where the source is in no cache.
void copy(std::byte* to, const std::byte* from, size_t size) {
  for (; size >= kPage; size -= kPage, to += kPage, from += kPage) std::memcpy(to, from, kPage);
  std::memcpy(to, from, size);
}

}  // namespace

std::optional<size_t> read_all(int fd, std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::read(fd, into.data() + done, into.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Expected<std::unique_ptr<File>> File::adopt(int fd, Lasting lasting) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) {
    const int error = errno;
    ::close(fd);
    return std::unexpected(Error{Error::Kind::io, fmt::format("its size cannot be found: {}", std::strerror(error))});
  }
  std::unique_ptr<File> file(new File(fd, static_cast<uint64_t>(end)));
  if (lasting == Lasting::yes || sealed_against_shrinking(fd)) file->map();
  return file;
}

File::~File() { ::close(fd_); }

uint64_t File::file_end() const {
  struct stat info{};
  return ::fstat(fd_, &info) == 0 && S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : size_;
}

Source::Result File::read(FileOffset offset, std::span<std::byte> into) const {
  Result result;
  if (into.empty()) return result;  // memcpy takes no null pointer, though for 0 bytes
  if (mapping_ && into.size() <= kMappedRead) {
    if (offset.value >= size_) return result;
    result.bytes = static_cast<size_t>(std::min<uint64_t>(into.size(), size_ - offset.value));
    copy(into.data(), mapping_.get() + offset.value, result.bytes);
    return result;
  }
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

/// What is taken for data and has become a hole since is read, as zeros; a hole that is no more would be passed over,
/// so that of holes nothing is kept.
std::optional<FileOffset> File::end_of_known_data(FileOffset offset) const {
  const std::lock_guard lock(data_mutex_);
  return data_first_ <= offset && offset < data_end_ ? std::optional(data_end_) : std::nullopt;
}

FileOffset File::next_hole(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  // Some file systems (tmpfs) go there page by page: who asks for every segment of a dump is not to pay for that each
  // time.
  if (const auto known = end_of_known_data(offset)) return *known;
  const off_t at = ::lseek(fd_, static_cast<off_t>(offset.value), SEEK_HOLE);
  const FileOffset hole(at < 0 ? size_ : std::min(static_cast<uint64_t>(at), size_));
  const std::lock_guard lock(data_mutex_);
  data_first_ = offset;
  data_end_ = hole;
  return hole;
}

FileOffset File::next_data(FileOffset offset) const {
  if (offset.value >= size_) return FileOffset(size_);
  if (end_of_known_data(offset)) return offset;
  const off_t at = ::lseek(fd_, static_cast<off_t>(offset.value), SEEK_DATA);
  if (at >= 0) return FileOffset(std::min(static_cast<uint64_t>(at), size_));
  if (errno != ENXIO) return offset;
  // No data up to the end; which is not a hole where the file has become shorter: reading says so.
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  if (end < 0 || offset.value >= static_cast<uint64_t>(end)) return offset;
  return FileOffset(std::min(static_cast<uint64_t>(end), size_));
}

/// Whole, once: address space is plenty, and what is not touched takes no memory.
void File::map() {
  if (size_ == 0 || size_ > std::numeric_limits<size_t>::max()) return;
  const size_t length = static_cast<size_t>(size_);
  void* at = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd_, 0);
  if (at == MAP_FAILED) return;
  mapping_ = std::shared_ptr<const std::byte>(
      static_cast<const std::byte*>(at), [length](const std::byte* p) { ::munmap(const_cast<std::byte*>(p), length); });
}

/// Has the processor fetch the bytes while something else is copied. It never faults.
void File::expect(FileOffset offset) const {
  constexpr uint64_t kAhead = 512, kLine = 64;
  if (!mapping_ || offset.value >= size_) return;
  const std::byte* const from = mapping_.get() + offset.value;
  for (uint64_t at = 0; at < std::min(kAhead, size_ - offset.value); at += kLine) __builtin_prefetch(from + at);
}

std::optional<PinnedBytes> File::pin(FileOffset offset, size_t size) const {
  if (!mapping_ || offset.value >= size_ || size == 0) return std::nullopt;
  const size_t there = static_cast<size_t>(std::min<uint64_t>(size, size_ - offset.value));
  return PinnedBytes{{mapping_.get() + offset.value, there}, mapping_};
}

}  // namespace gcore::reader
