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

#include "writer/base/unique_fd.h"

namespace gcore::reader::linux_guest {

class OpenFile {
 public:
  // O_NONBLOCK: a FIFO would make open wait for a writer.
  explicit OpenFile(const std::string& path) : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (!file_) why_ = std::strerror(errno);
    struct stat status{};
    if (file_ && (fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode))) why_ = "it is not a regular file";
    size_ = static_cast<uint64_t>(status.st_size);
  }

  /// Why it cannot be read, or empty.
  const std::string& why() const { return why_; }
  uint64_t size() const { return size_; }
  size_t read(uint64_t offset, std::span<std::byte> into) const {
    size_t done = 0;
    while (done < into.size()) {
      const ssize_t got = pread(file_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  base::UniqueFd file_;
  uint64_t size_ = 0;
  std::string why_;
};

}  // namespace gcore::reader::linux_guest
