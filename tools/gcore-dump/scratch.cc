#include "tools/gcore-dump/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gcore::tools::qemu {
namespace {

constexpr uint64_t kKeptInMemory = 64 << 20;
constexpr size_t kPage = 4096;

bool all_zero(const char* bytes, size_t size) {
  return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

int write_at(int fd, const char* bytes, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t written = pwrite(fd, bytes, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    bytes += written;
    size -= static_cast<size_t>(written);
    offset += static_cast<uint64_t>(written);
  }
  return 0;
}

}  // namespace

std::expected<UniqueFd, std::string> scratch_file(uint64_t size, const std::string& directory) {
  if (size <= kKeptInMemory) {
    UniqueFd file(memfd_create("gcore-dump", MFD_CLOEXEC));
    if (file.valid()) return file;
    return std::unexpected(std::string("cannot make a file in memory: ") + std::strerror(errno));
  }
  UniqueFd file(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid() && (errno == EOPNOTSUPP || errno == EISDIR)) {
    std::string name = directory + "/.gcore-dump-XXXXXX";
    file = UniqueFd(mkostemp(name.data(), O_CLOEXEC));
    if (file.valid()) unlink(name.c_str());
  }
  if (!file.valid())
    return std::unexpected("cannot make a temporary file in " + directory + ": " + std::strerror(errno));
  return file;
}

int write_sparse(int fd, const char* bytes, size_t size, uint64_t offset) {
  const auto length_at = [size](size_t at) { return std::min(kPage, size - at); };
  for (size_t start = 0; start < size;) {
    size_t end = start + length_at(start);
    if (!all_zero(bytes + start, end - start)) {
      while (end < size && !all_zero(bytes + end, length_at(end))) end += length_at(end);
      if (const int problem = write_at(fd, bytes + start, end - start, offset + start); problem != 0) return problem;
    }
    start = end;
  }
  return 0;
}

}  // namespace gcore::tools::qemu
