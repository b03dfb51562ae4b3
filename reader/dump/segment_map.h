// Which segment a byte of guest memory is read from. Private to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/source/source.h"

namespace gcore::reader {

/// The segments, and an index of disjoint pieces over them. Building takes O(n log n), looking up O(log n), in the
/// number of segments, however these overlap; where they are of about one size, a look-up takes the same time whatever
/// their number.
class SegmentMap {
 public:
  SegmentMap() = default;

  /// `segments` in the order of the program header table, none empty and none wrapping. Overlaps go to `warnings`.
  /// `unreadable` as in DumpInfo::missing: what the file has there is not what the guest had.
  SegmentMap(const Source& source, std::vector<Segment> segments, std::vector<DumpInfo::Range> unreadable,
             std::vector<std::string>& warnings);

  std::span<const Segment> segments() const { return segments_; }  // by address, then by index
  std::span<const Segment> aliases() const { return aliases_; }    // likewise
  uint64_t bytes() const { return bytes_; }
  const Segment* segment_at(PhysAddr address) const;

  ReadResult read(const Source& source, PhysAddr address, std::span<std::byte> into) const;
  void expect(const Source& source, PhysAddr address) const;
  View view(const Source& source, PhysAddr address, size_t size) const;
  std::optional<Dump::Extent> next_extent(const Source& source, PhysAddr address) const;
  std::optional<Dump::Extent> next_missing(const Source& source, PhysAddr address) const;

 private:
  /// A part of a segment, all of which is of one kind. Where parts overlap, the least kind counts; among those of one
  /// kind the segment that comes first in the program header table.
  struct Part {
    enum class Kind : uint8_t { stored, zero_filled, left_out, truncated };
    uint64_t first, last;
    uint32_t segment;
    Kind kind;
  };
  /// [first, last] is read from segments_[segment]; what reading needs of that stands here, in the same cache line.
  struct alignas(64) Piece {
    uint64_t first, last;
    uint64_t address, file_size;
    FileOffset offset;
    uint32_t segment;
  };
  void make_index();
  std::vector<Piece>::const_iterator piece_from(uint64_t address) const;  // the one that has it, or the next one
  /// The unreadable range that has the address, or the next one.
  std::vector<DumpInfo::Range>::const_iterator unreadable_from(PhysAddr address) const;
  Missing why_unreadable(PhysAddr address) const;  // of an address in an unreadable range
  ReadResult read_file(const Source& source, PhysAddr address, std::span<std::byte> into) const;
  std::optional<Dump::Extent> extent_in_file(const Source& source, PhysAddr address, bool find_holes) const;
  /// Cuts an extent of the file at the unreadable ranges.
  Dump::Extent without_unreadable(Dump::Extent extent) const;
  void set_aliases_apart();
  static bool shows_again(const Segment& segment, const Segment& whole);
  std::vector<Part> parts(const Source& source) const;
  void split_overlaps(std::vector<Part> parts, std::vector<std::string>& warnings);
  void add_piece(uint64_t first, uint64_t last, uint32_t segment);

  std::vector<Segment> segments_, aliases_;
  std::vector<Piece> pieces_;
  std::vector<uint32_t> buckets_;  // equal shares of the addresses that pieces_ span: the first piece that ends there
                                   // or later; one more at the end
  unsigned bucket_shift_ = 0;
  uint64_t pieces_a_byte_ = 0;  // on average, in 1/2^64
  std::vector<DumpInfo::Range> unreadable_;
  uint64_t bytes_ = 0;
};

}  // namespace gcore::reader
