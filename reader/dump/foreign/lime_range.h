// The header that LiME and AVML have before each range of memory. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "reader/dump/elf_file.h"
#include "reader/source/source.h"
#include "writer/format/endian.h"

namespace gcore::reader {

constexpr uint32_t kLimeMagic = 0x4c694d45, kAvmlMagic = 0x4c4d5641;  // "EMiL", "AVML"
constexpr size_t kLimeHeader = 32;

/// u32 magic, u32 version, u64 first address, u64 last address, 8 bytes reserved. Little-endian.
struct LimeRange {
  uint32_t magic, version;
  uint64_t first, last;

  bool makes_sense() const { return first <= last && last != UINT64_MAX; }
  uint64_t size() const { return last - first + 1; }
};

inline LimeRange lime_range(std::span<const std::byte, kLimeHeader> bytes) {
  constexpr auto kOrder = format::ByteOrder::little;
  return {format::load<uint32_t>(&bytes[0], kOrder), format::load<uint32_t>(&bytes[4], kOrder),
          format::load<uint64_t>(&bytes[8], kOrder), format::load<uint64_t>(&bytes[16], kOrder)};
}

/// By what a Linux kernel for it has in its text; x86_64 when there is nothing of the kind, as such images are mostly
/// of that. The headers' offsets count in `source`.
format::Machine machine_of_kernel(const Source& source, std::span<const ProgramHeader> headers);

}  // namespace gcore::reader
