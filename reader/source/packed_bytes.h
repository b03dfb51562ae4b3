// Compressed bytes in memory, unpacked at once into memory: for files that are small beside a dump. Private to the
// reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "reader/error.h"
#include "reader/source/decoder.h"

namespace gcore::reader {

/// gzip, zstd or xz, by the first bytes of a file.
std::optional<Packing> packed_by(std::span<const std::byte> start);

/// What `bytes` unpack to. Memory grows with what is unpacked, and not with what a header promises. Where that would be
/// more than `limit` bytes it is an error, or, with Beyond::cut, the first `limit` bytes.
///
/// Error: damaged, ends early, more than `limit`, or of a kind that this build cannot unpack (Kind::unsupported). A
/// clause: "its gzip data is damaged".
enum class Beyond : uint8_t { fail, cut };
Expected<std::vector<std::byte>> unpack_bytes(Packing how, std::span<const std::byte> bytes, uint64_t limit,
                                              Beyond beyond = Beyond::fail);

}  // namespace gcore::reader
