#include "reader/source/zstd_source.h"

#ifdef GCORE_WITH_ZSTD

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <optional>
#include <utility>

#include "reader/source/decoder.h"
#include "writer/base/sparse_file.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr uint32_t kFrameMagic = 0xfd2fb528, kSkippableMagic = 0x184d2a50, kSkippableMask = 0xfffffff0,
                   kTableMagic = 0x184d2a5e, kSeekableMagic = 0x8f92eab1;
constexpr uint64_t kSkippableHeader = 8, kTableFooter = 9, kMaxFrameHeader = 18;
/// A frame that takes more than what it holds, and this, was not made by a compressor.
constexpr uint64_t kOverhead = uint64_t{1} << 20;
constexpr uint64_t kTiny = 128;  // a frame of zeros has 20 to 60 bytes per MiB
/// More than so many bytes can hold: each of its blocks takes 4 bytes at least, and holds 128 KiB at most.
constexpr uint64_t kTinyHolds = kTiny / 4 * (uint64_t{128} << 10);

uint32_t u32(const std::byte* from) { return format::load<uint32_t>(from, format::ByteOrder::little); }

struct Index {
  std::vector<Block> blocks;
  uint64_t size = 0, packed_end = 0;
  bool cut = false;
};

using Context = std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)>;
Context new_context() { return {ZSTD_createDCtx(), ZSTD_freeDCtx}; }

/// The index from the table at the end; nothing when there is none, or one that cannot be true.
std::optional<Index> index_from_table(const Source& file, std::vector<std::string>& warnings) {
  std::array<std::byte, kTableFooter> footer;
  if (file.size() < kSkippableHeader + kTableFooter) return std::nullopt;
  if (file.read(FileOffset(file.size() - kTableFooter), footer).bytes != kTableFooter) return std::nullopt;
  if (u32(&footer[5]) != kSeekableMagic) return std::nullopt;
  const auto nonsense = [&](const char* why) {
    warnings.push_back(fmt::format("the seek table of the zstd data is not used: {}", why));
    return std::nullopt;
  };
  const uint64_t count = u32(&footer[0]);
  const uint64_t entry = (static_cast<uint8_t>(footer[4]) & 0x80) != 0 ? 12 : 8;
  const uint64_t table_size = kSkippableHeader + count * entry + kTableFooter;
  if (table_size > file.size()) return nonsense("it is larger than the file");
  std::vector<std::byte> table(table_size);
  const uint64_t table_at = file.size() - table_size;
  if (file.read(FileOffset(table_at), table).bytes != table_size) return nonsense("it cannot be read");
  if (u32(&table[0]) != kTableMagic || u32(&table[4]) != table_size - kSkippableHeader)
    return nonsense("its size and its number of frames do not agree");
  Index index;
  index.blocks.reserve(count);
  for (const std::byte* from = &table[kSkippableHeader]; from != &table[kSkippableHeader + count * entry];
       from += entry) {
    if (const uint64_t size = u32(from + 4); size != 0) {
      index.blocks.push_back({.begin = index.size, .packed = index.packed_end});
      index.size += size;
    }
    index.packed_end += u32(from);
  }
  if (index.packed_end != table_at) return nonsense("the sizes of its frames do not add up to the size of the file");
  return index;
}

/// What stands before a frame's first block.
struct FrameHeader {
  uint64_t size = 0;                // of the header itself
  std::optional<uint64_t> content;  // bytes that the frame holds, if it says so
  bool checksum = false;
};

/// RFC 8878, 3.1.1.1. Nothing when these bytes are no frame header, or do not have all of it.
std::optional<FrameHeader> parse_frame_header(std::span<const std::byte> from) {
  if (from.size() < 6 || u32(from.data()) != kFrameMagic) return std::nullopt;
  const auto descriptor = static_cast<uint8_t>(from[4]);
  const bool single = (descriptor & 0x20) != 0;
  const unsigned content_flag = descriptor >> 6;
  const size_t content_bytes = content_flag == 0 ? (single ? 1 : 0) : size_t{1} << content_flag;
  constexpr size_t kDictionaryBytes[] = {0, 1, 2, 4};
  const size_t content_at = 5 + (single ? 0 : 1) + kDictionaryBytes[descriptor & 3];
  FrameHeader header{.size = content_at + content_bytes, .content = {}, .checksum = (descriptor & 4) != 0};
  if (header.size > from.size()) return std::nullopt;
  uint64_t content = 0;
  for (size_t i = 0; i < content_bytes; ++i) content |= uint64_t{static_cast<uint8_t>(from[content_at + i])} << (8 * i);
  if (content_bytes == 2) content += 256;
  if (content_bytes != 0) header.content = content;
  return header;
}

