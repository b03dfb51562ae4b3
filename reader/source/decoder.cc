#include "reader/source/decoder.h"

#include <fmt/format.h>
#include <zlib.h>
#ifdef GCORE_WITH_BZIP2
#include <bzlib.h>
#endif
#ifdef GCORE_WITH_LZMA
#include <lzma.h>
#endif
#ifdef GCORE_WITH_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

#include <algorithm>
#include <string_view>

#include "reader/source/loaded_library.h"
#include "reader/source/lzop_decoder.h"

namespace gcore::reader {
namespace {

/// zlib tells it from other damage by its words alone (inflate.c).
bool is_wrong_checksum(const char* words) {
  const std::string_view text = words == nullptr ? "" : words;
  return text == "incorrect data check" || text == "incorrect length check";
}

class PlainDecoder : public Decoder {
 public:
  const char* name() const override { return "none"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    const size_t n = std::min(in.size(), out.size());
    std::copy_n(in.begin(), n, out.begin());
    in = in.subspan(n);
    state = State::more;
    return n;
  }
  bool within_stream() const override { return false; }
};

class InflateDecoder : public Decoder {
 public:
  explicit InflateDecoder(int window_bits) { ready_ = inflateInit2(&stream_, window_bits) == Z_OK; }
  ~InflateDecoder() override { inflateEnd(&stream_); }
  bool within_stream() const override { return within_; }

 protected:
  size_t inflate_some(std::span<const std::byte>& in, std::span<std::byte> out, State& state) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int result = ready_ ? inflate(&stream_, Z_NO_FLUSH) : Z_MEM_ERROR;
    in = in.last(stream_.avail_in);
    if (result == Z_STREAM_END) within_ = false;
    state = result == Z_STREAM_END                    ? State::end
            : result == Z_OK || result == Z_BUF_ERROR ? State::more
            : is_wrong_checksum(stream_.msg)          ? State::wrong_checksum
                                                      : State::damaged;
    return out.size() - stream_.avail_out;
  }

  z_stream stream_{};
  bool within_ = false;

 private:
  bool ready_ = false;
};

class GzipDecoder : public InflateDecoder {
 public:
  GzipDecoder() : InflateDecoder(15 + 16) {}
  const char* name() const override { return "gzip"; }

  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    if (!within_) {  // between members: zeros pad a file on a tape, and another member may follow
      while (started_ && !in.empty() && in.front() == std::byte{0}) in = in.subspan(1);
      if (in.empty()) return 0;
      if (started_) inflateReset(&stream_);
      within_ = started_ = true;
    }
    return inflate_some(in, out, state);
  }

 private:
  bool started_ = false;
};

#ifdef GCORE_WITH_ZSTD
class ZstdDecoder : public Decoder {
 public:
  const char* name() const override { return "zstd"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_.get(), &to, &from);
    in = in.subspan(from.pos);
    within_ = result != 0;
    state = !ZSTD_isError(result)                                    ? (result == 0 ? State::end : State::more)
            : ZSTD_getErrorCode(result) == ZSTD_error_checksum_wrong ? State::wrong_checksum
                                                                     : State::damaged;
    return to.pos;
  }
  bool within_stream() const override { return within_; }

 private:
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_{ZSTD_createDStream(), ZSTD_freeDStream};
  bool within_ = false;
};
#endif

class ZlibDecoder : public InflateDecoder {
 public:
  ZlibDecoder() : InflateDecoder(15) {}
  const char* name() const override { return "zlib"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    within_ = true;
    return inflate_some(in, out, state);
  }
};

#ifdef GCORE_WITH_LZMA
struct Lzma {
  LoadedLibrary library{GCORE_LZMA_SONAME};
  decltype(&lzma_stream_decoder) stream_decoder = library.find("lzma_stream_decoder");
  decltype(&lzma_code) code = library.find("lzma_code");
  decltype(&lzma_end) end = library.find("lzma_end");
};

class XzDecoder : public Decoder {
 public:
  explicit XzDecoder(const Lzma& lzma) : lzma_(lzma) {
    constexpr uint64_t kMemory = 256 << 20;  // `xz -9` wants 65 MiB
    ready_ = lzma_.stream_decoder(&stream_, kMemory, 0) == LZMA_OK;
  }
  ~XzDecoder() override { lzma_.end(&stream_); }
  const char* name() const override { return "xz"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    within_ = true;
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret result = ready_ ? lzma_.code(&stream_, LZMA_RUN) : LZMA_MEM_ERROR;
    in = in.last(stream_.avail_in);
    if (result == LZMA_STREAM_END) within_ = false;
    state = result == LZMA_STREAM_END                       ? State::end
            : result == LZMA_OK || result == LZMA_BUF_ERROR ? State::more
                                                            : State::damaged;
    return out.size() - stream_.avail_out;
  }
  bool within_stream() const override { return within_; }

 private:
  const Lzma& lzma_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ready_ = false, within_ = false;
};
#endif

#ifdef GCORE_WITH_BZIP2
struct Bzip2 {
  LoadedLibrary library{GCORE_BZIP2_SONAME};
  decltype(&BZ2_bzDecompressInit) init = library.find("BZ2_bzDecompressInit");
  decltype(&BZ2_bzDecompress) decompress = library.find("BZ2_bzDecompress");
  decltype(&BZ2_bzDecompressEnd) end = library.find("BZ2_bzDecompressEnd");
};

