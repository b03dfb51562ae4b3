#include "reader/search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "reader/search/needle.h"
#include "reader/search/scanner.h"

namespace gcore::reader {
namespace {

// Pages that lie anywhere: to read one costs less than to ask whether it is a hole.
constexpr uint64_t kSmallPiece = 64 << 10;
// Page tables can map one page all over the address space; a real one stays far below this.
constexpr size_t kMaxPieces = 1 << 20;
// A thread begins in some 50 us, which is to be little beside its work: this takes some 300 us, and has few last parts
// that the others wait for. Blocks of a compressed dump are no larger as a rule, so that few are unpacked twice.
constexpr size_t kPart = 2 << 20;
// Of hits in a part that is not at its turn yet. Who finds more waits for its turn.
constexpr size_t kHitsAhead = 4096;

/// Addresses that adjoin, of memory that does.
struct Piece {
  uint64_t address;
  PhysAddr physical;
  uint64_t left;  // bytes after the first
};

/// Consecutive stretches, and what was found in them: the hits that end there.
struct Part {
  size_t first, end;  // of the stretches
  std::vector<uint64_t> hits{};
  size_t given = 0;                  // of the hits
  std::optional<Scanner> scanner{};  // stopped at kHitsAhead, or at the most that step() may append
  bool scanned = false;              // to the end
  uint64_t searched = 0;
  std::string problem{};
};

}  // namespace

/// A step plans stretches of memory, which ascend, and cuts them into parts. Each part is scanned by itself, by whoever
/// is free, and looks back as far as a hit may reach that ends in it. Hits are handed out part by part.
class Search::State {
 public:
  State(const Dump& dump, std::span<const std::byte> pattern) : dump_(&dump), needle_(pattern) {}

  bool step(std::vector<uint64_t>& hits, uint64_t budget, size_t max_hits);
  void share(Share share) { share_ = {std::max(1U, share.threads), std::max<size_t>(1, share.part)}; }
  void look_through(const AddressSpace& space, VirtAddr first, VirtAddr last) {
    first_ = first;
    last_ = last;
    listing_.emplace(space.enumeration());
  }

  std::vector<Piece> pieces;
  uint64_t searched = 0;
  std::string problem;

 private:
  bool at_end() const { return piece_ == pieces.size(); }
  void list(uint64_t budget);
  bool take(const Mapping& mapping);
  uint64_t advance(uint64_t budget);
  void skip(uint64_t behind);
  void append(uint64_t size, bool zeros);
  uint64_t add_zeros(uint64_t size);
  uint64_t add_data(uint64_t size, bool zeros = false);
  void keep_tail();
  void plan(uint64_t budget);
  void begin(Scanner& scanner, const Part& part) const;
  void scan_parts();
  bool hand_out(Part& part, std::vector<uint64_t>& hits, size_t most);

