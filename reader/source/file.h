// A dump file that is read in place. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "reader/source/source.h"

namespace gcore::reader {

/// Reads from where the descriptor is until `into` is full or the input ends; fewer bytes are its end. Nothing on
/// failure, with errno.
std::optional<size_t> read_all(int fd, std::span<std::byte> into);

/// Owns a descriptor of something seekable. Reads are pread, so that threads do not disturb each other, and so that a
/// file that shrinks while it is open gives a short read; a mapping would raise SIGBUS. A file that cannot shrink is
/// mapped: small reads copy from there, which saves a system call each.
class File final : public Source {
 public:
  /// Whether the file can become shorter. One that cannot is mapped: an unnamed temporary file of our own, a memfd that
  /// is sealed against shrinking (found out by itself), or one that the caller vouches for.
  enum class Lasting : uint8_t { unknown, yes };

  /// Takes ownership of `fd`, also on failure.
  static Expected<std::unique_ptr<File>> adopt(int fd, Lasting lasting = Lasting::unknown);
  ~File() override;

  int descriptor() const { return fd_; }

  uint64_t size() const override { return size_; }
  uint64_t file_end() const override;
  Result read(FileOffset offset, std::span<std::byte> into) const override;
  FileOffset next_hole(FileOffset offset) const override;
  FileOffset next_data(FileOffset offset) const override;
  std::optional<PinnedBytes> pin(FileOffset offset, size_t size) const override;
  void expect(FileOffset offset) const override;

 private:
  File(int fd, uint64_t size) : fd_(fd), size_(size) {}
  void map();
  std::optional<FileOffset> end_of_known_data(FileOffset offset) const;

  const int fd_;
  const uint64_t size_;
  std::shared_ptr<const std::byte> mapping_;  // of the whole file, if it cannot shrink
  mutable std::mutex data_mutex_;
  mutable FileOffset data_first_{0}, data_end_{0};  // a stretch without holes, the last one that was asked for
};

}  // namespace gcore::reader
