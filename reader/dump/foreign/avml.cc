// AVML's images of version 2: for each range of memory LiME's header with a magic of its own, a snappy stream of its
// bytes, and the stream's size (u64). (AVML: src/image.rs. snappy: framing_format.txt, format_description.txt)
#include <fmt/format.h>
#ifdef GCORE_WITH_SNAPPY
#include <snappy-c.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "reader/dump/foreign/foreign.h"
#include "reader/dump/foreign/lime_range.h"
#include "reader/source/block_source.h"
#include "reader/source/loaded_library.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

#ifdef GCORE_WITH_SNAPPY

struct Snappy {
  LoadedLibrary library{GCORE_SNAPPY_SONAME};
  decltype(&snappy_uncompressed_length) uncompressed_length = library.find("snappy_uncompressed_length");
  decltype(&snappy_uncompress) uncompress = library.find("snappy_uncompress");
};

constexpr uint8_t kCompressed = 0x00, kPlain = 0x01, kFirstSkipped = 0x80, kStreamStart = 0xff;
constexpr size_t kChunkHeader = 4, kSum = 4, kMostUnpacked = 64 << 10;
constexpr std::string_view kName = "sNaPpY";

/// CRC-32C, a bit at a time into a table.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    table[byte] = byte;
    for (int bit = 0; bit < 8; ++bit) table[byte] = table[byte] >> 1 ^ ((table[byte] & 1) != 0 ? 0x82f63b78 : 0);
  }
  return table;
}();

/// As a chunk has it: turned and shifted, so that the sum of data with sums in it is none that stands in it.
uint32_t masked_sum(std::span<const std::byte> bytes) {
  uint32_t sum = UINT32_MAX;
  for (const std::byte byte : bytes) sum = kCrcTable[(sum ^ static_cast<uint8_t>(byte)) & 0xff] ^ sum >> 8;
  sum = ~sum;
  return (sum >> 15 | sum << 17) + 0xa282ead8;
}

struct Chunk {
  uint8_t kind = 0;
  uint64_t size = 0;      // with its header
  uint64_t unpacked = 0;  // of what is memory
};

/// Nothing where there is no chunk that makes sense.
std::optional<Chunk> chunk_at(const Snappy& snappy, const Source& source, uint64_t at) {
  std::array<std::byte, kChunkHeader + kSum + 6> bytes{};
  const size_t got = source.read(FileOffset(at), bytes).bytes;
  if (got < kChunkHeader) return std::nullopt;
  const auto word = format::load<uint32_t>(bytes.data(), format::ByteOrder::little);
  Chunk chunk{static_cast<uint8_t>(word), kChunkHeader + (word >> 8), 0};
  const uint64_t data = word >> 8;
  if (chunk.size > source.size() - at) return std::nullopt;
  if (chunk.kind == kStreamStart)
    return data == kName.size() && std::memcmp(&bytes[kChunkHeader], kName.data(), kName.size()) == 0
               ? std::optional(chunk)
               : std::nullopt;
  if (chunk.kind >= kFirstSkipped) return chunk;
  if (chunk.kind > kPlain || data < kSum || got < kChunkHeader + kSum) return std::nullopt;
  chunk.unpacked = data - kSum;
  size_t length = 0;
  if (chunk.kind == kCompressed) {
    const size_t there = std::min<size_t>(got - kChunkHeader, data) - kSum;
    if (snappy.uncompressed_length(reinterpret_cast<const char*>(&bytes[kChunkHeader + kSum]), there, &length) !=
        SNAPPY_OK)
      return std::nullopt;
    chunk.unpacked = length;
  }
  return chunk.unpacked <= kMostUnpacked ? std::optional(chunk) : std::nullopt;
}

/// Each chunk is a block: all ranges one after the other are the unpacked bytes.
class AvmlSource final : public BlockSource {
 public:
  AvmlSource(const Snappy& snappy, std::unique_ptr<Source> file, std::vector<Block> blocks, uint64_t size)
      : snappy_(snappy), file_(std::move(file)) {
    set_blocks(std::move(blocks), size);
  }
  uint64_t file_end() const override { return file_->file_end(); }
  std::string trouble() const override { return file_->trouble(); }

 private:
  int unpack(size_t block, std::span<std::byte> into) const override {
    const uint64_t at = blocks()[block].packed;
    const auto chunk = chunk_at(snappy_, *file_, at);
    if (!chunk || chunk->unpacked != into.size()) return EBADMSG;
    std::vector<std::byte> packed(chunk->size - kChunkHeader);
    const Result got = file_->read(FileOffset(at + kChunkHeader), packed);
    if (got.bytes != packed.size()) return got.error != 0 ? got.error : EBADMSG;
    const auto data = std::span(packed).subspan(kSum);
    size_t size = into.size();
    if (chunk->kind == kPlain) {
      std::ranges::copy(data, into.begin());
    } else if (snappy_.uncompress(reinterpret_cast<const char*>(data.data()), data.size(),
                                  reinterpret_cast<char*>(into.data()), &size) != SNAPPY_OK ||
               size != into.size()) {
      return EBADMSG;
    }
    return format::load<uint32_t>(packed.data(), format::ByteOrder::little) == masked_sum(into) ? 0 : EBADMSG;
  }
  Place place_of(size_t block) const override {
    const auto chunk = chunk_at(snappy_, *file_, blocks()[block].packed);
    return {blocks()[block].packed, chunk ? chunk->size : kChunkHeader};
  }