  const Dump* dump_;
  Needle needle_;
  Share share_{std::max(1U, std::thread::hardware_concurrency()), kPart};
  std::optional<translate::Enumeration> listing_;  // of an address space, until it is over
  VirtAddr first_, last_;                          // the part that is looked at
  size_t piece_ = 0;
  uint64_t done_ = 0;    // bytes of the current piece
  Dump::Extent extent_;  // the last one asked for
  std::vector<Stretch> stretches_;
  std::vector<Part> parts_;
  size_t part_ = 0;         // the one at its turn
  uint64_t part_room_ = 0;  // bytes that the last part still takes
  std::optional<Scanner> spare_;
};

bool Search::State::step(std::vector<uint64_t>& hits, uint64_t budget, size_t max_hits) {
  if (listing_) {
    list(budget);
    return true;
  }
  const size_t most = max_hits > SIZE_MAX - hits.size() ? SIZE_MAX : max_hits + hits.size();
  for (bool planned = false;; planned = true) {
    for (; part_ < parts_.size(); ++part_)
      if (!hand_out(parts_[part_], hits, most)) return true;
    if (planned || at_end()) return !at_end();
    plan(budget);
    scan_parts();
  }
}

// ---- the address space

/// A table costs about as much as so many bytes that are looked at.
void Search::State::list(uint64_t budget) {
  constexpr uint64_t kTableCost = 16 << 10;
  bool taken = true;
  const bool more = listing_->step([&](const Mapping& mapping) { return taken = take(mapping); },
                                   std::max<uint64_t>(budget / kTableCost, 1));
  if (more && taken) return;
  if (taken && problem.empty()) problem = listing_->listing().note;
  listing_.reset();
}

/// False where nothing that follows will be looked at.
bool Search::State::take(const Mapping& mapping) {
  const uint64_t from = std::max(mapping.start.value, first_.value);
  const uint64_t to = std::min(mapping.start.value + (mapping.size - 1), last_.value);
  if (mapping.start > last_) return false;
  if (from > to) return true;
  if (pieces.size() == kMaxPieces) {
    problem = fmt::format("what is mapped from {:#x} on was not searched: too many pieces", from);
    return false;
  }
  pieces.push_back({from, mapping.physical + (from - mapping.start.value), to - from});
  return true;
}

// ---- planning

void Search::State::plan(uint64_t budget) {
  keep_tail();
  parts_.clear();
  part_ = 0;
  part_room_ = 0;
  for (uint64_t spent = 0; spent < budget && !at_end();) spent += advance(budget - spent);
}

/// Of the stretches only what the next part may look back at.
void Search::State::keep_tail() {
  uint64_t need = needle_.size() - 1;
  size_t first = stretches_.size();
  for (; need > 0 && first > 0; --first) {
    Stretch& stretch = stretches_[first - 1];
    const uint64_t cut = stretch.size - std::min(need, stretch.size);
    stretch.address += cut;
    stretch.physical = stretch.physical + cut;
    stretch.size -= cut;
    need -= stretch.size;
  }
  stretches_.erase(stretches_.begin(), stretches_.begin() + static_cast<std::ptrdiff_t>(first));
}

/// Adds the next stretch of memory of one kind, or a piece of it. Returns what it costs, in bytes.
uint64_t Search::State::advance(uint64_t budget) {
  constexpr uint64_t kStretchCost = 512;  // however much it spans
  const Piece& piece = pieces[piece_];
  const PhysAddr at = piece.physical + done_;
  const uint64_t left = piece.left - done_;  // bytes after the one at `at`
  if (left < kSmallPiece) return kStretchCost + add_data(left + 1);
  // Asking for the extent again for every slice would be quadratic: some file systems find its end page by page.
  if (at < extent_.address || at.value - extent_.address.value >= extent_.size) {
    const auto extent = dump_->next_extent(at);
    if (!extent || extent->address.value - at.value > left) {
      skip(left);
      return kStretchCost;
    }
    extent_ = *extent;
    if (const uint64_t gap = extent_.address.value - at.value; gap > 0) {
      skip(gap - 1);
      return kStretchCost;
    }
  }
  const uint64_t rest = extent_.size - (at.value - extent_.address.value);
  const uint64_t size = std::min(rest - 1, left) + 1;
  switch (extent_.kind) {
    case Dump::Extent::Kind::missing:
      skip(size - 1);
      return kStretchCost;
    case Dump::Extent::Kind::zero:
      return kStretchCost + (needle_.zeros() ? add_data(std::min(size, budget), true) : add_zeros(size));
    case Dump::Extent::Kind::data:
      return kStretchCost + add_data(std::min(size, budget));
  }
  return kStretchCost;
}

/// Passes over the byte at the current position and so many after it.
void Search::State::skip(uint64_t behind) {
  if (behind >= pieces[piece_].left - done_) {
    ++piece_;
    done_ = 0;
  } else {
    done_ += behind + 1;
  }
}

/// Adds what comes next to the last part.
void Search::State::append(uint64_t size, bool zeros) {
  const Piece& piece = pieces[piece_];
  const Stretch next{piece.address + done_, piece.physical + done_, size, zeros};
  Stretch* const last = parts_.back().first < stretches_.size() ? &stretches_.back() : nullptr;
  if (last != nullptr && last->zeros == zeros && last->address + last->size == next.address &&
      last->physical + last->size == next.physical)
    last->size += size;  // segments that adjoin
  else
    stretches_.push_back(next);
  parts_.back().end = stretches_.size();
  skip(size - 1);
}

/// Zeros of which only the edges are looked at.
uint64_t Search::State::add_zeros(uint64_t size) {
  if (parts_.empty()) parts_.push_back({stretches_.size(), stretches_.size()});
  append(size, true);
  return needle_.size() - 1;
}

/// What takes its time, so that it is cut where a part is full.
uint64_t Search::State::add_data(uint64_t size, bool zeros) {
  for (uint64_t left = size; left > 0;) {
    if (part_room_ == 0) {
      part_room_ = std::max<uint64_t>(share_.part, 4 * needle_.size());  // looking back is to be little beside it
      parts_.push_back({stretches_.size(), stretches_.size()});
    }
    const uint64_t here = std::min(left, part_room_);
    append(here, zeros);
    part_room_ -= here;
    left -= here;
  }
  return size;
}

// ---- scanning

/// Begins before the part, by one byte less than a hit has. Where nothing adjoins there, that finds nothing, and costs
/// little.
void Search::State::begin(Scanner& scanner, const Part& part) const {
  uint64_t need = needle_.size() - 1, offset = 0;
  size_t at = part.first;
  while (need > 0 && at > 0) {
    const uint64_t size = stretches_[--at].size;
    offset = size - std::min(need, size);
    need -= size - offset;
  }
  scanner.begin(at, offset, part.first, part.end);
}

/// On several threads, if there is enough to do. A part that is not scanned afterwards (a thread had no memory, say) is
/// when it is at its turn.
void Search::State::scan_parts() {
  const size_t threads = std::min<size_t>(share_.threads, parts_.size());
  if (threads < 2) return;
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    try {
      std::optional<Scanner> scanner;
      for (size_t i = next++; i < parts_.size(); i = next++) {
        Part& part = parts_[i];
        if (!scanner) scanner.emplace(*dump_, needle_);
        begin(*scanner, part);
        std::vector<uint64_t> hits;
        const bool scanned = scanner->run(stretches_, hits, kHitsAhead);
        part.problem = scanner->problem();
        part.searched = scanner->searched();  // nothing fails from here on
        part.hits = std::move(hits);
        part.scanned = scanned;
        if (!scanned) std::swap(part.scanner, scanner);
      }
    } catch (const std::bad_alloc&) {
    }
  };
  std::vector<std::jthread> others;
  try {
    while (others.size() + 1 < threads) others.emplace_back(work);
  } catch (const std::system_error&) {  // then with fewer
  }
  work();
}

