// A file of the user's, mapped for reading.
#pragma once

#include <cstddef>
#include <expected>
#include <span>
#include <string>
#include <utility>

namespace gcore::tools::vmm {

class MappedFile {
 public:
  /// The error is why, without the file's name.
  static std::expected<MappedFile, std::string> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }  // not empty

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace gcore::tools::vmm
