// Compressed files for tests, in every shape that programs give them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

/// One gzip member.
std::string gzip_member(std::string_view bytes, int level = 6);

/// One gzip member whose data is a single deflate block: `count` times the character.
std::string gzip_of_one_block(char character, size_t count);

/// One zstd frame, which says how many bytes it holds or does not.
std::string zstd_frame(std::string_view bytes, bool says_size = true);

/// A frame that decompressors skip.
std::string skippable_frame(std::string_view bytes, uint32_t magic = 0x184d2a50);

/// The seek table of zstd's seekable format for frames of these sizes.
struct FrameSizes {
  uint32_t packed, plain;
};
std::string seek_table(const std::vector<FrameSizes>& frames);

/// Bytes in pieces, each packed by itself.
template <class Pack>
std::string in_pieces(std::string_view bytes, size_t piece, Pack pack) {
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += piece) out += pack(bytes.substr(at, piece));
  return out;
}

/// The seekable format: frames of `piece` bytes and a table.
std::string zstd_seekable(std::string_view bytes, size_t piece = size_t{1} << 20);

/// makedumpfile's flattened format.
std::string flattened(std::string_view bytes, size_t piece = 5000);

/// An unnamed file with these bytes.
int file_of(std::string_view bytes);

}  // namespace gcore::tests
