#include "reader/source/packed_bytes.h"

#include <fmt/format.h>
#include <zlib.h>
#ifdef GCORE_WITH_LZMA
#include <lzma.h>
#endif

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "reader/source/decoder.h"

namespace gcore::reader {
namespace {

constexpr size_t kStep = 1 << 16;
constexpr size_t kMaxTaken = 1 << 30;  // at once: zlib counts in 32 bits

class ZlibDecoder : public Decoder {
 public:
  ZlibDecoder() { ready_ = inflateInit(&stream_) == Z_OK; }
  ~ZlibDecoder() override { inflateEnd(&stream_); }
  const char* name() const override { return "zlib"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    within_ = true;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int result = ready_ ? inflate(&stream_, Z_NO_FLUSH) : Z_MEM_ERROR;
    in = in.last(stream_.avail_in);
    if (result == Z_STREAM_END) within_ = false;
    state = result == Z_STREAM_END                    ? State::end
            : result == Z_OK || result == Z_BUF_ERROR ? State::more
                                                      : State::damaged;
    return out.size() - stream_.avail_out;
  }
  bool within_stream() const override { return within_; }

 private:
  z_stream stream_{};
  bool ready_ = false, within_ = false;
};

#ifdef GCORE_WITH_LZMA
class XzDecoder : public Decoder {
 public:
  XzDecoder() {
    constexpr uint64_t kMemory = 256 << 20;  // `xz -9` wants 65 MiB
    ready_ = lzma_stream_decoder(&stream_, kMemory, 0) == LZMA_OK;
  }
  ~XzDecoder() override { lzma_end(&stream_); }
  const char* name() const override { return "xz"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    within_ = true;
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret result = ready_ ? lzma_code(&stream_, LZMA_RUN) : LZMA_MEM_ERROR;
    in = in.last(stream_.avail_in);
    if (result == LZMA_STREAM_END) within_ = false;
    state = result == LZMA_STREAM_END                       ? State::end
            : result == LZMA_OK || result == LZMA_BUF_ERROR ? State::more
                                                            : State::damaged;
    return out.size() - stream_.avail_out;
  }
  bool within_stream() const override { return within_; }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ready_ = false, within_ = false;
};
#endif

Expected<std::unique_ptr<Decoder>> decoder_of(Packed how) {
  switch (how) {
    case Packed::gzip:
      return new_decoder(Packing::gzip);
    case Packed::zstd:
      return new_decoder(Packing::zstd);
    case Packed::zlib:
      return std::make_unique<ZlibDecoder>();
    case Packed::xz:
      break;
  }
#ifdef GCORE_WITH_LZMA
  return std::make_unique<XzDecoder>();
#else
  return std::unexpected(Error{Error::Kind::unsupported,
                               "it is compressed with xz, and this program was built without liblzma: `xz --decompress "
                               "--keep FILE` unpacks it"});
#endif
}

}  // namespace

std::optional<Packed> packed_by(std::span<const std::byte> start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.starts_with(std::string_view("\xfd"
                                        "7zXZ\0",
                                        6)))
    return Packed::xz;
  switch (packing_of(start)) {
    case Packing::gzip:
      return Packed::gzip;
    case Packing::zstd:
      return Packed::zstd;
    case Packing::none:
      break;
  }
  return std::nullopt;
}

const char* to_string(Packed how) {
  constexpr const char* kNames[] = {"gzip", "zlib", "zstd", "xz"};
  return kNames[static_cast<size_t>(how)];
}

Expected<std::vector<std::byte>> unpack_bytes(Packed how, std::span<const std::byte> bytes, uint64_t limit,
                                              Beyond beyond) {
  const auto fail = [&](std::string_view what) {
    return std::unexpected(Error{Error::Kind::malformed, fmt::format("its {} data {}", to_string(how), what)});
  };
  auto decoder = decoder_of(how);
  if (!decoder) return std::unexpected(decoder.error());
  std::vector<std::byte> out;
  size_t done = 0;
  auto state = Decoder::State::more;
  while (true) {
    if (done == out.size()) {
      if (done == limit && beyond == Beyond::cut) return out;
      // One byte more than the limit tells whether there is one.
      out.resize(std::min<uint64_t>(out.size() + std::max(kStep, out.size()), limit + 1));
    }
    auto in = bytes.first(std::min(bytes.size(), kMaxTaken));
    const size_t before = in.size(), room = std::min(out.size() - done, kMaxTaken);
    const size_t got = (*decoder)->decode(in, std::span(out).subspan(done, room), state);
    const size_t taken = before - in.size();
    bytes = bytes.subspan(taken);
    done += got;
    if (state == Decoder::State::damaged || state == Decoder::State::wrong_checksum) return fail("is damaged");
    if (done > limit) {
      if (beyond == Beyond::fail) return fail(fmt::format("unpacks to more than {} bytes", limit));
      done = limit;
      break;
    }
    // A zlib stream is one, whatever comes after it; of the others several may follow each other.
    if (state == Decoder::State::end && (bytes.empty() || how == Packed::zlib || how == Packed::xz)) break;
    if (taken == 0 && got == 0) {
      if (done == out.size()) continue;  // it may have more to give
      if (!bytes.empty() && state != Decoder::State::end) return fail("is damaged");
      if ((*decoder)->within_stream() && beyond == Beyond::fail) return fail("ends early");
      break;
    }
  }
  out.resize(done);
  return out;
}

}  // namespace gcore::reader
