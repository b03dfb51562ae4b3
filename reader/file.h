// A dump file as bytes at offsets. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "reader/address.h"
#include "reader/error.h"

namespace gcore::reader {

/// Owns a descriptor of something seekable. Reads are pread, so that threads do not disturb each other, and so that a
/// file that shrinks while it is open gives a short read; a mapping would raise SIGBUS.
class File {
 public:
  /// Takes ownership of `fd`. Error texts of the reader's parts lack "cannot open NAME: ", which Dump::open adds.
  static Expected<File> adopt(int fd);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  uint64_t size() const { return size_; }  // when it was opened

  struct Result {
    size_t bytes = 0;
    int error = 0;  // errno, when reading failed; 0 with fewer bytes than asked: the file ends
  };
  Result read(FileOffset offset, std::span<std::byte> into) const;

  /// Reads exactly into.size() bytes, or explains: `what` names them, as in "the ELF header".
  Expected<void> read_exactly(FileOffset offset, std::span<std::byte> into, const char* what) const;

  /// The first offset >= `offset` that is in a hole (or at the end), respectively in no hole (size() if there is none).
  /// A file system that knows no holes has none.
  FileOffset next_hole(FileOffset offset) const;
  FileOffset next_data(FileOffset offset) const;

 private:
  File(int fd, uint64_t size) : fd_(fd), size_(size) {}
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace gcore::reader
