#include <algorithm>
#include <utility>
#include <vector>

#include "reader/guest/linux/table_pages.h"
#include "reader/guest/linux/x86_64/parts.h"
#include "reader/space/dump_translator.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

using translate::Paging;
using translate::Translator;

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

}  // namespace

std::optional<FoundTables> find_x86_64_tables(const Dump& dump, GuestSearch search) {
  struct Candidate {
    PhysAddr page;
    uint64_t last;  // the table that its last entry leads to
    long score;     // entries of the kernel's half that are used; among equals, those of the other half that are not
  };
  std::vector<Candidate> candidates;
  for_each_page(dump, search, [&](PhysAddr page, const Table& entries) {
    const uint64_t last = table_of(dump, entries[kTableEntries - 1]);
    if (last == 0 || last == page.value) return false;
    const auto middle = entries.begin() + kTableEntries / 2;
    const auto unused = [](auto from, auto to) { return std::count(from, to, uint64_t{0}); };
    const auto score = (long{kTableEntries} / 2 - unused(middle, entries.end())) * long{kTableEntries} +
                       unused(entries.begin(), middle);
    candidates.push_back({page, last, score});
    return candidates.size() == kMaxTableCandidates;
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
    MappedImage image = x86_64_image(translator);
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

}  // namespace gcore::reader::linux_guest
