#include "reader/source/lzop_decoder.h"

#ifdef GCORE_WITH_LZO

#include <lzo/lzo1x.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "reader/source/loaded_library.h"
#include "writer/format/endian.h"

namespace gcore::reader {

struct Lzo {
  LoadedLibrary library{GCORE_LZO_SONAME};
  decltype(&lzo1x_decompress_safe) decompress = library.find("lzo1x_decompress_safe");
};

const Lzo* lzo() { return loaded<Lzo>(); }

namespace {

constexpr unsigned char kMagic[] = {0x89, 'L', 'Z', 'O', 0, '\r', '\n', 0x1a, '\n'};
constexpr uint32_t kAdlerUnpacked = 0x1, kAdlerPacked = 0x2, kExtraField = 0x40, kCrcUnpacked = 0x100,
                   kCrcPacked = 0x200, kFilter = 0x800;
constexpr uint32_t kSums[] = {kAdlerUnpacked, kCrcUnpacked, kAdlerPacked, kCrcPacked};  // in the order of a block's
constexpr uint32_t kMaxBlock = 64 << 20;
constexpr uint16_t kNewHeader = 0x0940;  // from this version of lzop on: three fields more
constexpr size_t kVersion = sizeof kMagic, kOldSize = kVersion + 4 + 1 + 4 + 4 + 4 + 1, kNewSize = kOldSize + 2 + 1 + 4;

uint32_t sum_of(size_t kind, std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  const auto size = static_cast<uInt>(bytes.size());
  return static_cast<uint32_t>(kind % 2 == 0 ? adler32(adler32(0, nullptr, 0), data, size)
                                             : crc32(crc32(0, nullptr, 0), data, size));
}

}  // namespace

size_t LzopDecoder::decode(std::span<const std::byte>& in, std::span<std::byte> out, State& state) {
  size_t done = 0;
  state = State::more;
  while (state == State::more) {
    const size_t size = std::min(block_.size() - given_, out.size() - done);
    std::copy_n(block_.begin() + static_cast<ptrdiff_t>(given_), size, out.begin() + static_cast<ptrdiff_t>(done));
    given_ += size;
    done += size;
    if (given_ < block_.size()) return done;
    switch (part_) {
      case Part::start:
        wanted_ = kVersion + 2;
        if (!take(in, wanted_)) return done;
        state = std::memcmp(taken_.data(), kMagic, sizeof kMagic) == 0 ? State::more : State::damaged;
        part_ = Part::header;
        header_ = format::load<uint16_t>(&taken_[kVersion], format::ByteOrder::big) < kNewHeader ? kOldSize : kNewSize;
        break;
      case Part::header:
        if (!take(in, header_)) return done;
        state = read_header();
        break;
      case Part::name:
        if (!take(in, wanted_)) return done;
        state = read_name();
        break;
      case Part::block:
        if (!take(in, 4)) return done;
        if (number(0) != 0 && !take(in, 8)) return done;
        if (number(0) != 0 && !take(in, 8 + 4 * numbers_of_block())) return done;
        state = read_block();
        break;
      case Part::bytes:
        if (!take(in, packed_)) return done;
        state = unpack_block();
        break;
    }
  }
  return done;
}

bool LzopDecoder::take(std::span<const std::byte>& in, size_t size) {
  if (taken_.size() < size) {
    const size_t some = std::min(size - taken_.size(), in.size());
    taken_.insert(taken_.end(), in.begin(), in.begin() + static_cast<ptrdiff_t>(some));
    in = in.subspan(some);
  }
  return taken_.size() >= size;
}

uint32_t LzopDecoder::number(size_t at) const { return format::load<uint32_t>(&taken_[at], format::ByteOrder::big); }

LzopDecoder::State LzopDecoder::read_header() {
  const size_t method = kVersion + (header_ == kNewSize ? 6 : 4);
  flags_ = number(method + (header_ == kNewSize ? 2 : 1));
  // No program has used a filter since 1997.
  if ((flags_ & kFilter) != 0) return State::damaged;
  const auto name = static_cast<size_t>(taken_[header_ - 1]);
  wanted_ = header_ + name + 4;
  if ((flags_ & kExtraField) != 0) wanted_ += 4;
  part_ = Part::name;
  return State::more;
}

// Up to the header's checksum, and the length of an extra field after it.
LzopDecoder::State LzopDecoder::read_name() {
  if ((flags_ & kExtraField) != 0) {
    const uint32_t extra = number(wanted_ - 4);
    if (extra > kMaxBlock) return State::damaged;
    flags_ &= ~kExtraField;
    wanted_ += size_t{extra} + 4;
    return State::more;
  }
  taken_.clear();
  part_ = Part::block;
  return State::more;
}

// A block that could not be packed has no checksums of what is packed.
size_t LzopDecoder::numbers_of_block() const {
  const bool is_packed = number(4) < number(0);
  size_t count = 0;
  for (size_t kind = 0; kind < std::size(kSums); ++kind)
    if ((flags_ & kSums[kind]) != 0 && (kind < 2 || is_packed)) ++count;
  return count;
}

LzopDecoder::State LzopDecoder::read_block() {
  unpacked_ = number(0);
  if (unpacked_ == 0) {
    part_ = Part::start;
    taken_.clear();
    return State::end;
  }
  packed_ = number(4);
  if (unpacked_ > kMaxBlock || packed_ == 0 || packed_ > unpacked_) return State::damaged;
  size_t at = 8;
  for (size_t kind = 0; kind < std::size(kSums); ++kind) {
    if ((flags_ & kSums[kind]) == 0 || (kind >= 2 && packed_ == unpacked_)) continue;
    sums_[kind] = number(at);
    at += 4;
  }
  part_ = Part::bytes;
  taken_.clear();
  return State::more;
}

LzopDecoder::State LzopDecoder::unpack_block() {
  const bool is_packed = packed_ < unpacked_;
  for (size_t kind = 2; kind < std::size(kSums); ++kind)
    if (is_packed && (flags_ & kSums[kind]) != 0 && sum_of(kind, taken_) != sums_[kind]) return State::damaged;
  if (is_packed) {
    block_.resize(unpacked_);
    lzo_uint size = unpacked_;
    const int result = lzo_.decompress(reinterpret_cast<const unsigned char*>(taken_.data()), packed_,
                                       reinterpret_cast<unsigned char*>(block_.data()), &size, nullptr);
    if (result != LZO_E_OK || size != unpacked_) {
      block_.clear();
      given_ = 0;
      return State::damaged;
    }
  } else {
    block_.swap(taken_);
  }
  given_ = 0;
  taken_.clear();
  part_ = Part::block;
  for (size_t kind = 0; kind < 2; ++kind)
    if ((flags_ & kSums[kind]) != 0 && sum_of(kind, block_) != sums_[kind]) return State::wrong_checksum;
  return State::more;
}

}  // namespace gcore::reader

#endif
