// The files of lzop, whose blocks lzo unpacks. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "reader/source/decoder.h"

namespace gcore::reader {

/// What unpacks a block. Only for builds with lzo.
struct Lzo;

/// The library, loaded by the first call; null if it is not there.
const Lzo* lzo();

/// The format is lzop's own (its src/p_lzo.c and conf.h): a header with flags, then blocks, each with its two sizes
/// and, as the flags say, checksums of its bytes unpacked and packed; a block of no bytes ends a stream. Blocks are at
/// most 64 MiB. Only for builds with lzo.
class LzopDecoder : public Decoder {
 public:
  explicit LzopDecoder(const Lzo& lzo) : lzo_(lzo) {}
  const char* name() const override { return "lzop"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override;
  bool within_stream() const override { return part_ != Part::start || !taken_.empty(); }

 private:
  enum class Part : uint8_t { start, header, name, block, bytes };

  bool take(std::span<const std::byte>& in, size_t size);
  uint32_t number(size_t at) const;
  size_t numbers_of_block() const;
  State read_header();
  State read_name();
  State read_block();
  State unpack_block();

  const Lzo& lzo_;
  Part part_ = Part::start;
  std::vector<std::byte> taken_;  // of what is read next
  std::vector<std::byte> block_;  // unpacked
  size_t given_ = 0;              // of it
  uint32_t flags_ = 0, unpacked_ = 0, packed_ = 0;
  size_t header_ = 0, wanted_ = 0;
  uint32_t sums_[4] = {};  // Adler-32 and CRC-32 unpacked, the same packed
};

}  // namespace gcore::reader
