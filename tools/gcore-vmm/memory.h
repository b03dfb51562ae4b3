// The guest's RAM: one shared file in memory, mapped once in this process and, by way of that mapping, into every vCPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gcore::tools::vmm {

class GuestMemory {
 public:
  struct Range {
    uint64_t address = 0, size = 0;  // guest-physical, multiples of 4096
    std::byte* host = nullptr;       // where it is in this process
    uint64_t offset = 0;             // in fd()
  };
  struct Request {
    uint64_t address, size;
  };

  /// Ranges must not overlap. The memory reads as zeros and takes no room until it is written.
  static std::expected<std::unique_ptr<GuestMemory>, std::string> create(std::span<const Request> ranges);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  int fd() const { return fd_; }
  std::span<const Range> ranges() const { return ranges_; }  // in the order of the requests
  uint64_t total() const { return total_; }

  /// The range that holds this guest-physical address, or nullptr.
  const Range* find(uint64_t address) const;
  /// The `size` bytes at this guest-physical address, or nullptr when they are not all in one range.
  std::byte* at(uint64_t address, uint64_t size) const;

 private:
  GuestMemory() = default;
  int fd_ = -1;
  void* mapping_ = nullptr;
  uint64_t total_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace gcore::tools::vmm
