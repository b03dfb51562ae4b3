// Streams of compressed bytes, unpacked from front to end. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "reader/error.h"

namespace gcore::reader {

enum class Packing : uint8_t { none, gzip, zlib, zstd, xz, bzip2, lzop };

/// By the first bytes of a file that a dump may be packed in: whatever is neither gzip nor zstd is `none`.
Packing packing_of(std::span<const std::byte> start);

/// What its program is called, or the library; "none".
const char* to_string(Packing packing);

/// A decompressor of streams; that of Packing::none copies.
class Decoder {
 public:
  enum class State : uint8_t { more, end, damaged, wrong_checksum };
  virtual ~Decoder() = default;
  virtual const char* name() const = 0;
  /// Takes bytes off the front of `in` and puts bytes at the front of `out`, of which it returns the number. `state`
  /// becomes `end` when a stream is complete (another one may follow), `damaged` when it makes no sense, and
  /// `wrong_checksum` when all of it was unpacked, and the checksum at its end is of something else.
  virtual size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) = 0;
  virtual bool within_stream() const = 0;  // input that ends now ends early
};

/// Fails for what a build, or the system, has not the library of. The error then ends with `instead`: what to do;
/// empty: how a file that is nothing else is unpacked.
Expected<std::unique_ptr<Decoder>> new_decoder(Packing packing, std::string_view instead = "");

/// The warnings for a stream of which only the first `bytes` unpacked bytes can be had. has_wrong_checksum: all that it
/// holds was unpacked, but is not what was packed; where it differs nobody can tell.
std::string ends_early(const char* packing, uint64_t bytes);
std::string is_damaged(const char* packing, uint64_t bytes);
std::string has_wrong_checksum(const char* packing, uint64_t bytes);

/// Whether zlib's words for what is wrong with a stream (z_stream::msg) are those of a checksum.
bool is_wrong_gzip_checksum(const char* words);

}  // namespace gcore::reader
