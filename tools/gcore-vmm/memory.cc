#include "tools/gcore-vmm/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gcore::tools::vmm {

std::expected<std::unique_ptr<GuestMemory>, std::string> GuestMemory::create(std::span<const Request> ranges) {
  std::unique_ptr<GuestMemory> memory(new GuestMemory);
  for (const Request& range : ranges) memory->total_ += range.size;
  const auto failed = [&](const char* what) {
    return std::unexpected(std::string(what) + " of " + std::to_string(memory->total_) +
                           " bytes of guest RAM: " + std::strerror(errno));
  };
  memory->fd_ = memfd_create("guest-ram", MFD_CLOEXEC);
  if (memory->fd_ < 0 || ftruncate(memory->fd_, static_cast<off_t>(memory->total_)) != 0) return failed("allocation");
  void* mapping = mmap(nullptr, memory->total_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd_, 0);
  if (mapping == MAP_FAILED) return failed("mapping");
  memory->mapping_ = mapping;
  uint64_t offset = 0;
  for (const Request& range : ranges) {
    memory->ranges_.push_back({range.address, range.size, static_cast<std::byte*>(mapping) + offset, offset});
    offset += range.size;
  }
  return memory;
}

GuestMemory::~GuestMemory() {
  if (mapping_ != nullptr) munmap(mapping_, total_);
  if (fd_ >= 0) close(fd_);
}

const GuestMemory::Range* GuestMemory::find(uint64_t address) const {
  for (const Range& range : ranges_)
    if (address >= range.address && address - range.address < range.size) return &range;
  return nullptr;
}

std::byte* GuestMemory::at(uint64_t address, uint64_t size) const {
  const Range* range = find(address);
  if (range == nullptr || size > range->size - (address - range->address)) return nullptr;
  return range->host + (address - range->address);
}

}  // namespace gcore::tools::vmm
