// A file descriptor that closes itself.
#pragma once

#include <unistd.h>

#include <utility>

namespace gcore::base {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  /// 0, or what close() returned.
  int reset() {
    const int fd = release();
    return fd >= 0 ? close(fd) : 0;
  }

 private:
  int fd_;
};

}  // namespace gcore::base
