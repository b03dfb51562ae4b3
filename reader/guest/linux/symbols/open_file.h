// A regular file that is read at offsets. Private to the reader.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace gcore::reader::linux_guest {

class OpenFile {
 public:
  // O_NONBLOCK: a FIFO would make open wait for a writer.
  explicit OpenFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) why_ = std::strerror(errno);
    struct stat status{};
    if (fd_ >= 0 && (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode))) why_ = "it is not a regular file";
    size_ = static_cast<uint64_t>(status.st_size);
  }
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  /// Why it cannot be read, or empty.
  const std::string& why() const { return why_; }
  uint64_t size() const { return size_; }
  size_t read(uint64_t offset, std::span<std::byte> into) const {
    size_t done = 0;
    while (done < into.size()) {
      const ssize_t got = pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  int fd_;
  uint64_t size_ = 0;
  std::string why_;
};

}  // namespace gcore::reader::linux_guest
