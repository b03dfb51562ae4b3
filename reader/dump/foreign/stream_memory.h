// Guest memory in a QEMU migration stream, read where it is: an index of the stream's pages. Private to the reader.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "reader/dump/qemu_stream.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// Where the pages of each block stand. Takes 24 bytes for each run of pages that stand one after the other.
class StreamIndex final : public StreamMemory {
 public:
  /// Pages of a block, `stride` bytes from the one to the next; or, with a stride of 0, all of one byte, `place`.
  struct Run {
    uint64_t page = 0, place = 0;
    uint32_t count = 0, stride = 0;
    uint64_t end() const { return page + count; }
  };
  using Runs = std::vector<Run>;

  /// `stream` for the bitmaps of mapped memory; it must outlive the index's making.
  explicit StreamIndex(const Source& stream) : stream_(stream) {}

  Expected<void> begin(std::span<const StreamBlock> blocks) override;
  Expected<void> page(size_t block, uint64_t offset, std::span<const std::byte> bytes, uint64_t place) override;
  Expected<void> fill(size_t block, uint64_t offset, std::byte value) override;
  Expected<void> mapped(size_t block, uint64_t bitmap, uint64_t pages) override;

  /// For each block its runs by page, none overlapping: of pages that came more than once, the last. Leaves out pages
  /// of zeros, unless `keep_zeros`.
  std::vector<Runs> finish(bool keep_zeros);

 private:
  Expected<void> add(size_t block, Run run);

  const Source& stream_;
  std::vector<Runs> blocks_;
  std::vector<uint64_t> pages_;  // of each block
  size_t runs_ = 0;
};

/// A part of a block at a place in guest-physical memory. In whole pages.
struct PlacedBlock {
  uint64_t address = 0, size = 0;
  size_t block = 0;
  uint64_t offset = 0;  // in the block
};

/// Memory whose offsets are guest-physical addresses.
class StreamMemorySource : public Source {
 public:
  /// Has it elsewhere from now on, as stream_source(). Nobody may read meanwhile.
  virtual void place(std::vector<PlacedBlock> places) = 0;
};

/// `places` ascend and do not overlap. Pages without a run are zeros; when the stream is not `complete` they are lost.
std::unique_ptr<StreamMemorySource> stream_source(std::unique_ptr<Source> stream, std::vector<StreamIndex::Runs> blocks,
                                                  std::vector<PlacedBlock> places, bool complete);

}  // namespace gcore::reader
