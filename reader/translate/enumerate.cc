// Listing what is mapped: a depth-first visit of the tables, in the order of the addresses. Where it stands is in a
// list of tables that it is in, so that it can be interrupted after any table.
#include <algorithm>
#include <array>
#include <cinttypes>
#include <span>
#include <unordered_map>

#include "reader/translate/step.h"
#include "reader/translate/translator.h"

namespace gcore::translate {
namespace {

constexpr size_t kPiece = 4096;

}  // namespace

class Enumeration::Lister {
 public:
  Lister(Paging paging, ReadPhysical read, const Limits& limits, OnTable on_table)
      : paging_(std::move(paging)), read_(std::move(read)), limits_(limits), on_table_(std::move(on_table)) {}

  bool step(const OnMapping& on_mapping, uint64_t table_visits) {
    if (done_) return false;
    on_mapping_ = &on_mapping;
    const uint64_t until = listing_.table_visits + std::min(table_visits, UINT64_MAX - listing_.table_visits);
    while (!done_ && listing_.table_visits < until) advance();
    on_mapping_ = nullptr;
    return !done_;
  }
  const Listing& listing() const { return listing_; }

 private:
  /// A table that is being looked into.
  struct Level {
    uint64_t table = 0;
    unsigned height = 0;
    uint64_t base = 0;
    Rights rights = kMayAll;
    size_t next = 0, last = 0;            // entries that are still to be looked at
    size_t piece_first = 0, present = 0;  // which of them are in the buffer
    size_t piece_last = 0;
    bool missing = false;
  };

  /// Does what comes next: starts a half, or goes on in the innermost table.
  void advance() {
    if (depth_ > 0) return go_on();
    if (listing_.stopped || next_half_ == 2) return finish();
    if (paging_.mode == Mode::identity) {
      pending_ = {VirtAddr(0), uint64_t{1} << paging_.identity_bits, PhysAddr(0), 0, {}};
      next_half_ = 2;
      return;
    }
    const bool upper = next_half_++ == 1;
    visit_half(upper ? paging_.upper : paging_.lower, upper);
  }

  void finish() {
    flush();
    describe_gaps();
    done_ = true;
  }

  void visit_half(const Half& half, bool upper) {
    if (!half.usable) return;
    half_ = &half;
    size_t first = 0, last = size_t{1} << half.root_bits;
    if (paging_.mode == Mode::x86_64) (upper ? first : last) = last / 2;  // both halves are in one table
    const uint64_t base = upper ? ~uint64_t{0} << half.address_bits : 0;
    visit(half.root.value, half.levels - 1u, base, kMayAll, first, last);
  }

  /// Goes into one table, from entry `first` up to `last`.
  void visit(uint64_t table, unsigned height, uint64_t base, Rights rights, size_t first, size_t last) {
    const size_t width = paging_.entry_bytes;
    if (!enter(table, height, (last - first) * width)) return;
    if (on_table_) on_table_(PhysAddr(table + first * width), (last - first) * width);
    levels_[depth_++] = {.table = table,
                         .height = height,
                         .base = base,
                         .rights = rights,
                         .next = first,
                         .last = last,
                         .piece_first = first,
                         .present = 0,
                         .piece_last = first,
                         .missing = false};
  }

  /// Reads at most 4 KiB of a table: of a larger one the dump may have some pages only.
  void read_piece(Level& level) {
    const size_t width = paging_.entry_bytes;
    level.piece_first = level.next;
    level.piece_last = std::min(level.next + kPiece / width, level.last);
    const size_t wanted = level.piece_last - level.piece_first;
    const auto got = read_(PhysAddr(level.table + level.piece_first * width),
                           std::span(buffers_[level.height]).first(wanted * width));
    level.present = got.bytes / width;
    if (level.present < wanted) level.missing = true;
  }

