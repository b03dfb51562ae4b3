#include "reader/unpack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#ifdef GCORE_WITH_ZSTD
#include <zstd.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "reader/elf_file.h"

namespace gcore::reader {
namespace {

constexpr size_t kInputSize = size_t{256} << 10, kOutputSize = size_t{1} << 20, kBlock = 4096;

using Buffer = std::vector<std::byte>;

std::unexpected<Error> fail(Error::Kind kind, std::string text) {
  return std::unexpected(Error{kind, std::move(text)});
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Reads until `into` is full or the input ends. Nothing on failure, with errno.
std::optional<size_t> read_some(int fd, std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::read(fd, into.data() + done, into.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Expected<int> temporary_file() {
  const char* wanted = std::getenv("TMPDIR");
  int error = ENOENT;
  for (const char* folder : {wanted, "/var/tmp", "/tmp"}) {
    if (!folder || !*folder) continue;
    int fd = ::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {  // not every file system can do that
      std::string name = std::string(folder) + "/gcore-XXXXXX";
      fd = ::mkostemp(name.data(), O_CLOEXEC);
      if (fd >= 0) ::unlink(name.c_str());
    }
    if (fd >= 0) return fd;
    error = errno;
  }
  return fail(Error::Kind::io,
              fmt::format("no temporary file can be made for unpacking it ($TMPDIR, /var/tmp, /tmp): {}",
                          std::strerror(error)));
}

/// Writes a stream to a file, leaving holes where it is zero.
class SparseFile {
 public:
  SparseFile(int fd, bool compressed) : fd_(fd), compressed_(compressed) {}

  Expected<void> append(std::span<const std::byte> bytes) {
    if (auto checked = check_start(bytes); !checked) return checked;
    while (!bytes.empty()) {
      const size_t in_block = std::min(bytes.size(), kBlock - static_cast<size_t>(size_ % kBlock));
      const auto block = bytes.first(in_block);
      const bool zero = std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; });
      if (!zero)
        if (auto written = write(block); !written) return written;
      size_ += in_block;
      bytes = bytes.subspan(in_block);
    }
    return {};
  }

  Expected<void> finish() {
    if (::ftruncate(fd_, static_cast<off_t>(size_)) == 0) return {};
    return failed();
  }

  uint64_t size() const { return size_; }

 private:
  Expected<void> check_start(std::span<const std::byte> bytes) {
    if (start_.size() >= 4) return {};
    const auto more = bytes.first(std::min(bytes.size(), 16 - start_.size()));
    start_.insert(start_.end(), more.begin(), more.end());
    if (start_.size() < 4 || std::memcmp(start_.data(), format::kElfMagic, 4) == 0) return {};
    return fail(Error::Kind::not_elf, (compressed_ ? "unpacked, " : "") + describe_foreign_file(start_));
  }

  Expected<void> write(std::span<const std::byte> block) {
    size_t done = 0;
    while (done < block.size()) {
      const ssize_t n = ::pwrite(fd_, block.data() + done, block.size() - done, static_cast<off_t>(size_ + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed();
      done += static_cast<size_t>(n);
    }
    return {};
  }

  std::unexpected<Error> failed() const {
    return fail(Error::Kind::io,
                fmt::format("it cannot be unpacked into a temporary file ({} bytes so far): {}; TMPDIR "
                            "selects another place",
                            size_, std::strerror(errno)));
  }

  int fd_;
  bool compressed_;
  uint64_t size_ = 0;
  Buffer start_;
};

/// A decompressor of streams, or none.
class Decoder {
 public:
  enum class State : uint8_t { more, end, damaged };
  virtual ~Decoder() = default;
  virtual const char* name() const = 0;
  /// Takes bytes off the front of `in` and puts bytes at the front of `out`, of which it returns the number. `state`
  /// becomes `end` when a stream is complete (another one may follow) and `damaged` when it makes no sense.
  virtual size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) = 0;
  virtual bool within_stream() const = 0;  // input that ends now ends early
};

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

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() { ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK; }
  ~GzipDecoder() override { inflateEnd(&stream_); }
  const char* name() const override { return "gzip"; }

  size_t decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) override {
    if (!within_) {  // between members: zeros pad a file on a tape, and another member may follow
      while (started_ && !in.empty() && in.front() == std::byte{0}) in = in.subspan(1);
      if (in.empty()) return 0;
      if (started_) inflateReset(&stream_);
      within_ = started_ = true;
    }
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
  bool ready_ = false, started_ = false, within_ = false;
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
    state = ZSTD_isError(result) ? State::damaged : result == 0 ? State::end : State::more;
    return to.pos;
  }
  bool within_stream() const override { return within_; }

 private:
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_{ZSTD_createDStream(), ZSTD_freeDStream};
  bool within_ = false;
};
#endif

Expected<std::unique_ptr<Decoder>> decoder_for(std::span<const std::byte> start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.starts_with("\x1f\x8b")) return std::make_unique<GzipDecoder>();
  if (text.starts_with("\x28\xb5\x2f\xfd")) {
#ifdef GCORE_WITH_ZSTD
    return std::make_unique<ZstdDecoder>();
#else
    return fail(Error::Kind::unsupported, "it is a zstd file, and this program was built without zstd");
#endif
  }
  return std::make_unique<PlainDecoder>();
}

/// Runs all of `fd` through the decoder. `in` has `filled` bytes already.
Expected<void> copy(int fd, Buffer& in, size_t filled, Decoder& decoder, SparseFile& to,
                    std::vector<std::string>& warnings) {
  Buffer out(kOutputSize);
  while (filled != 0) {
    std::span<const std::byte> rest = std::span(in).first(filled);
    size_t produced = 0;
    do {
      Decoder::State state = Decoder::State::more;
      produced = decoder.decode(rest, out, state);
      if (auto appended = to.append(std::span(out).first(produced)); !appended) return appended;
      if (state == Decoder::State::damaged) {
        warnings.push_back(fmt::format("the {} data is damaged; the {} bytes in front of the damage are used",
                                       decoder.name(), to.size()));
        return {};
      }
    } while (!rest.empty() || produced == out.size());
    const auto more = read_some(fd, in);
    if (!more) return fail(Error::Kind::io, fmt::format("it cannot be read: {}", std::strerror(errno)));
    filled = *more;
  }
  if (decoder.within_stream())
    warnings.push_back(
        fmt::format("the {} data ends early; the {} bytes that it has are used", decoder.name(), to.size()));
  return {};
}

}  // namespace

