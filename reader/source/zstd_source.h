// zstd files (RFC 8878) that are read in place. Private to the reader; empty in a build without zstd.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "reader/source/block_source.h"

namespace gcore::reader {

/// One or more zstd frames, each of which is a block. In the seekable format (contrib/seekable_format in zstd's
/// sources) a table at the end has their sizes, and opening reads nothing else. Without it a pass goes from frame
/// header to frame header, and unpacks only frames that do not say how much they hold.
class ZstdSource final : public BlockSource {
 public:
  /// As GzipSource::open: nullptr, with `file` untouched, when a frame holds more than kMaxBlock, as `zstd FILE` makes
  /// it.
  static Expected<std::unique_ptr<ZstdSource>> open(std::unique_ptr<Source>& file, const OnProgress& progress,
                                                    std::vector<std::string>& warnings);

  std::string trouble() const override { return file_->trouble(); }

 private:
  ZstdSource(std::unique_ptr<Source> file, std::vector<Block> blocks, uint64_t size, uint64_t packed_end, bool cut);
  int unpack(size_t block, std::span<std::byte> into) const override;
  bool surely_zero(size_t block) const override;
  Place place_of(size_t block) const override;
  uint64_t packed_size(size_t block) const;

  std::unique_ptr<Source> file_;
  uint64_t packed_end_;  // where the last frame ends
  bool cut_;             // the last frame ends early

  mutable std::mutex zero_mutex_;              // of what follows
  mutable std::vector<std::byte> zero_frame_;  // the last one that was found to hold only zeros
  mutable uint64_t zero_size_ = 0;
  mutable std::unordered_set<size_t> not_zero_;  // blocks as small that hold something else
};

}  // namespace gcore::reader
