#include <algorithm>
#include <utility>
#include <vector>

#include "reader/guest/linux/aarch64/parts.h"
#include "reader/guest/linux/table_pages.h"
#include "reader/space/dump_translator.h"

namespace gcore::reader::linux_guest {
namespace {

using translate::Mapping;
using translate::Paging;
using translate::Translator;

// What hostile memory can cost: tables read.
constexpr uint64_t kMaxTables = 1 << 22;

struct Size {
  unsigned page_shift, bits;
};
// arch/arm64/Kconfig, ARM64_VA_BITS. A root table of few entries looks alike in many sizes, so the usual ones are
// first; but a table of the level below is a root of a smaller size, so of 4K pages the largest is.
constexpr Size kSizes[] = {{12, 52}, {12, 48}, {12, 39}, {16, 48}, {14, 47}, {16, 42}, {14, 48}, {16, 52}, {14, 36}};

/// Whether a vCPU that is in the kernel executes what these tables map, or there is none.
bool map_what_runs(const Dump& dump, const Translator& translator) {
  bool any = false;
  for (const Cpu& cpu : dump.cpus()) {
    const auto pc = cpu.registers.get("elr"), state = cpu.registers.get("pstate");
    constexpr uint64_t kLevel = 0xc, kAarch32 = 0x10;
    if (!pc || !state || *pc >> 55 != 0x1ff || (*state & kLevel) == 0 || (*state & kAarch32) != 0) continue;
    any = true;
    const auto there = translator.translate(VirtAddr(*pc));
    if (there && dump.segment_at(there->address) != nullptr) return true;
  }
  return !any;
}

Paging aarch64_tables(const Dump& dump, PhysAddr root, Size size) {
  const uint64_t txsz = 64 - size.bits;
  const uint64_t granule0 = size.page_shift == 16 ? 1 : size.page_shift == 14 ? 2 : 0;
  const uint64_t granule1 = size.page_shift == 16 ? 3 : size.page_shift == 14 ? 1 : 2;
  translate::Aarch64Registers registers;
  registers.tcr = txsz | granule0 << 14 | txsz << 16 | granule1 << 30;
  if (size.bits == 52) *registers.tcr |= size.page_shift == 16 ? uint64_t{6} << 32 : uint64_t{1} << 59;
  registers.ttbr1 = 0;
  registers.big_endian = dump.byte_order() == format::ByteOrder::big;
  auto paging = *translate::aarch64_paging(registers);
  set_root(paging, paging.upper, root);
  return paging;
}

/// Few entries, and all of them tables (with 39 bits perhaps blocks) in memory.
bool may_be_root(const Dump& dump, const Table& entries) {
  constexpr size_t kMost = 128;
  size_t used = 0, tables = 0;
  for (const uint64_t entry : entries) {
    if (entry == 0) continue;
    if ((entry & 1) == 0 || ++used > kMost) return false;
    if ((entry & 3) != 3) continue;
    const uint64_t target = entry & 0x0000fffffffff000;
    if ((entry & 0x07ff000000000000) != 0 || dump.segment_at(PhysAddr(target)) == nullptr) return false;
    ++tables;
  }
  return tables >= 2 && used - tables <= tables + 8;
}

/// What may still be done.
struct Effort {
  size_t images = kMaxImages;
  uint64_t tables = kMaxTables;
};

/// The tables that a kernel boots with map its image alone, or that at its physical address; they may still be there.
/// Those that it runs with map all of memory as well.
std::optional<FoundTables> try_aarch64_tables(const Dump& dump, PhysAddr root, Size size, Effort& effort) {
  constexpr uint64_t kText = 2 << 20, kTables = 1 << 16;
  const Translator translator = translator_of(dump, aarch64_tables(dump, root, size));
  if (!translator.paging().upper.usable || translator.paging().upper.root != root) return std::nullopt;
  if (!map_what_runs(dump, translator)) return std::nullopt;
  std::optional<VirtAddr> text;
  uint64_t bytes = 0;
  translate::Limits limits;
  limits.table_visits = std::min(kTables, effort.tables);
  const auto listing = translator.enumerate(
      [&](const Mapping& mapping) {
        const bool is_text = mapping.permissions.execute && !mapping.permissions.user && mapping.size >= kText;
        if (is_text && !text) text = mapping.start;
        if (dump.segment_at(mapping.physical) != nullptr) bytes += mapping.size;
        return true;
      },
      limits);
  effort.tables -= std::min(effort.tables, listing.table_visits + 1);
  if (!text || (!listing.stopped && bytes < dump.memory_bytes() / 2)) return std::nullopt;
  if (effort.images == 0) return std::nullopt;
  --effort.images;
  FoundTables found{translator.paging(), image_around(translator, *text), ""};
  // The kernel's root table (swapper_pg_dir) is a part of its image; what only looks like one lies elsewhere.
  if (!is_memory(dump, found.image) || !is_in(found.image, root)) return std::nullopt;
  found.banner = find_banner(dump, found.image, "");
  return found.banner.empty() ? std::nullopt : std::optional(std::move(found));
}

}  // namespace

std::optional<FoundTables> find_aarch64_tables(const Dump& dump, GuestSearch search) {
  std::vector<PhysAddr> candidates;
  for_each_page(dump, search, [&](PhysAddr page, const Table& entries) {
    if (may_be_root(dump, entries)) candidates.push_back(page);
    return candidates.size() == kMaxTableCandidates;
  });
  Effort effort;
  for (const Size size : kSizes)
    for (const PhysAddr candidate : candidates)
      if (effort.tables != 0)
        if (auto found = try_aarch64_tables(dump, candidate, size, effort)) return found;
  return std::nullopt;
}

}  // namespace gcore::reader::linux_guest
