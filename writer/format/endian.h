// Integers as they stand in a file: a fixed byte order and no alignment.
//
// A structure of these has exactly the layout that is written down, on every host and compiler, and may be laid over
// any byte of a file. `load` and `store` serve where the byte order is known only at run time (a reader of both
// orders).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace gcore::format {

enum class ByteOrder : uint8_t { little, big };

inline constexpr ByteOrder kHostOrder = std::endian::native == std::endian::little ? ByteOrder::little : ByteOrder::big;

template <class T>
constexpr T byte_swap(T value) {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
}

/// Reads an unsigned integer of the given byte order from `from`, which needs no alignment and sizeof(T) readable
/// bytes.
template <class T>
T load(const void* from, ByteOrder order) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return order == kHostOrder ? value : byte_swap(value);
}

/// Writes `value` in the given byte order to `to`, which needs no alignment and sizeof(T) writable bytes.
template <class T>
void store(void* to, T value, ByteOrder order) {
  if (order != kHostOrder) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}

/// A little-endian integer in a file. Converts to and from T; its alignment is 1.
template <class T>
class Little {
 public:
  Little() = default;
  Little(T value) { *this = value; }  // NOLINT: an integer is meant to convert
  Little& operator=(T value) {
    store(bytes_, value, ByteOrder::little);
    return *this;
  }
  operator T() const { return load<T>(bytes_, ByteOrder::little); }  // NOLINT: likewise

 private:
  uint8_t bytes_[sizeof(T)] = {};
};

using Le16 = Little<uint16_t>;
using Le32 = Little<uint32_t>;
using Le64 = Little<uint64_t>;

static_assert(sizeof(Le64) == 8 && alignof(Le64) == 1 && std::is_trivially_copyable_v<Le64>);

}  // namespace gcore::format