/// False when hits are left over that step() may not append.
bool Search::State::hand_out(Part& part, std::vector<uint64_t>& hits, size_t most) {
  const size_t count = std::min(part.hits.size() - part.given, most - hits.size());
  const auto from = part.hits.begin() + static_cast<std::ptrdiff_t>(part.given);
  hits.insert(hits.end(), from, from + static_cast<std::ptrdiff_t>(count));
  part.given += count;
  if (part.given < part.hits.size()) return false;
  if (!part.scanned) {
    if (!part.scanner) {
      if (!spare_) spare_.emplace(*dump_, needle_);
      part.scanner = std::exchange(spare_, std::nullopt);
      begin(*part.scanner, part);
    }
    part.scanned = part.scanner->run(stretches_, hits, most);
    if (!part.scanned) return false;
    part.searched = part.scanner->searched();
    part.problem = part.scanner->problem();
    spare_ = std::exchange(part.scanner, std::nullopt);
  }
  searched += part.searched;
  if (problem.empty()) problem = std::move(part.problem);
  part.hits = {};
  return true;
}

// ---- what callers see

Search::Search(std::unique_ptr<State> state) : state_(std::move(state)) {}
Search::Search(Search&&) noexcept = default;
Search& Search::operator=(Search&&) noexcept = default;
Search::~Search() = default;

Search Search::in_memory(const Dump& dump, PhysAddr first, PhysAddr last, std::span<const std::byte> pattern) {
  auto state = std::make_unique<State>(dump, pattern);
  if (first <= last) state->pieces.push_back({first.value, first, last.value - first.value});
  return Search(std::move(state));
}

Search Search::in_space(const Dump& dump, const AddressSpace& space, VirtAddr first, VirtAddr last,
                        std::span<const std::byte> pattern) {
  auto state = std::make_unique<State>(dump, pattern);
  state->look_through(space, first, last);
  return Search(std::move(state));
}

void Search::share(Share share) { state_->share(share); }
bool Search::step(std::vector<uint64_t>& hits, uint64_t budget, size_t max_hits) {
  return state_->step(hits, budget, max_hits);
}
uint64_t Search::searched() const { return state_->searched; }
const std::string& Search::problem() const { return state_->problem; }

}  // namespace gcore::reader
