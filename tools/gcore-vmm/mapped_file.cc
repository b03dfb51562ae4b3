#include "tools/gcore-vmm/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gcore::tools::vmm {

std::expected<MappedFile, std::string> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status{};
  if (fd < 0 || fstat(fd, &status) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return std::unexpected(std::string(std::strerror(error)));
  }
  if (!S_ISREG(status.st_mode) || status.st_size <= 0) {
    close(fd);
    return std::unexpected(std::string("not a regular file, or empty"));
  }
  const size_t size = static_cast<size_t>(status.st_size);
  void* bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (bytes == MAP_FAILED) return std::unexpected(std::string(std::strerror(error)));
  return MappedFile({static_cast<const std::byte*>(bytes), size});
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace gcore::tools::vmm