  const Snappy& snappy_;
  std::unique_ptr<Source> file_;
};

class AvmlIndex {
 public:
  AvmlIndex(const Snappy& snappy, const Source& file) : snappy_(snappy), file_(file) {}

  /// Takes what makes sense. False when the file is damaged from at() on.
  bool take_range(ForeignDump& dump) {
    std::array<std::byte, kLimeHeader> bytes{};
    if (file_.read(FileOffset(at_), bytes).bytes != bytes.size()) return false;
    const LimeRange range = lime_range(bytes);
    if (!range.makes_sense({kAvmlMagic, 2, 0, 0}) || dump.elf.headers.size() == kMaxProgramHeaders) return false;
    dump.elf.headers.push_back(load_segment(unpacked_, range.first, range.size()));
    at_ += kLimeHeader;
    return LeftOutZeros::is_one(file_, range, at_) ? take_zeros(range) : take_stream(range.size());
  }
  uint64_t at() const { return at_; }
  uint64_t unpacked() const { return unpacked_; }
  std::vector<Block> take_blocks() { return std::move(blocks_); }

  void tell_zeros(std::vector<std::string>& notices) const { zeros_.tell(notices); }

 private:
  bool take_zeros(const LimeRange& range) {
    blocks_.push_back({.begin = unpacked_, .packed = at_, .kind = Block::Kind::zero});
    unpacked_ += range.size();
    zeros_.add(range);
    return true;
  }

  bool take_stream(uint64_t size) {
    const uint64_t start = at_, end = unpacked_ + size;
    while (unpacked_ < end) {
      const auto chunk = chunk_at(snappy_, file_, at_);
      if (!chunk || chunk->unpacked > end - unpacked_) return false;
      if (chunk->unpacked > 0) blocks_.push_back({.begin = unpacked_, .packed = at_});
      unpacked_ += chunk->unpacked;
      at_ += chunk->size;
    }
    std::array<std::byte, 8> told{};
    if (file_.read(FileOffset(at_), told).bytes != told.size() ||
        format::load<uint64_t>(told.data(), format::ByteOrder::little) != at_ - start)
      return false;
    at_ += told.size();
    return true;
  }

  const Snappy& snappy_;
  const Source& file_;
  uint64_t at_ = 0, unpacked_ = 0;
  std::vector<Block> blocks_;
  LeftOutZeros zeros_;
};

#endif

}  // namespace

Expected<ForeignDump> open_avml(std::unique_ptr<Source> source) {
#ifdef GCORE_WITH_SNAPPY
  const auto* snappy = loaded<Snappy>();
  if (snappy == nullptr)
    return std::unexpected(Error{Error::Kind::unsupported,
                                 "it is an AVML image of version 2, compressed with snappy, and " GCORE_SNAPPY_SONAME
                                 ", which unpacks that, is not installed (Debian: " GCORE_SNAPPY_PACKAGE
                                 "); unpack it: avml-convert FILE IMAGE.lime"});
  ForeignDump dump;
  dump.format = "AVML image";
  AvmlIndex index(*snappy, *source);
  while (index.at() < source->size()) {
    if (index.take_range(dump)) continue;
    dump.warnings.push_back(
        fmt::format("the image is damaged, or ends early, at offset {}; what follows is lost", index.at()));
    break;
  }
  if (index.unpacked() == 0)
    return std::unexpected(
        Error{Error::Kind::malformed, fmt::format("the range of memory at offset {} makes no sense", index.at())});
  const uint64_t size = index.unpacked();
  dump.has_file_offsets = false;
  dump.packing = "snappy";
  dump.memory = std::make_unique<AvmlSource>(*snappy, std::move(source), index.take_blocks(), size);
  dump.elf.machine = machine_of_kernel(*dump.memory, dump.elf.headers);
  index.tell_zeros(dump.notices);
  dump.notices.push_back("the dump has no vCPUs: an AVML image has memory only");
  return dump;
#else
  static_cast<void>(source);
  return std::unexpected(Error{Error::Kind::unsupported,
                               "it is an AVML image of version 2, compressed with snappy, and this program was built "
                               "without snappy; unpack it: avml-convert FILE IMAGE.lime"});
#endif
}

}  // namespace gcore::reader
