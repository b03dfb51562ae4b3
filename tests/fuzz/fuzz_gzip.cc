// Any bytes as a gzip file that is read in place. What is read at any place has to be what unpacking from front to end
// gives.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "reader/source/decoder.h"
#include "reader/source/file.h"
#include "reader/source/gzip_source.h"
#include "tests/fuzz/input_file.h"
#include "writer/base/sparse_file.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::tests::require;

/// memcmp rather than a loop: in a loop the fuzzer would look at every byte.
bool is_equal(std::span<const std::byte> a, const std::byte* b) {
  return a.empty() || std::memcmp(a.data(), b, a.size()) == 0;
}

std::vector<std::byte> unpacked(std::span<const std::byte> in) {
  auto decoder = new_decoder(Packing::gzip);
  std::vector<std::byte> out, buffer(1 << 16);
  size_t produced = 0;
  do {
    Decoder::State state = Decoder::State::more;
    produced = (*decoder)->decode(in, buffer, state);
    out.insert(out.end(), buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(produced));
    if (state == Decoder::State::damaged || state == Decoder::State::wrong_checksum) break;
  } while (!in.empty() || produced == buffer.size());
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = gcore::tests::input_file(data, size);
  auto file = File::adopt(fd);
  require(file.has_value());
  std::unique_ptr<Source> bytes = std::move(*file);
  std::vector<std::string> warnings;
  const auto source =
      GzipSource::open(bytes, [](std::span<const std::byte>) { return Expected<void>(); }, {}, warnings);
  if (!source) {
    require(!source.error().text.empty());
    return 0;
  }
  if (*source == nullptr) return 0;
  const std::vector<std::byte> expected = unpacked(std::as_bytes(std::span(data, size)));
  require((*source)->size() == expected.size());
  std::vector<std::byte> got(expected.size() + 1);
  const auto all = (*source)->read(FileOffset(0), got);
  require(all.bytes == expected.size() && all.error == 0 && is_equal(expected, got.data()));
  uint64_t place = size;  // pieces from places that the input chooses
  for (size_t i = 0; i + 1 < std::min<size_t>(size, 16) && !expected.empty(); ++i) {
    place = (place * 6364136223846793005u + data[i]) % expected.size();
    const size_t wanted = std::min<size_t>(expected.size() - place, 100 * data[i + 1] + 1);
    const auto piece = (*source)->read(FileOffset(place), std::span(got).first(wanted));
    require(piece.bytes == wanted && std::memcmp(got.data(), &expected[place], wanted) == 0);
    const FileOffset hole = (*source)->next_hole(FileOffset(place)), there = (*source)->next_data(FileOffset(place));
    require(hole.value >= place && there.value >= place && hole.value <= expected.size());
    require(gcore::base::is_zero(std::span(expected).subspan(place, there.value - place)));
    if (const auto pinned = (*source)->pin(FileOffset(place), wanted))
      require(!pinned->bytes.empty() && std::memcmp(pinned->bytes.data(), &expected[place], pinned->bytes.size()) == 0);
  }
  return 0;
}
