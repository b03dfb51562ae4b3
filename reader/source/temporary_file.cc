#include "reader/source/temporary_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace gcore::reader {
namespace {

constexpr size_t kBlock = 4096;

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Expected<TemporaryFile> TemporaryFile::make() {
  const char* wanted = std::getenv("TMPDIR");
  int error = ENOENT;
  for (const char* folder : {wanted, "/var/tmp", "/tmp"}) {
    if (!folder || !*folder) continue;
    int fd = ::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {  // not every file system can do that
      std::string name = std::string(folder) + "/gcore-XXXXXX";
      fd = ::mkostemp(name.data(), O_CLOEXEC);
      if (fd >= 0) ::unlink(name.c_str());
    }
    if (fd >= 0) return TemporaryFile(fd);
    error = errno;
  }
  return std::unexpected(
      Error{Error::Kind::io, fmt::format("no temporary file can be made for unpacking it ($TMPDIR, /var/tmp, /tmp): {}",
                                         std::strerror(error))});
}

Expected<void> TemporaryFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto block = bytes.first(std::min(bytes.size(), kBlock - static_cast<size_t>(offset % kBlock)));
    // Zeros that replace something that was there (a flattened file may write a place twice) do have to be written.
    if (offset < size_ || !is_zero(block))
      if (auto written = write_block(offset, block); !written) return written;
    offset += block.size();
    size_ = std::max(size_, offset);
    bytes = bytes.subspan(block.size());
  }
  return {};
}

Expected<void> TemporaryFile::write_block(uint64_t offset, std::span<const std::byte> block) {
  size_t done = 0;
  while (done < block.size()) {
    const ssize_t n = ::pwrite(fd_.get(), block.data() + done, block.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed();
    done += static_cast<size_t>(n);
  }
  return {};
}

Expected<int> TemporaryFile::finish() {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) return failed();
  return fd_.release();
}

std::unexpected<Error> TemporaryFile::failed() const {
  return std::unexpected(
      Error{Error::Kind::io, fmt::format("it cannot be unpacked into a temporary file ({} bytes so far): {}; TMPDIR "
                                         "selects another place",
                                         size_, std::strerror(errno))});
}

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace gcore::reader
