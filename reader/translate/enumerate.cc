// Listing what is mapped: a depth-first visit of the tables, in the order of the addresses.
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

class Lister {
 public:
  Lister(const Paging& paging, const ReadPhysical& read, const OnMapping& on_mapping, const Limits& limits,
         const OnTable& on_table)
      : paging_(paging), read_(read), on_mapping_(on_mapping), limits_(limits), on_table_(on_table) {}

  Listing run() {
    if (paging_.mode == Mode::identity) {
      pending_ = {VirtAddr(0), uint64_t{1} << paging_.identity_bits, PhysAddr(0), 0, {}};
    } else {
      visit_half(paging_.lower, false);
      if (!listing_.stopped) visit_half(paging_.upper, true);
    }
    flush();
    describe_gaps();
    return std::move(listing_);
  }

 private:
  void visit_half(const Half& half, bool upper) {
    if (!half.usable) return;
    half_ = &half;
    size_t first = 0, last = size_t{1} << half.root_bits;
    if (paging_.mode == Mode::x86_64) (upper ? first : last) = last / 2;  // both halves are in one table
    const uint64_t base = upper ? ~uint64_t{0} << half.address_bits : 0;
    visit(half.root.value, half.levels - 1u, base, kMayAll, first, last);
  }

  /// One table, from entry `first` up to `last`. False: stop.
  bool visit(uint64_t table, unsigned height, uint64_t base, Rights rights, size_t first, size_t last) {
    const size_t width = paging_.entry_bytes;
    if (!enter(table, height, (last - first) * width)) return !listing_.stopped;
    if (on_table_) on_table_(PhysAddr(table + first * width), (last - first) * width);
    bool missing = false;
    for (size_t from = first; from < last; from += kPiece / width) {
      const size_t to = std::min(from + kPiece / width, last);
      if (!visit_piece(table, height, base, rights, from, to, missing)) return false;
    }
    if (missing) ++listing_.missing_tables;
    return true;
  }

  /// At most 4 KiB of a table: of a larger one the dump may have some pages only.
  bool visit_piece(uint64_t table, unsigned height, uint64_t base, Rights rights, size_t first, size_t last,
                   bool& missing) {
    const size_t width = paging_.entry_bytes;
    auto& bytes = buffers_[height];
    const auto got = read_(PhysAddr(table + first * width), std::span(bytes).first((last - first) * width));
    const size_t present = got.bytes / width;
    if (present < last - first) missing = true;

    const unsigned shift = shift_of(*half_, height);
    for (size_t i = 0; i < present; ++i) {
      const Decoded decoded = decode(paging_, *half_, height, load_entry(paging_, &bytes[i * width]), rights);
      const uint64_t address = base | static_cast<uint64_t>(first + i) << shift;
      if (decoded.meaning == Step::Meaning::malformed) ++listing_.malformed_entries;
      if (decoded.meaning == Step::Meaning::page && !add(address, decoded, uint64_t{1} << shift)) return false;
      if (decoded.meaning == Step::Meaning::table &&
          !visit(decoded.target, height - 1, address, decoded.rights, 0, size_t{1} << half_->level_bits))
        return false;
    }
    return true;
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

  bool add(uint64_t address, const Decoded& decoded, uint64_t size) {
    const Permissions permissions = permissions_of(decoded.rights);
    if (pending_.size != 0 && pending_.start.value + pending_.size == address &&
        pending_.physical.value + pending_.size == decoded.target && pending_.page_size == size &&
        pending_.permissions == permissions) {
      pending_.size += size;
      return true;
    }
    if (!flush()) return false;
    pending_ = {VirtAddr(address), size, PhysAddr(decoded.target), size, permissions};
    return true;
  }

  bool flush() {
    if (pending_.size == 0) return true;
    const bool go_on = on_mapping_(pending_);
    pending_.size = 0;
    if (!go_on) listing_.stopped = true;
    return go_on;
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

  const Paging& paging_;
  const ReadPhysical& read_;
  const OnMapping& on_mapping_;
  const Limits& limits_;
  const OnTable& on_table_;
  const Half* half_ = nullptr;
  Listing listing_;
  bool limit_hit_ = false;
  Mapping pending_{VirtAddr(0), 0, PhysAddr(0), 0, {}};
  std::unordered_map<uint64_t, uint32_t> visits_;  // (table, height) -> times entered
  std::array<std::array<std::byte, kPiece>, 5>
      buffers_;  // one per height: a visit is alive at each height at most once
};

}  // namespace

Listing Translator::enumerate(const OnMapping& on_mapping, const Limits& limits, const OnTable& on_table) const {
  return Lister(paging_, read_, on_mapping, limits, on_table).run();
}

}  // namespace gcore::translate