Expected<Unpacked> unpack(int fd, std::vector<std::string>& warnings) {
  Descriptor input(fd);
  struct stat info{};
  if (::fstat(fd, &info) != 0)
    return fail(Error::Kind::io, fmt::format("it cannot be examined: {}", std::strerror(errno)));
  if (S_ISDIR(info.st_mode)) return fail(Error::Kind::io, "it is a directory");
  const bool seekable = (S_ISREG(info.st_mode) || S_ISBLK(info.st_mode)) && ::lseek(fd, 0, SEEK_SET) == 0;

  Buffer start(kInputSize);
  const auto got = read_some(fd, seekable ? std::span(start).first(16) : std::span(start));
  if (!got) return fail(Error::Kind::io, fmt::format("it cannot be read: {}", std::strerror(errno)));
  auto decoder = decoder_for(std::span(start).first(*got));
  if (!decoder) return std::unexpected(decoder.error());
  const bool plain = std::string_view((*decoder)->name()) == "none";
  if (plain && seekable) return Unpacked{input.release(), "none"};
  if (*got == 0) return fail(Error::Kind::not_elf, "it is empty");
  const auto more = read_some(fd, std::span(start).subspan(*got));
  if (!more) return fail(Error::Kind::io, fmt::format("it cannot be read: {}", std::strerror(errno)));
  auto temporary = temporary_file();
  if (!temporary) return std::unexpected(temporary.error());
  Descriptor output(*temporary);
  SparseFile to(output.get(), !plain);
  if (auto copied = copy(fd, start, *got + *more, **decoder, to, warnings); !copied)
    return std::unexpected(copied.error());
  if (auto finished = to.finish(); !finished) return std::unexpected(finished.error());
  return Unpacked{output.release(), (*decoder)->name()};
}

}  // namespace gcore::reader
