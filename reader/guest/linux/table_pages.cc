#include "reader/guest/linux/table_pages.h"

#include <algorithm>
#include <span>
#include <vector>

#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

constexpr uint64_t kPage = 4096;
// What a quick search reads of memory: so much of each stretch of it, and so much in all.
constexpr uint64_t kQuickPart = 64 << 20, kQuickAll = 128 << 20;

}  // namespace

void for_each_page(const Dump& dump, GuestSearch search, const std::function<bool(PhysAddr, const Table&)>& on_page) {
  constexpr size_t kChunk = 256 * kPage;
  std::vector<std::byte> chunk(kChunk);
  Table entries;
  const bool all = search == GuestSearch::thorough;
  uint64_t budget = all ? UINT64_MAX : kQuickAll;
  PhysAddr begin(0), end(0);  // of the stretch of memory
  for (auto extent = dump.next_extent(PhysAddr(0)); extent; extent = dump.next_extent(extent->address)) {
    if (extent->address != end) begin = extent->address;
    end = extent->address + extent->size;
    const bool data = extent->kind == Dump::Extent::Kind::data;
    for (uint64_t done = (0 - extent->address.value) % kPage; data && done < extent->size; done += kChunk) {
      const uint64_t from_begin = extent->address.value - begin.value + done;
      if (budget == 0 || (!all && from_begin >= kQuickPart)) break;
      const auto wanted = static_cast<size_t>(std::min<uint64_t>(kChunk, extent->size - done));
      budget -= std::min<uint64_t>(budget, wanted);
      const size_t got = dump.read(extent->address + done, std::span(chunk).first(wanted)).bytes;
      for (size_t at = 0; at + kPage <= got; at += kPage) {
        for (size_t i = 0; i < kTableEntries; ++i)
          entries[i] = format::load<uint64_t>(&chunk[at + i * 8], dump.byte_order());
        if (on_page(extent->address + done + at, entries)) return;
      }
    }
    extent->address = end;
    if (end == PhysAddr(0) || budget == 0) return;
  }
}

bool is_memory(const Dump& dump, const MappedImage& image) {
  return !image.empty() && bytes_in_dump(dump, image) > size_of(image) / 2;
}

bool is_in(const MappedImage& image, PhysAddr address) {
  return std::ranges::any_of(
      image, [&](const translate::Mapping& piece) { return address.value - piece.physical.value < piece.size; });
}

}  // namespace gcore::reader
