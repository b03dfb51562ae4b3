#include "reader/guest/linux/kernel_tables.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "reader/space/dump_translator.h"
#include "writer/format/endian.h"

namespace gcore::reader {
namespace {

using translate::Mapping;
using translate::Paging;
using translate::Translator;

constexpr uint64_t kPage = 4096;
constexpr size_t kEntries = 512, kMaxCandidates = 1 << 14;
// What hostile memory can cost: images looked through, and (aarch64) tables read.
constexpr size_t kMaxImages = 16;
constexpr uint64_t kMaxTables = 1 << 22;
using Table = std::array<uint64_t, kEntries>;

// What a quick search reads of memory: so much of each stretch of it, and so much in all.
constexpr uint64_t kQuickPart = 64 << 20, kQuickAll = 128 << 20;

/// Calls on_page(address, entries) for every page of data, until that says true.
template <class OnPage>
void for_each_page(const Dump& dump, GuestSearch search, const OnPage& on_page) {
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
        for (size_t i = 0; i < kEntries; ++i)
          entries[i] = format::load<uint64_t>(&chunk[at + i * 8], dump.byte_order());
        if (on_page(extent->address + done + at, entries)) return;
      }
    }
    extent->address = end;
    if (end == PhysAddr(0) || budget == 0) return;
  }
}

/// Pages that look like tables map many things; a kernel's image is memory that the machine has.
bool is_memory(const Dump& dump, const MappedImage& image) {
  return !image.empty() && bytes_in_dump(dump, image) > size_of(image) / 2;
}

bool is_in(const MappedImage& image, PhysAddr address) {
  return std::ranges::any_of(image,
                             [&](const Mapping& piece) { return address.value - piece.physical.value < piece.size; });
}

// ---- x86_64

constexpr uint64_t kAddress = ((uint64_t{1} << 52) - 1) & ~uint64_t{0xfff};

/// A present entry that can only be a table's, or 0.
uint64_t table_of(const Dump& dump, uint64_t entry) {
  constexpr uint64_t kPresent = 1, kLarge = 1 << 7, kIgnored = uint64_t{0x7ff} << 52;
  const uint64_t table = entry & kAddress;
  if ((entry & kPresent) == 0 || (entry & (kLarge | kIgnored)) != 0) return 0;
  return dump.segment_at(PhysAddr(table)) != nullptr ? table : 0;
}

Paging x86_tables(PhysAddr root, bool five_level) {
  translate::X86Registers registers;
  registers.page_table = root.value;
  registers.five_level = five_level;
  return *translate::x86_paging(registers);
}

std::optional<FoundTables> find_x86_tables(const Dump& dump, GuestSearch search) {
  struct Candidate {
    PhysAddr page;
    uint64_t last;  // the table that its last entry leads to
    long score;     // entries of the kernel's half that are used; among equals, those of the other half that are not
  };
  std::vector<Candidate> candidates;
  for_each_page(dump, search, [&](PhysAddr page, const Table& entries) {
    const uint64_t last = table_of(dump, entries[kEntries - 1]);
    if (last == 0 || last == page.value) return false;
    const auto middle = entries.begin() + kEntries / 2;
    const auto unused = [](auto from, auto to) { return std::count(from, to, uint64_t{0}); };
    const auto score =
        (long{kEntries} / 2 - unused(middle, entries.end())) * long{kEntries} + unused(entries.begin(), middle);
    candidates.push_back({page, last, score});
    return candidates.size() == kMaxCandidates;
  });
  size_t images = 0;
  for (const Candidate& candidate : candidates) {
    const Translator translator = translator_of(dump, x86_tables(candidate.page, false));
    // Cheap: the table of the image's gigabyte is there.
    std::byte entry[8];
    constexpr uint64_t kGigabyte = 510;
    if (dump.read(PhysAddr(candidate.last) + kGigabyte * 8, entry).bytes != sizeof entry ||
        table_of(dump, format::load<uint64_t>(entry, format::ByteOrder::little)) == 0)
      continue;
    if (images++ == kMaxImages) break;
    MappedImage image = x86_kernel_image(translator);
    if (!is_memory(dump, image)) continue;
    std::string banner = find_banner(dump, image, "");
    if (banner.empty()) continue;
    FoundTables found{x86_tables(candidate.page, false), std::move(image), std::move(banner)};
    // Processes' roots have the kernel's half, too; the kernel's own is in its image, where there are also those that
    // it booted with, which have little else. With five levels, what was found is the table below the root.
    for (const bool five : {false, true}) {
      const uint64_t below = five ? found.paging.lower.root.value : candidate.last;
      long most = 0;
      for (const Candidate& other : candidates) {
        if (!is_in(found.image, other.page) || other.last != below || other.score <= most) continue;
        most = other.score;
        found.paging = x86_tables(other.page, five);
      }
    }
    return found;
  }
  return std::nullopt;
}

// ---- aarch64

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

std::optional<FoundTables> find_aarch64_tables(const Dump& dump, GuestSearch search) {
  std::vector<PhysAddr> candidates;
  for_each_page(dump, search, [&](PhysAddr page, const Table& entries) {
    if (may_be_root(dump, entries)) candidates.push_back(page);
    return candidates.size() == kMaxCandidates;
  });
  Effort effort;
  for (const Size size : kSizes)
    for (const PhysAddr candidate : candidates)
      if (effort.tables != 0)
        if (auto found = try_aarch64_tables(dump, candidate, size, effort)) return found;
  return std::nullopt;
}

}  // namespace

std::optional<FoundTables> find_kernel_tables(const Dump& dump, GuestSearch search) {
  switch (dump.machine()) {
    case format::Machine::x86_64:
      return search == GuestSearch::thorough ? find_x86_tables(dump, search) : std::nullopt;
    case format::Machine::aarch64:
      return find_aarch64_tables(dump, search);
    case format::Machine::x86:
      break;
  }
  return std::nullopt;
}

}  // namespace gcore::reader