/// The pass over frames without a table.
class FrameWalk {
 public:
  FrameWalk(const Source& file, const OnProgress& progress, std::vector<std::string>& warnings)
      : file_(file), progress_(progress), warnings_(warnings) {}

  /// Nothing when a frame is too large.
  Expected<std::optional<Index>> run() {
    while (at_ < file_.size()) {
      std::array<std::byte, kMaxFrameHeader> bytes;
      const Source::Result got = file_.read(FileOffset(at_), bytes);
      if (got.error != 0) return unreadable(got.error);
      const auto start = std::span(bytes).first(got.bytes);
      if (start.size() >= kSkippableHeader && (u32(start.data()) & kSkippableMask) == kSkippableMagic) {
        at_ += kSkippableHeader + u32(&start[4]);
        if (at_ > file_.size())  // a seek table, as a rule, without which all that comes before is there
          warnings_.push_back(fmt::format(
              "the file ends {} byte{} early, within the last frame of the zstd data, which holds no memory",
              at_ - file_.size(), at_ - file_.size() == 1 ? "" : "s"));
        continue;
      }
      const auto header = parse_frame_header(start);
      if (!header) {
        const bool ends = start.size() < kMaxFrameHeader && start.size() < 6;
        return stop(ends ? ends_early : is_damaged);
      }
      if (header->content && *header->content > kMaxBlock) return std::nullopt;
      const auto end = frame_end(*header);
      if (!end) return unreadable(error_);
      const bool cut = *end > file_.size();
      uint64_t holds = header->content.value_or(0);
      bool damaged = false;
      if (*end - at_ > kMaxBlock + kOverhead) return std::nullopt;
      if (!header->content || cut) {
        const auto counted = count(std::min(*end, file_.size()));
        if (!counted) return std::nullopt;
        holds = counted->bytes;
        damaged = !cut && !counted->complete;
      }
      if (holds != 0) index_.blocks.push_back({.begin = index_.size, .packed = at_});
      index_.size += holds;
      index_.packed_end = std::min(*end, file_.size());
      index_.cut = (cut || damaged) && holds != 0;
      if (damaged) return stop(is_damaged);
      if (cut) return stop(ends_early);
      at_ = *end;
      if (progress_ && at_ - reported_ >= (uint64_t{8} << 20)) progress_(reported_ = at_, file_.size());
    }
    return std::move(index_);
  }

 private:
  static std::unexpected<Error> unreadable(int error) {
    return std::unexpected(Error{Error::Kind::io, fmt::format("it cannot be read: {}", words_of(error))});
  }

  std::optional<Index> stop(std::string (*sentence)(const char*, uint64_t)) {
    warnings_.push_back(sentence("zstd", index_.size));
    return std::move(index_);
  }

  /// Where the frame's last block, and its checksum, end: perhaps after the end of the file. Each block has a header
  /// of 3 bytes: bit 0 the last one, bits 1 and 2 the type, then the size. Nothing when it cannot be read (error_).
  std::optional<uint64_t> frame_end(const FrameHeader& header) {
    uint64_t at = at_ + header.size;
    while (at < file_.size() && at - at_ <= kMaxBlock + kOverhead) {
      std::array<std::byte, 4> bytes{};
      const Source::Result got = file_.read(FileOffset(at), std::span(bytes).first(3));
      if (got.error != 0) {
        error_ = got.error;
        return std::nullopt;
      }
      const uint32_t block = u32(bytes.data());
      const bool run = (block >> 1 & 3) == 1;  // one byte, repeated
      at += 3 + (run ? 1 : block >> 3);
      if ((block & 1) != 0) return at + (header.checksum ? 4 : 0);
    }
    return std::max(at, file_.size() + 1);
  }

  struct Counted {
    uint64_t bytes = 0;
    bool complete = false;
  };

  /// How many bytes the frame that ends at `end` (or is cut there) holds; nothing when more than kMaxBlock.
  std::optional<Counted> count(uint64_t end) {
    if (!context_) {
      context_ = new_context();
      in_.resize(ZSTD_DStreamInSize());
      out_.resize(ZSTD_DStreamOutSize());
    }
    if (context_) ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
    Counted holds;
    for (uint64_t at = at_; context_ && at < end;) {
      const auto wanted = std::span(in_).first(static_cast<size_t>(std::min<uint64_t>(in_.size(), end - at)));
      const Source::Result got = file_.read(FileOffset(at), wanted);
      if (got.bytes == 0) break;
      at += got.bytes;
      ZSTD_inBuffer from{in_.data(), got.bytes, 0};
      ZSTD_outBuffer to{out_.data(), out_.size(), 0};
      do {
        to.pos = 0;
        const size_t left = ZSTD_decompressStream(context_.get(), &to, &from);
        holds.bytes += to.pos;
        holds.complete = left == 0;
        if (holds.bytes > kMaxBlock) return std::nullopt;
        if (ZSTD_isError(left) || left == 0) return holds;
      } while (from.pos < from.size || to.pos == to.size);
    }
    return holds;
  }

