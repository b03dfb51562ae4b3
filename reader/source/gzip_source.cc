#include "reader/source/gzip_source.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "reader/source/decoder.h"
#include "reader/source/file.h"
#include "reader/source/temporary_file.h"
#include "writer/base/sparse_file.h"

namespace gcore::reader {
namespace {

constexpr size_t kWindow = size_t{32} << 10, kSpacing = size_t{512} << 10, kInput = size_t{256} << 10,
                 kOutput = size_t{1} << 20, kTrailer = 8;
constexpr int kGzip = 15 + 16, kRaw = -15;  // what zlib calls window bits

/// zlib's inflate over a file, from any place on.
class Inflater {
 public:
  Inflater(const Source& file, uint64_t at, int window_bits) : file_(file), at_(at) {
    ready_ = inflateInit2(&stream, window_bits) == Z_OK;
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  bool ready() const { return ready_; }
  uint64_t at() const { return at_ - stream.avail_in; }  // of the next byte of the file
  int error() const { return error_; }

  /// False when the file ends, or cannot be read: then error() is not 0.
  bool fill() {
    if (stream.avail_in != 0) return true;
    input_.resize(static_cast<size_t>(std::clamp<uint64_t>(file_.size(), 1, kInput)));
    const Source::Result got = file_.read(FileOffset(at_), input_);
    error_ = got.bytes == 0 ? got.error : 0;
    stream.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream.avail_in = static_cast<uInt>(got.bytes);
    at_ += got.bytes;
    return got.bytes != 0;
  }

  /// Skips bytes; false when the file ends before.
  bool skip(size_t count) {
    for (; count != 0; --count, ++stream.next_in, --stream.avail_in)
      if (!fill()) return false;
    return true;
  }

  /// Between members: zeros pad a file on a tape. False when nothing else follows.
  bool skip_zeros() {
    while (fill()) {
      if (*stream.next_in != 0) return true;
      ++stream.next_in;
      --stream.avail_in;
    }
    return false;
  }

  z_stream stream{};

 private:
  const Source& file_;
  uint64_t at_;
  bool ready_ = false;
  int error_ = 0;
  std::vector<std::byte> input_;
};

/// The pass over the whole file.
class Indexer {
 public:
  Indexer(const Source& file, TemporaryFile windows) : in_(file, 0, kGzip), file_(file), windows_(std::move(windows)) {
    std::memset(out_.data(), 0, kWindow);
  }

  enum class End : uint8_t { whole, early, damaged, checksum, sparse };  // sparse: there are too few restart points

  Expected<End> run(const CheckStart& check, const OnProgress& progress) {
    if (!in_.ready()) return std::unexpected(Error{Error::Kind::io, "it cannot be unpacked: zlib has no memory"});
    begin_stream();
    for (bool full = false;;) {
      // What did not fit into the buffer comes without more input.
      if (!in_.fill() && !full)
        return in_.error() != 0 ? unreadable() : finish(check, within_ ? End::early : End::whole);
      const size_t before = filled_;
      in_.stream.next_out = reinterpret_cast<Bytef*>(out_.data() + filled_);
      in_.stream.avail_out = static_cast<uInt>(out_.size() - filled_);
      const int result = inflate(&in_.stream, Z_BLOCK);
      filled_ = out_.size() - in_.stream.avail_out;
      full = in_.stream.avail_out == 0;
      total_ += filled_ - before;
      zero_ = zero_ && base::is_zero({out_.data() + before, filled_ - before});
      if (!checked_ && total_ >= kStart)
        if (auto fine = check_start(check); !fine) return std::unexpected(fine.error());
      if (!zero_ && total_ - blocks_.back().begin > kMaxBlock) return End::sparse;
      if (result == Z_STREAM_END) {
        if (!next_member()) return in_.error() != 0 ? unreadable() : finish(check, End::whole);
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return finish(check, is_wrong_gzip_checksum(in_.stream.msg) ? End::checksum : End::damaged);
      } else if (auto added = at_boundary(); !added) {
        return std::unexpected(added.error());
      }
      if (filled_ == out_.size()) slide();
      if (progress && in_.at() - reported_ >= (uint64_t{8} << 20)) progress(reported_ = in_.at(), file_.size());
    }
  }

  std::vector<Block> take_blocks() { return std::move(blocks_); }
  Expected<int> take_windows() { return windows_.finish(); }
  uint64_t total() const { return total_; }

 private:
  std::unexpected<Error> unreadable() const {
    return std::unexpected(Error{Error::Kind::io, fmt::format("it cannot be read: {}", words_of(in_.error()))});
  }

  Expected<void> check_start(const CheckStart& check) {
    checked_ = true;
    return check(out_.subspan(kWindow, static_cast<size_t>(std::min<uint64_t>(total_, kStart))));
  }

  Expected<End> finish(const CheckStart& check, End end) {
    if (!checked_)
      if (auto fine = check_start(check); !fine) return std::unexpected(fine.error());
    end_block();
    if (!blocks_.empty() && blocks_.back().begin == total_) blocks_.pop_back();
    return end;
  }

  static constexpr size_t kStart = 512;  // what CheckStart wants to see

  bool due() const { return total_ - blocks_.back().begin >= kSpacing; }

