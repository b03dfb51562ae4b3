// One gzip member, as `gzip -1` makes it: what tools without zstd can read. It has no index; a reader unpacks all of
// it.
#include <zlib.h>

#include <algorithm>
#include <string>

#include "writer/compress.h"

namespace gcore::writer {
namespace {

constexpr std::byte kZeros[64 * 1024] = {};

class GzipSink final : public FilterSink {
 public:
  explicit GzipSink(std::unique_ptr<Sink> next) : FilterSink(std::move(next)) {
    constexpr int kGzipWrapper = 16, kMemoryLevel = 8;  // see deflateInit2()
    ready_ = deflateInit2(&stream_, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + kGzipWrapper, kMemoryLevel,
                          Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~GzipSink() override {
    if (ready_) deflateEnd(&stream_);
  }

  Status write(std::span<const std::byte> bytes) override { return deflate_all(bytes, Z_NO_FLUSH); }
  Status skip(uint64_t size) override {
    while (size > 0) {
      const auto part = static_cast<size_t>(std::min<uint64_t>(size, sizeof kZeros));
      if (Status status = write({kZeros, part}); !status) return status;
      size -= part;
    }
    return {};
  }
  Status finish() override {
    if (Status status = deflate_all({}, Z_FINISH); !status) return status;
    return next().finish();
  }

 private:
  Status deflate_all(std::span<const std::byte> bytes, int flush);

  z_stream stream_ = {};
  bool ready_ = false;
  Bytef out_[64 * 1024];
};

// `bytes` is at most a few MiB here: the length fits zlib's uInt.
Status GzipSink::deflate_all(std::span<const std::byte> bytes, int flush) {
  if (!ready_) return Status(std::string("gzip compression: zlib has no memory"));
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream_.avail_in = static_cast<uInt>(bytes.size());
  do {
    stream_.next_out = out_;
    stream_.avail_out = sizeof out_;
    if (deflate(&stream_, flush) == Z_STREAM_ERROR) return Status(std::string("gzip compression: zlib failed"));
    const size_t size = sizeof out_ - stream_.avail_out;
    if (Status status = next().write({reinterpret_cast<std::byte*>(out_), size}); !status) return status;
  } while (stream_.avail_out == 0);
  return {};
}

}  // namespace

std::unique_ptr<Sink> open_gzip_sink(std::unique_ptr<Sink> next) { return std::make_unique<GzipSink>(std::move(next)); }

}  // namespace gcore::writer
