// The memory of a Linux guest's kernel by virtual address, and how numbers and texts are taken from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"
#include "reader/space/address_space.h"

namespace gcore::reader::linux_guest {

/// Reads through the kernel's own page tables (those of a vCPU that shows the kernel, else those that were found in
/// memory). Small reads are served from a cache of pages. Nothing throws and nothing is believed: a read that cannot be
/// had is empty. Refers to the dump, which must outlive it. May be used by several threads at once.
class KernelMemory {
 public:
  KernelMemory(const Dump& dump, AddressSpace space);
  KernelMemory(KernelMemory&&) noexcept;
  KernelMemory& operator=(KernelMemory&&) noexcept;
  ~KernelMemory();

  const Dump& dump() const;
  const AddressSpace& space() const;
  format::Machine machine() const;

  /// Reads the leading bytes that there are; returns how many.
  size_t read(VirtAddr address, std::span<std::byte> into) const;
  /// All of `into`, or false.
  bool read_exactly(VirtAddr address, std::span<std::byte> into) const;

  /// An unsigned number of `size` bytes (1 to 8) in the guest's byte order.
  std::optional<uint64_t> number(VirtAddr address, size_t size) const;
  std::optional<uint8_t> u8(VirtAddr address) const;
  std::optional<uint16_t> u16(VirtAddr address) const;
  std::optional<uint32_t> u32(VirtAddr address) const;
  std::optional<uint64_t> u64(VirtAddr address) const;
  /// What a pointer holds (8 bytes). A null pointer is VirtAddr(0).
  std::optional<VirtAddr> pointer(VirtAddr address) const;

  /// The text up to its NUL, at most `max` bytes; as the guest has it (may be anything). Nothing when its first byte
  /// cannot be read.
  std::optional<std::string> text(VirtAddr address, size_t max) const;

  /// Whether the address is one that kernels use (the upper half), so that it is worth following.
  bool is_kernel_address(VirtAddr address) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gcore::reader::linux_guest
