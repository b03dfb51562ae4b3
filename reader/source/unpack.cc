#include "reader/source/unpack.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "reader/source/temporary_file.h"

namespace gcore::reader {
namespace {

constexpr size_t kInputSize = size_t{256} << 10, kOutputSize = size_t{1} << 20;

class Unpacker {
 public:
  Unpacker(Decoder& decoder, TemporaryFile to, const CheckStart& check, std::vector<std::string>& warnings)
      : decoder_(decoder), to_(std::move(to)), check_(check), warnings_(warnings), out_(kOutputSize) {}

  /// False when it is of no use to go on.
  Expected<bool> take(std::span<const std::byte> in) {
    size_t produced = 0;
    do {
      Decoder::State state = Decoder::State::more;
      produced = decoder_.decode(in, out_, state);
      if (auto appended = append(std::span(out_).first(produced)); !appended) return std::unexpected(appended.error());
      if (state == Decoder::State::damaged || state == Decoder::State::wrong_checksum) {
        warnings_.push_back(state == Decoder::State::damaged ? is_damaged(decoder_.name(), to_.size())
                                                             : has_wrong_checksum(decoder_.name(), to_.size()));
        damaged_ = true;
        return false;
      }
    } while (!in.empty() || produced == out_.size());
    return true;
  }

  Expected<std::unique_ptr<File>> finish() {
    if (start_.size() < kStart)
      if (auto fine = check_(start_); !fine) return std::unexpected(fine.error());
    if (!damaged_ && decoder_.within_stream()) warnings_.push_back(ends_early(decoder_.name(), to_.size()));
    auto fd = to_.finish();
    if (!fd) return std::unexpected(fd.error());
    return File::adopt(*fd, File::Lasting::yes);
  }

 private:
  static constexpr size_t kStart = 512;

  Expected<void> append(std::span<const std::byte> bytes) {
    if (start_.size() < kStart) {
      const auto more = bytes.first(std::min(bytes.size(), kStart - start_.size()));
      start_.insert(start_.end(), more.begin(), more.end());
      if (start_.size() == kStart)
        if (auto fine = check_(start_); !fine) return fine;
    }
    return to_.write(to_.size(), bytes);
  }

  Decoder& decoder_;
  TemporaryFile to_;
  const CheckStart& check_;
  std::vector<std::string>& warnings_;
  std::vector<std::byte> out_, start_;
  bool damaged_ = false;
};

}  // namespace

Input input_of(int fd) {
  return [fd](std::span<std::byte> into) -> Source::Result {
    while (true) {
      const ssize_t n = ::read(fd, into.data(), into.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return {0, errno};
      return {static_cast<size_t>(n), 0};
    }
  };
}

Input input_of(const Source& source, uint64_t at) {
  return [&source, at](std::span<std::byte> into) mutable {
    const Source::Result got = source.read(FileOffset(at), into);
    at += got.bytes;
    return got;
  };
}

Expected<std::unique_ptr<File>> unpack(const Input& input, std::span<const std::byte> start, Packing packing,
                                       uint64_t total, const CheckStart& check, const OnProgress& progress,
                                       std::vector<std::string>& warnings) {
  auto decoder = new_decoder(packing);
  if (!decoder) return std::unexpected(decoder.error());
  auto temporary = TemporaryFile::make();
  if (!temporary) return std::unexpected(temporary.error());
  Unpacker unpacker(**decoder, std::move(*temporary), check, warnings);
  std::vector<std::byte> in(kInputSize);
  uint64_t done = 0, reported = 0;
  for (auto bytes = start; !bytes.empty();) {
    const auto go_on = unpacker.take(bytes);
    if (!go_on) return std::unexpected(go_on.error());
    if (!*go_on) break;
    done += bytes.size();
    if (progress && done - reported >= (uint64_t{8} << 20)) progress(reported = done, total);
    const Source::Result more = input(in);
    if (more.bytes == 0 && more.error != 0)
      return std::unexpected(Error{Error::Kind::io, fmt::format("it cannot be read: {}", words_of(more.error))});
    bytes = std::span(in).first(more.bytes);
  }
  if (progress) progress(done, total);
  return unpacker.finish();
}

Expected<std::unique_ptr<File>> as_file(std::unique_ptr<Source> source) {
  if (auto* file = dynamic_cast<File*>(source.get())) {
    source.release();  // NOLINT(bugprone-unused-return-value): `file` is it
    return std::unique_ptr<File>(file);
  }
  auto to = TemporaryFile::make();
  if (!to) return std::unexpected(to.error());
  std::vector<std::byte> buffer(kOutputSize);
  while (true) {
    const Source::Result got = source->read(FileOffset(to->size()), buffer);
    if (got.error != 0)
      return std::unexpected(Error{Error::Kind::io, fmt::format("it cannot be read: {}", words_of(got.error))});
    if (got.bytes == 0) break;
    if (auto written = to->write(to->size(), std::span(buffer).first(got.bytes)); !written)
      return std::unexpected(written.error());
  }
  auto fd = to->finish();
  if (!fd) return std::unexpected(fd.error());
  return File::adopt(*fd, File::Lasting::yes);
}

}  // namespace gcore::reader
