// Bytes of an ELF file in the making, in the machine's byte order. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {

/// What is written for an address of the running kernel, where the file is to have those that it was linked for. Small
/// numbers are offsets in a CPU's area, which KASLR does not move.
inline uint64_t linked_address(uint64_t address, uint64_t displacement) {
  return address >> 32 != 0 ? address - displacement : address;
}

class Bytes {
 public:
  explicit Bytes(format::ByteOrder order) : order_(order) {}

  size_t size() const { return bytes_.size(); }
  std::vector<std::byte>& take() { return bytes_; }
  void reserve(size_t size) { bytes_.reserve(size); }

  void u8(uint64_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void u16(uint64_t value) { put(static_cast<uint16_t>(value)); }
  void u32(uint64_t value) { put(static_cast<uint32_t>(value)); }
  void u64(uint64_t value) { put(value); }
  void uleb(uint64_t value) {
    while (value >= 0x80) u8((value & 0x7f) | 0x80), value >>= 7;
    u8(value);
  }
  void sleb(int64_t value) {
    while (value < -64 || value > 63) u8((static_cast<uint64_t>(value) & 0x7f) | 0x80), value >>= 7;
    u8(static_cast<uint64_t>(value) & 0x7f);
  }
  void text(std::string_view text) {
    const auto* first = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), first, first + text.size());
    u8(0);
  }
  void pad(size_t alignment, std::byte with = std::byte{0}) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(with);
  }
  void set_u32(size_t at, uint64_t value) { format::store(&bytes_[at], static_cast<uint32_t>(value), order_); }

 private:
  template <class T>
  void put(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    format::store(&bytes_[at], value, order_);
  }

  format::ByteOrder order_;
  std::vector<std::byte> bytes_;
};

/// A section of texts, each of which stands there once. The views must live as long as the table.
class StringTable {
 public:
  explicit StringTable(format::ByteOrder order) : bytes_(order) { bytes_.u8(0); }

  uint32_t add(std::string_view text) {
    if (text.empty()) return 0;
    const auto [at, is_new] = places_.try_emplace(text, static_cast<uint32_t>(bytes_.size()));
    if (is_new) bytes_.text(text);
    return at->second;
  }
  std::vector<std::byte>& take() { return bytes_.take(); }

 private:
  Bytes bytes_;
  std::unordered_map<std::string_view, uint32_t> places_;
};

}  // namespace gcore::reader::linux_guest
