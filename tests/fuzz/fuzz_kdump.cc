// A kdump-compressed file, flattened or not: whatever follows the signature, opening it and reading all that it claims
// to have ends, with reasons for what is not there. libkdumpfile is not instrumented, but its crashes are ours.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "reader/dump/dump.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gcore::reader;
  if (size < 16) return -1;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (bytes[0] != 'm') bytes.replace(0, 8, "KDUMP   ");
  const int fd = gcore::tests::input_file(bytes.data(), size);
  const auto dump = Dump::open_descriptor(fd, "input");
  if (!dump) {
    if (dump.error().text.empty() || dump.error().text.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  std::array<std::byte, 5000> buffer;
  int steps = 0;
  for (auto extent = (*dump)->next_extent(PhysAddr(0)); extent && steps < 64; ++steps) {
    if (extent->size == 0) std::abort();
    const ReadResult got = (*dump)->read(extent->address, buffer);
    if ((got.bytes < buffer.size()) != (got.missing != Missing::none)) std::abort();
    (*dump)->read(extent->address + (extent->size - 1), buffer);
    const uint64_t next = extent->address.value + extent->size;
    if (next <= extent->address.value) break;
    extent = (*dump)->next_extent(PhysAddr(next));
  }
  return 0;
}
