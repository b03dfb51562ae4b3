// Compressed containers that are read in place: an index of blocks, each of which can be unpacked by itself, and a
// cache of the last ones that were. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "reader/source/source.h"

namespace gcore::reader {

/// No block is larger, or the container is unpacked into a temporary file instead: a read unpacks a whole block.
inline constexpr uint64_t kMaxBlock = uint64_t{32} << 20;

/// Bytes that unpacked blocks may take in all. With one large block being unpacked and a small one per thread beside it
/// this bounds the memory of an open container, but for its index.
inline constexpr uint64_t kBlockCache = uint64_t{64} << 20;

/// Called during a pass over a container: bytes of the file that are done, and of how many.
using OnProgress = std::function<void(uint64_t done, uint64_t total)>;

/// A part of the unpacked bytes; it ends where the next one begins.
struct Block {
  uint64_t begin = 0;   // in the unpacked bytes
  uint64_t packed = 0;  // where it stands in the file
  uint32_t window = 0;  // gzip: number of the 32 KiB before it, as in GzipSource
  uint8_t bits = 0;     // gzip: bits of the byte before `packed` that belong to it
  enum class Kind : uint8_t { stream, inside, zero } kind = Kind::stream;  // zero: of any size, and never unpacked
};

class BlockSource : public Source {
 public:
  uint64_t size() const override { return size_; }
  Result read(FileOffset offset, std::span<std::byte> into) const override;
  FileOffset next_hole(FileOffset offset) const override;
  FileOffset next_data(FileOffset offset) const override;
  std::optional<PinnedBytes> pin(FileOffset offset, size_t size) const override;
  std::vector<Damage> check(const std::function<void(uint64_t, uint64_t)>& progress) const override;

 protected:
  /// `blocks` ascend, begin at 0, and are none empty; `size` is where the last one ends.
  void set_blocks(std::vector<Block> blocks, uint64_t size);
  const std::vector<Block>& blocks() const { return blocks_; }
  uint64_t size_of(size_t block) const;

  /// Fills `into`, which has the block's size, or gives an errno. Called by several threads at once.
  virtual int unpack(size_t block, std::span<std::byte> into) const = 0;

  /// Where the block stands in the file. Unless said otherwise: up to where the next one begins.
  virtual Place place_of(size_t block) const;

  /// Whether a block that is not of kind zero is known to be zeros without unpacking it.
  virtual bool surely_zero(size_t) const { return false; }

 private:
  using Bytes = std::shared_ptr<const std::byte[]>;
  struct Cached {
    size_t block;
    Bytes bytes;
  };

  size_t block_at(uint64_t offset) const;
  bool zero(size_t block) const { return blocks_[block].kind == Block::Kind::zero || surely_zero(block); }
  Bytes cached(size_t block) const;
  Bytes get(size_t block, int& error) const;  // nothing with an errno
  void keep(size_t block, const Bytes& bytes) const;

  std::vector<Block> blocks_;
  uint64_t size_ = 0;

  mutable std::mutex mutex_;        // of what follows
  mutable std::list<Cached> used_;  // the last used one first
  mutable std::unordered_map<size_t, std::list<Cached>::iterator> places_;
  mutable uint64_t cached_bytes_ = 0;
  mutable std::mutex one_large_;  // held while a large block is unpacked, so that threads do not add them up
};

}  // namespace gcore::reader
