// Unnamed temporary files, for what cannot be read in place. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "reader/error.h"
#include "writer/base/unique_fd.h"

namespace gcore::reader {

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
  explicit TemporaryFile(base::UniqueFd fd) : fd_(std::move(fd)) {}
  std::unexpected<Error> failed(int code) const;

  base::UniqueFd fd_;
  uint64_t size_ = 0;
};

}  // namespace gcore::reader
