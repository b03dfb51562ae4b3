// The header that LiME and AVML have before each range of memory. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/elf_file.h"
#include "reader/source/source.h"
#include "writer/format/endian.h"

namespace gcore::reader {

constexpr uint32_t kLimeMagic = 0x4c694d45, kAvmlMagic = 0x4c4d5641;  // "EMiL", "AVML"
constexpr size_t kLimeHeader = 32, kLimeReserved = 8;                 // the latter at the header's end

/// u32 magic, u32 version, u64 first address, u64 last address, 8 bytes reserved. Little-endian.
struct LimeRange {
  uint32_t magic, version;
  uint64_t first, last;

  /// Whether it is one of `of`'s kind.
  bool makes_sense(const LimeRange& of) const {
    return magic == of.magic && version == of.version && first <= last && last != UINT64_MAX;
  }
  uint64_t size() const { return last - first + 1; }
};

inline LimeRange lime_range(std::span<const std::byte, kLimeHeader> bytes) {
  constexpr auto kOrder = format::ByteOrder::little;
  return {format::load<uint32_t>(&bytes[0], kOrder), format::load<uint32_t>(&bytes[4], kOrder),
          format::load<uint64_t>(&bytes[8], kOrder), format::load<uint64_t>(&bytes[16], kOrder)};
}

/// Ranges that AVML had found to be zeros: some of its versions write the header of such a range and nothing after it,
/// so that the next header follows. It does so of 16 MiB at most. (src/image.rs: copy_if_nonzero)
class LeftOutZeros {
 public:
  /// Whether `range`, whose header ends at `end`, is one.
  static bool is_one(const Source& source, const LimeRange& range, uint64_t end);
  void add(const LimeRange& range) {
    ++count_;
    bytes_ += range.size();
  }
  void tell(std::vector<std::string>& notices) const;

 private:
  size_t count_ = 0;
  uint64_t bytes_ = 0;
};

/// By where memory is, and where that leaves it open by what a Linux kernel of aarch64 starts with; else x86_64, as
/// such images are mostly of that. The headers' offsets count in `source`.
format::Machine machine_of_kernel(const Source& source, std::span<const ProgramHeader> headers);

}  // namespace gcore::reader