class Bzip2Decoder : public Decoder {
 public:
  explicit Bzip2Decoder(const Bzip2& bzip2) : bzip2_(bzip2) { ready_ = bzip2_.init(&stream_, 0, 0) == BZ_OK; }
  ~Bzip2Decoder() override { bzip2_.end(&stream_); }
  const char* name() const override { return "bzip2"; }
  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    if (!within_) {  // another stream may follow
      if (in.empty()) return 0;
      if (started_) {
        bzip2_.end(&stream_);
        stream_ = {};
        ready_ = bzip2_.init(&stream_, 0, 0) == BZ_OK;
      }
      within_ = started_ = true;
    }
    stream_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<unsigned>(in.size());
    stream_.next_out = reinterpret_cast<char*>(out.data());
    stream_.avail_out = static_cast<unsigned>(out.size());
    const int result = ready_ ? bzip2_.decompress(&stream_) : BZ_MEM_ERROR;
    in = in.last(stream_.avail_in);
    if (result == BZ_STREAM_END) within_ = false;
    state = result == BZ_STREAM_END ? State::end : result == BZ_OK ? State::more : State::damaged;
    return out.size() - stream_.avail_out;
  }
  bool within_stream() const override { return within_; }

 private:
  const Bzip2& bzip2_;
  bz_stream stream_{};
  bool ready_ = false, started_ = false, within_ = false;
};
#endif

[[maybe_unused]] Error cannot_unpack(Packing packing, std::string_view instead, const std::string& why) {
  std::string text = fmt::format("it is compressed with {}, and {}: ", to_string(packing), why);
  text += instead.empty() ? fmt::format("`{} --decompress --keep FILE` unpacks it", to_string(packing))
                          : std::string(instead);
  return {Error::Kind::unsupported, std::move(text)};
}

/// A decoder that takes the library, or what to install.
template <class Made, class Library>
[[maybe_unused]] Expected<std::unique_ptr<Decoder>> decoder_of(Packing packing, std::string_view instead,
                                                               const Library* library, const char* soname,
                                                               const char* package) {
  if (library != nullptr) return std::make_unique<Made>(*library);
  return std::unexpected(cannot_unpack(
      packing, instead, fmt::format("{}, which unpacks that, is not installed (Debian: {})", soname, package)));
}

[[maybe_unused]] Error not_built_with(Packing packing, std::string_view instead, const char* library) {
  return cannot_unpack(packing, instead, fmt::format("this program was built without {}", library));
}

}  // namespace

Packing packing_of(std::span<const std::byte> start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.starts_with("\x1f\x8b")) return Packing::gzip;
  // A zstd file may begin with a skippable frame, of which there are 16 kinds.
  const bool skippable = text.size() >= 4 && (text[0] & 0xf0) == 0x50 && text.substr(1, 3) == "\x2a\x4d\x18";
  return skippable || text.starts_with("\x28\xb5\x2f\xfd") ? Packing::zstd : Packing::none;
}

const char* to_string(Packing packing) {
  constexpr const char* kNames[] = {"none", "gzip", "zlib", "zstd", "xz", "bzip2", "lzop"};
  return kNames[static_cast<size_t>(packing)];
}

Expected<std::unique_ptr<Decoder>> new_decoder(Packing packing, std::string_view instead) {
  switch (packing) {
    case Packing::none:
      break;
    case Packing::gzip:
      return std::make_unique<GzipDecoder>();
    case Packing::zlib:
      return std::make_unique<ZlibDecoder>();
    case Packing::zstd:
#ifdef GCORE_WITH_ZSTD
      return std::make_unique<ZstdDecoder>();
#else
      return std::unexpected(not_built_with(packing, instead, "zstd"));
#endif
    case Packing::xz:
#ifdef GCORE_WITH_LZMA
      return decoder_of<XzDecoder>(packing, instead, loaded<Lzma>(), GCORE_LZMA_SONAME, GCORE_LZMA_PACKAGE);
#else
      return std::unexpected(not_built_with(packing, instead, "liblzma"));
#endif
    case Packing::bzip2:
#ifdef GCORE_WITH_BZIP2
      return decoder_of<Bzip2Decoder>(packing, instead, loaded<Bzip2>(), GCORE_BZIP2_SONAME, GCORE_BZIP2_PACKAGE);
#else
      return std::unexpected(not_built_with(packing, instead, "libbz2"));
#endif
    case Packing::lzop:
#ifdef GCORE_WITH_LZO
      return decoder_of<LzopDecoder>(packing, instead, lzo(), GCORE_LZO_SONAME, GCORE_LZO_PACKAGE);
#else
      return std::unexpected(not_built_with(packing, instead, "lzo"));
#endif
  }
  return std::make_unique<PlainDecoder>();
}

std::string ends_early(const char* packing, uint64_t bytes) {
  return bytes == 0 ? fmt::format("the {} data ends early, before its first unpacked byte", packing)
                    : fmt::format("the {} data ends early; the {} bytes that it has are used", packing, bytes);
}

std::string is_damaged(const char* packing, uint64_t bytes) {
  return bytes == 0 ? fmt::format("the {} data is damaged from its first unpacked byte on", packing)
                    : fmt::format("the {} data is damaged; the {} bytes before the damage are used", packing, bytes);
}

std::string has_wrong_checksum(const char* packing, uint64_t bytes) {
  return fmt::format(
      "the {} data does not fit its checksum: some of the first {} unpacked bytes are wrong, and which ones nobody can "
      "tell",
      packing, bytes);
}

bool is_wrong_gzip_checksum(const char* words) { return is_wrong_checksum(words); }

}  // namespace gcore::reader