  const Source& file_;
  const OnProgress& progress_;
  std::vector<std::string>& warnings_;
  Index index_;
  Context context_{nullptr, ZSTD_freeDCtx};  // for count(), made when it is needed first
  std::vector<std::byte> in_, out_;
  uint64_t at_ = 0, reported_ = 0;
  int error_ = 0;
};

}  // namespace

Expected<std::unique_ptr<ZstdSource>> ZstdSource::open(std::unique_ptr<Source>& file, const OnProgress& progress,
                                                       std::vector<std::string>& warnings) {
  auto index = index_from_table(*file, warnings);
  if (!index) {
    auto walked = FrameWalk(*file, progress, warnings).run();
    if (!walked) return std::unexpected(walked.error());
    index = std::move(*walked);
    if (index && progress) progress(file->size(), file->size());
  }
  if (!index) return nullptr;
  for (size_t i = 0; i < index->blocks.size(); ++i) {
    const Block& block = index->blocks[i];
    const bool last = i + 1 == index->blocks.size();
    if ((last ? index->size : index->blocks[i + 1].begin) - block.begin > kMaxBlock) return nullptr;
    if ((last ? index->packed_end : index->blocks[i + 1].packed) - block.packed > kMaxBlock + kOverhead) return nullptr;
  }
  return std::unique_ptr<ZstdSource>(
      new ZstdSource(std::move(file), std::move(index->blocks), index->size, index->packed_end, index->cut));
}

ZstdSource::ZstdSource(std::unique_ptr<Source> file, std::vector<Block> blocks, uint64_t size, uint64_t packed_end,
                       bool cut)
    : file_(std::move(file)), packed_end_(packed_end), cut_(cut) {
  set_blocks(std::move(blocks), size);
}

uint64_t ZstdSource::packed_size(size_t block) const {
  return (block + 1 < blocks().size() ? blocks()[block + 1].packed : packed_end_) - blocks()[block].packed;
}

Source::Place ZstdSource::place_of(size_t block) const { return {blocks()[block].packed, packed_size(block)}; }

int ZstdSource::unpack(size_t block, std::span<std::byte> into) const {
  std::vector<std::byte> packed(static_cast<size_t>(packed_size(block)));
  const Result got = file_->read(FileOffset(blocks()[block].packed), packed);
  if (got.bytes != packed.size()) return got.error != 0 ? got.error : EBADMSG;
  const Context context = new_context();
  if (!context) return ENOMEM;
  if (cut_ && block + 1 == blocks().size()) {
    ZSTD_inBuffer from{packed.data(), packed.size(), 0};
    ZSTD_outBuffer to{into.data(), into.size(), 0};
    while (to.pos < to.size) {
      const size_t before = to.pos + from.pos;
      if (ZSTD_isError(ZSTD_decompressStream(context.get(), &to, &from)) || to.pos + from.pos == before) break;
    }
    return to.pos == to.size ? 0 : EBADMSG;
  }
  const size_t size = ZSTD_decompressDCtx(context.get(), into.data(), into.size(), packed.data(), packed.size());
  return ZSTD_isError(size) || size != into.size() ? EBADMSG : 0;
}

/// Looks only at frames that are so small that hardly anything else fits into them, and at each once: who goes over all
/// of memory asks for a block up to a hundred times. A writer makes frames of zeros all alike, so that after the first
/// one it is enough to compare them.
bool ZstdSource::surely_zero(size_t block) const {
  const uint64_t size = size_of(block), tiny = packed_size(block);
  if (tiny > kTiny || size < (uint64_t{64} << 10) || size > kTinyHolds) return false;
  std::vector<std::byte> packed(static_cast<size_t>(tiny));
  {
    const std::lock_guard lock(zero_mutex_);
    if (not_zero_.contains(block)) return false;
  }
  bool zero = file_->read(FileOffset(blocks()[block].packed), packed).bytes == packed.size();
  if (zero) {
    const std::lock_guard lock(zero_mutex_);
    if (size == zero_size_ && packed == zero_frame_) return true;
  }
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(size));
  const std::span<std::byte> into(bytes.get(), static_cast<size_t>(size));
  zero = zero && unpack(block, into) == 0 && base::is_zero(into);
  const std::lock_guard lock(zero_mutex_);
  if (zero) {
    zero_size_ = size;
    zero_frame_ = std::move(packed);
  } else {
    not_zero_.insert(block);
  }
  return zero;
}

}  // namespace gcore::reader

#endif
