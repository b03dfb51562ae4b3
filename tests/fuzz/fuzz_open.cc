// Opens any bytes as a dump and uses everything that it offers. What begins with "raw!" is memory without a header.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "reader/dump/dump.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gcore::reader;
  const int fd = gcore::tests::input_file(data, size);
  OpenOptions options;
  if (size >= 4 && std::memcmp(data, "raw!", 4) == 0) options.raw = RawMemory{};
  auto dump = Dump::open_descriptor(fd, "input", options);
  if (!dump) {
    if (dump.error().text.empty() || dump.error().text.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  uint64_t covered = 0;
  std::array<std::byte, 64> bytes;
  int steps = 0;
  for (auto extent = (*dump)->next_extent(PhysAddr(0)); extent && steps < 64; ++steps) {
    if (extent->size == 0 || !(*dump)->segment_at(extent->address)) std::abort();
    covered += extent->size;
    const ReadResult got = (*dump)->read(extent->address, bytes);
    // That a chunk cannot be unpacked shows when it is.
    if ((got.bytes == 0) != (extent->kind == Dump::Extent::Kind::missing) && got.missing != Missing::damaged)
      std::abort();
    if ((got.bytes < bytes.size()) != (got.missing != Missing::none)) std::abort();
    const uint64_t next = extent->address.value + extent->size;
    if (next <= extent->address.value) break;
    extent = (*dump)->next_extent(PhysAddr(next));
  }
  if (steps < 64 && covered > (*dump)->memory_bytes() && (*dump)->memory_bytes() != 0) std::abort();
  uint64_t from = 0;
  for (auto lost = (*dump)->next_missing(PhysAddr(0)); lost && steps < 128; ++steps) {
    if (lost->kind != Dump::Extent::Kind::missing || lost->why == Missing::none || lost->size == 0) std::abort();
    if (lost->address.value < from || (*dump)->read(lost->address, bytes).bytes != 0) std::abort();
    from = lost->address.value + lost->size;
    if (from <= lost->address.value) break;
    lost = (*dump)->next_missing(PhysAddr(from));
  }
  for (const Segment& segment : (*dump)->segments()) {
    if ((*dump)->bytes_in_file(segment) > segment.file_size) std::abort();
    (*dump)->read(segment.address + (segment.memory_size - 1), bytes);
  }
  if (!(*dump)->cpus().empty() && (*dump)->faulting_cpu() >= (*dump)->cpus().size()) std::abort();
  return 0;
}