  void begin_stream() {
    if (!blocks_.empty() && !due()) return;
    add({.begin = total_, .packed = in_.at(), .kind = Block::Kind::stream});
  }

  bool next_member() {
    within_ = false;
    if (!in_.skip_zeros()) return false;
    inflateReset(&in_.stream);
    within_ = true;
    begin_stream();
    return true;
  }

  /// zlib stops at the end of each deflate block; data_type has what zlib.h says.
  Expected<void> at_boundary() {
    const int type = in_.stream.data_type;
    if ((type & 128) == 0 || (type & 64) != 0 || !due()) return {};
    const uint64_t window = window_count_++;
    add({.begin = total_,
         .packed = in_.at(),
         .window = static_cast<uint32_t>(window),
         .bits = static_cast<uint8_t>(type & 7),
         .kind = Block::Kind::inside});
    return windows_.write(window * kWindow, out_.subspan(filled_ - kWindow, kWindow));
  }

  void end_block() {
    if (blocks_.empty() || !zero_) return;
    blocks_.back().kind = Block::Kind::zero;
    if (blocks_.size() > 1 && blocks_[blocks_.size() - 2].kind == Block::Kind::zero) blocks_.pop_back();
  }

  void add(const Block& block) {
    end_block();
    blocks_.push_back(block);
    zero_ = true;
  }

  void slide() {
    std::memmove(out_.data(), out_.data() + filled_ - kWindow, kWindow);
    filled_ = kWindow;
  }

  Inflater in_;
  const Source& file_;
  TemporaryFile windows_;
  // The last 32 KiB, then what is new. Not zeroed, which would take longer than going through a small file.
  const std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(kWindow + kOutput);
  const std::span<std::byte> out_{buffer_.get(), kWindow + kOutput};
  size_t filled_ = kWindow;
  uint64_t total_ = 0, reported_ = 0;
  std::vector<Block> blocks_;
  uint32_t window_count_ = 0;
  bool zero_ = true, within_ = true, checked_ = false;
};

}  // namespace

Expected<std::unique_ptr<GzipSource>> GzipSource::open(std::unique_ptr<Source>& file, const CheckStart& check,
                                                       const OnProgress& progress, std::vector<std::string>& warnings) {
  auto windows = TemporaryFile::make();
  if (!windows) return std::unexpected(windows.error());
  Indexer indexer(*file, std::move(*windows));
  const auto end = indexer.run(check, progress);
  if (!end) return std::unexpected(end.error());
  if (*end == Indexer::End::sparse) return nullptr;
  if (progress) progress(file->size(), file->size());
  if (*end != Indexer::End::whole)
    warnings.push_back(*end == Indexer::End::early      ? ends_early("gzip", indexer.total())
                       : *end == Indexer::End::checksum ? has_wrong_checksum("gzip", indexer.total())
                                                        : is_damaged("gzip", indexer.total()));
  auto written = indexer.take_windows();
  if (!written) return std::unexpected(written.error());
  auto window_file = File::adopt(*written);
  if (!window_file) return std::unexpected(window_file.error());
  return std::unique_ptr<GzipSource>(
      new GzipSource(std::move(file), std::move(*window_file), indexer.take_blocks(), indexer.total()));
}

GzipSource::GzipSource(std::unique_ptr<Source> file, std::unique_ptr<Source> windows, std::vector<Block> blocks,
                       uint64_t size)
    : file_(std::move(file)), windows_(std::move(windows)) {
  set_blocks(std::move(blocks), size);
}

int GzipSource::unpack(size_t number, std::span<std::byte> into) const {
  const Block& block = blocks()[number];
  bool raw = block.kind == Block::Kind::inside;
  Inflater in(*file_, block.packed, raw ? kRaw : kGzip);
  if (!in.ready()) return ENOMEM;
  if (block.bits != 0) {
    std::byte before{};
    const Result got = file_->read(FileOffset(block.packed - 1), std::span(&before, 1));
    if (got.bytes != 1) return got.error != 0 ? got.error : EBADMSG;
    inflatePrime(&in.stream, block.bits, static_cast<int>(before) >> (8 - block.bits));
  }
  if (raw) {
    std::vector<std::byte> window(kWindow);
    const Result got = windows_->read(FileOffset(uint64_t{block.window} * kWindow), window);
    if (got.bytes != kWindow) return got.error != 0 ? got.error : EIO;
    inflateSetDictionary(&in.stream, reinterpret_cast<const Bytef*>(window.data()), kWindow);
  }
  in.stream.next_out = reinterpret_cast<Bytef*>(into.data());
  in.stream.avail_out = static_cast<uInt>(into.size());
  while (in.stream.avail_out != 0) {
    if (!in.fill()) return in.error() != 0 ? in.error() : EBADMSG;
    const int result = inflate(&in.stream, Z_NO_FLUSH);
    if (in.stream.avail_out == 0) break;
    if (result == Z_STREAM_END) {  // the next member has a header, which the wrapper takes
      if ((raw && !in.skip(kTrailer)) || !in.skip_zeros()) return in.error() != 0 ? in.error() : EBADMSG;
      inflateReset2(&in.stream, kGzip);
      raw = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return EBADMSG;
    }
  }
  return 0;
}

}  // namespace gcore::reader
