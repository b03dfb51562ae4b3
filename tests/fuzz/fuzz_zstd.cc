// Any bytes as a zstd file that is read in place, with a seek table or without: reading all of it and reading pieces of
// it have to agree, whatever the frames and the table say. Run with -max_len=600: one frame of a few bytes may hold
// many megabytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "reader/source/file.h"
#include "reader/source/zstd_source.h"
#include "tests/fuzz/input_file.h"
#include "writer/base/sparse_file.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::tests::require;

constexpr size_t kPiece = 64 << 10;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = gcore::tests::input_file(data, size);
  auto file = File::adopt(fd);
  require(file.has_value());
  std::unique_ptr<Source> bytes = std::move(*file);
  std::vector<std::string> warnings;
  const auto source = ZstdSource::open(bytes, {}, warnings);
  if (!source) {
    require(!source.error().text.empty());
    return 0;
  }
  if (*source == nullptr) return 0;
  const uint64_t total = (*source)->size();
  std::vector<std::byte> first(kPiece), again(kPiece);
  uint64_t place = size;
  for (size_t i = 0; i < std::min<size_t>(size, 8) && total != 0; ++i) {
    place = (place * 6364136223846793005u + data[i]) % total;
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(total - place, kPiece));
    const auto got = (*source)->read(FileOffset(place), std::span(first).first(wanted));
    require((got.bytes == wanted) == (got.error == 0));
    const size_t half = got.bytes / 2;
    const auto part = (*source)->read(FileOffset(place + half), std::span(again).first(got.bytes - half));
    require(part.bytes == got.bytes - half && std::memcmp(again.data(), &first[half], part.bytes) == 0);
    const FileOffset hole = (*source)->next_hole(FileOffset(place)), there = (*source)->next_data(FileOffset(place));
    require(hole.value >= place && there.value >= place && hole.value <= total && there.value <= total);
    const size_t zeros = static_cast<size_t>(std::min<uint64_t>(there.value - place, got.bytes));
    require(gcore::base::is_zero(std::span(first).first(zeros)));
    if (const auto pinned = (*source)->pin(FileOffset(place), wanted); pinned && got.bytes >= pinned->bytes.size())
      require(std::memcmp(pinned->bytes.data(), first.data(), pinned->bytes.size()) == 0);
  }
  std::byte past;
  require((*source)->read(FileOffset(total), std::span(&past, 1)).bytes == 0);
  return 0;
}
