#include "reader/source/packed_bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace gcore::reader {
namespace {

constexpr size_t kStep = 1 << 16;
constexpr size_t kMaxTaken = 1 << 30;  // at once: zlib counts in 32 bits

}  // namespace

std::optional<Packing> packed_by(std::span<const std::byte> start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (text.starts_with(std::string_view("\xfd"
                                        "7zXZ\0",
                                        6)))
    return Packing::xz;
  const Packing known = packing_of(start);
  return known == Packing::none ? std::nullopt : std::optional(known);
}

Expected<std::vector<std::byte>> unpack_bytes(Packing how, std::span<const std::byte> bytes, uint64_t limit,
                                              Beyond beyond) {
  const auto fail = [&](std::string_view what) {
    return std::unexpected(Error{Error::Kind::malformed, fmt::format("its {} data {}", to_string(how), what)});
  };
  auto decoder = new_decoder(how);
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
    if (state == Decoder::State::end && (bytes.empty() || how == Packing::zlib || how == Packing::xz)) break;
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
