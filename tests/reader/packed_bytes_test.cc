// Unpacking in memory, of what gzip, zstd and xz themselves pack.
#include "reader/source/packed_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/support/process.h"

namespace gcore::tests {
namespace {

using reader::Beyond;
using reader::Packing;
using testing::AnyOf;
using testing::HasSubstr;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string text(const std::vector<std::byte>& from) {
  return {reinterpret_cast<const char*>(from.data()), from.size()};
}

std::string some_text() {
  std::string all;
  for (int i = 0; i < 20000; ++i) all += "line " + std::to_string(i * 7919) + "\n";
  return all;
}

struct Unpack : testing::TestWithParam<Packing> {
  const std::string plain = some_text(), packed = pack(plain);

  static std::string pack(const std::string& plain) {
    if (GetParam() == Packing::zlib) {
      std::string out(compressBound(plain.size()), '\0');
      uLongf size = out.size();
      compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(plain.data()), plain.size());
      return out.substr(0, size);
    }
    return run({to_string(GetParam()), "-c"}, 60s, plain).out;
  }
  auto unpack(const std::string& from, uint64_t limit, Beyond beyond = Beyond::fail) const {
    return reader::unpack_bytes(GetParam(), bytes(from), limit, beyond);
  }
};

TEST_P(Unpack, GivesWhatWasPacked) {
  EXPECT_EQ(reader::packed_by(bytes(packed)), GetParam() == Packing::zlib ? std::nullopt : std::optional(GetParam()));
  for (const uint64_t limit : {uint64_t{plain.size()}, uint64_t{plain.size()} + 1, uint64_t{1} << 40}) {
    const auto done = unpack(packed, limit);
    ASSERT_TRUE(done) << done.error().text;
    EXPECT_EQ(text(*done), plain);
  }
}

TEST_P(Unpack, StopsAtItsLimit) {
  const auto done = unpack(packed, plain.size() - 1);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().text, HasSubstr("data unpacks to more than " + std::to_string(plain.size() - 1) + " bytes"));
  for (const size_t limit : {size_t{0}, size_t{20}, size_t{100000}, plain.size()}) {
    const auto cut = unpack(packed.substr(0, limit == 20 ? packed.size() / 2 : packed.size()), limit, Beyond::cut);
    ASSERT_TRUE(cut) << cut.error().text;
    EXPECT_EQ(text(*cut), plain.substr(0, limit));
  }
}

TEST_P(Unpack, TellsWhatIsDamaged) {
  for (const size_t size : {packed.size() / 2, packed.size() - 1, size_t{7}}) {
    const auto done = unpack(packed.substr(0, size), 1 << 30);
    ASSERT_FALSE(done) << size;
    EXPECT_THAT(done.error().text, AnyOf(HasSubstr("data ends early"), HasSubstr("data is damaged")));
  }
  std::string other = packed;
  for (size_t i = other.size() / 2; i < other.size() / 2 + 16; ++i) other[i] = static_cast<char>(other[i] ^ 0x55);
  const auto done = unpack(other, 1 << 30);
  EXPECT_TRUE(!done || text(*done) != plain);  // zstd's own program adds no checksum where it packs a pipe
}

INSTANTIATE_TEST_SUITE_P(Each, Unpack, testing::Values(Packing::gzip, Packing::zlib, Packing::zstd, Packing::xz),
                         [](const auto& test) { return std::string(to_string(test.param)); });

}  // namespace
}  // namespace gcore::tests
