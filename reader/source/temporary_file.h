// Unnamed temporary files, for what cannot be read in place. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "reader/error.h"

namespace gcore::reader {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor();
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Written at any offset, with holes where it was never written, and where what was written is zero. In $TMPDIR, else
/// /var/tmp, else /tmp; gone when its descriptor is closed.
class TemporaryFile {
 public:
  static Expected<TemporaryFile> make();

  /// Zeros at the file's end are not written, whole blocks of zeros nowhere.
  Expected<void> write(uint64_t offset, std::span<const std::byte> bytes);

  /// Gives it the length of all that was written, zeros too, and hands it over.
  Expected<int> finish();

  uint64_t size() const { return size_; }  // the end of what was written

 private:
  explicit TemporaryFile(int fd) : fd_(fd) {}
  Expected<void> write_block(uint64_t offset, std::span<const std::byte> block);
  std::unexpected<Error> failed() const;

  Descriptor fd_;
  uint64_t size_ = 0;
};

/// Whether all bytes are 0.
bool is_zero(std::span<const std::byte> bytes);

}  // namespace gcore::reader