  /// Looks at the entries of the innermost table, up to one that leads to another table.
  void go_on() {
    Level& level = levels_[depth_ - 1];
    const size_t width = paging_.entry_bytes;
    const unsigned shift = shift_of(*half_, level.height);
    while (level.next < level.last) {
      if (level.next == level.piece_last) read_piece(level);
      if (level.next - level.piece_first >= level.present) {
        level.next = level.piece_last;
        continue;
      }
      const std::byte* at = &buffers_[level.height][(level.next - level.piece_first) * width];
      const Decoded decoded = decode(paging_, *half_, level.height, load_entry(paging_, at), level.rights);
      const uint64_t address = level.base | static_cast<uint64_t>(level.next) << shift;
      ++level.next;
      if (decoded.meaning == Step::Meaning::malformed) ++listing_.malformed_entries;
      if (decoded.meaning == Step::Meaning::page) add(address, decoded, uint64_t{1} << shift);
      if (decoded.meaning == Step::Meaning::table) {
        visit(decoded.target, level.height - 1, address, decoded.rights, 0, size_t{1} << half_->level_bits);
        if (!listing_.stopped) return;
      }
      if (listing_.stopped) {
        depth_ = 0;
        return;
      }
    }
    if (level.missing) ++listing_.missing_tables;
    --depth_;
  }

  /// Whether to look into a table: within the limits.
  bool enter(uint64_t table, unsigned height, size_t size) {
    // Tables are at least 16 bytes apart, so that the height fits below the address.
    uint32_t& visits = visits_[table | height];
    if (visits >= limits_.visits_per_table) {
      ++listing_.skipped_tables;
      return false;
    }
    const uint64_t cost = size <= kPiece ? 1 : size / kPiece;
    if (limits_.table_visits - listing_.table_visits < cost) {
      listing_.stopped = true;
      limit_hit_ = true;
      return false;
    }
    ++visits;
    listing_.table_visits += cost;
    return true;
  }

  void add(uint64_t address, const Decoded& decoded, uint64_t size) {
    const Permissions permissions = permissions_of(decoded.rights);
    if (pending_.size != 0 && pending_.start.value + pending_.size == address &&
        pending_.physical.value + pending_.size == decoded.target && pending_.page_size == size &&
        pending_.permissions == permissions) {
      pending_.size += size;
      return;
    }
    flush();
    if (listing_.stopped) return;
    pending_ = {VirtAddr(address), size, PhysAddr(decoded.target), size, permissions};
  }

  void flush() {
    if (pending_.size == 0) return;
    const bool go_on = (*on_mapping_)(pending_);
    pending_.size = 0;
    if (!go_on) listing_.stopped = true;
  }

  void describe_gaps() {
    auto say = [&](uint64_t count, const char* what) {
      if (count == 0) return;
      if (!listing_.note.empty()) listing_.note += ", ";
      listing_.note += formatted("%" PRIu64 " %s", count, what);
    };
    if (limit_hit_)
      listing_.note = formatted("stopped after %" PRIu64 " table visits", listing_.table_visits);
    else if (listing_.stopped)
      listing_.note = "stopped by the receiver";
    say(listing_.missing_tables, "tables or parts of them are not in the dump");
    say(listing_.malformed_entries, "malformed entries passed over");
    say(listing_.skipped_tables, "repetitions of tables left out");
  }

  const Paging paging_;
  const ReadPhysical read_;
  const Limits limits_;
  const OnTable on_table_;
  const OnMapping* on_mapping_ = nullptr;  // while a step is done
  const Half* half_ = nullptr;
  int next_half_ = 0;
  bool done_ = false;
  std::array<Level, 5> levels_;  // the first depth_ of them, the innermost last
  size_t depth_ = 0;
  Listing listing_;
  bool limit_hit_ = false;
  Mapping pending_{VirtAddr(0), 0, PhysAddr(0), 0, {}};
  std::unordered_map<uint64_t, uint32_t> visits_;  // (table, height) -> times entered
  std::array<std::array<std::byte, kPiece>, 5>
      buffers_;  // one per height: a visit is alive at each height at most once
};

Enumeration::Enumeration(std::unique_ptr<Lister> lister) : lister_(std::move(lister)) {}
Enumeration::Enumeration(Enumeration&&) noexcept = default;
Enumeration& Enumeration::operator=(Enumeration&&) noexcept = default;
Enumeration::~Enumeration() = default;

bool Enumeration::step(const OnMapping& on_mapping, uint64_t table_visits) {
  return lister_->step(on_mapping, table_visits);
}
const Listing& Enumeration::listing() const { return lister_->listing(); }

Enumeration Translator::enumeration(const Limits& limits, const OnTable& on_table) const {
  return Enumeration(std::make_unique<Enumeration::Lister>(paging_, read_, limits, on_table));
}

Listing Translator::enumerate(const OnMapping& on_mapping, const Limits& limits, const OnTable& on_table) const {
  Enumeration all = enumeration(limits, on_table);
  while (all.step(on_mapping, UINT64_MAX)) {
  }
  return all.listing();
}

}  // namespace gcore::translate
