#include "tools/gcore-inspect/facts/cells.h"

#include <llvm/Support/Base64.h>

#include <algorithm>

namespace gcore::tools::inspect {
namespace {

constexpr uint64_t kMaxCells = uint64_t{1} << 22, kGapCells = 64;
constexpr size_t kMaxStretches = 1000;

using Stretch = Cells::Stretch;

/// Memory and gaps in turns; gaps of at most `longest` pages are part of the memory around them.
std::vector<Stretch> stretches_of(std::span<const PageRun> memory, uint64_t longest) {
  std::vector<Stretch> all;
  for (const PageRun& run : memory) {
    const uint64_t end = all.empty() ? run.first : all.back().page + all.back().pages;
    if (all.empty()) {
      all.push_back({run.first, run.count});
    } else if (run.first - end <= longest) {
      all.back().pages = run.first + run.count - all.back().page;
    } else {
      all.push_back({.page = end, .pages = run.first - end, .gap = true});
      all.push_back({run.first, run.count});
    }
  }
  return all;
}

}  // namespace

Cells::Cells(std::span<const PageRun> memory) {
  uint64_t total = 0;
  for (const PageRun& run : memory) total += run.count;
  for (uint64_t longest = std::max<uint64_t>(total / 32, kGapCells);; longest *= 4) {
    stretches_ = stretches_of(memory, longest);
    if (stretches_.size() <= kMaxStretches) break;
  }
  uint64_t drawn = 0;
  for (const Stretch& stretch : stretches_) drawn += stretch.gap ? kGapCells : stretch.pages;
  while (drawn >> shift_ > kMaxCells) ++shift_;
  lay_out();
  values_.resize(stretches_.empty() ? 0 : stretches_.back().cell + stretches_.back().cells);
}

void Cells::lay_out() {
  uint64_t cell = 0;
  for (Stretch& stretch : stretches_) {
    stretch.cell = cell;
    stretch.cells = stretch.gap ? kGapCells : ((stretch.pages - 1) >> shift_) + 1;
    cell += stretch.cells;
  }
}

void Cells::set(uint64_t first, uint64_t count, uint8_t value) {
  if (count == 0) return;
  const auto holds = [&](const Stretch& s) { return first >= s.page && first - s.page < s.pages; };
  if (!holds(stretches_[last_])) {
    const auto after = std::ranges::upper_bound(stretches_, first, {}, &Stretch::page);
    last_ = static_cast<size_t>(after - stretches_.begin()) - 1;
  }
  const Stretch& stretch = stretches_[last_];
  const uint64_t from = stretch.cell + ((first - stretch.page) >> shift_);
  const uint64_t to = stretch.cell + ((first - stretch.page + count - 1) >> shift_);
  for (uint64_t cell = from; cell <= to; ++cell) values_[cell] = std::max(values_[cell], value);
}

void Cells::halve() {
  const std::vector<Stretch> before = stretches_;
  const std::vector<uint8_t> old = std::move(values_);
  ++shift_;
  lay_out();
  values_.assign(stretches_.back().cell + stretches_.back().cells, 0);
  for (size_t i = 0; i < before.size(); ++i)
    for (uint64_t cell = 0; cell < before[i].cells; ++cell) {
      uint8_t& into = values_[stretches_[i].cell + (before[i].gap ? cell : cell / 2)];
      into = std::max(into, old[before[i].cell + cell]);
    }
}

std::string Cells::encode(size_t limit) {
  while (true) {
    std::string runs;
    for (size_t at = 0; at < values_.size();) {
      const auto end = std::find_if(values_.begin() + static_cast<ptrdiff_t>(at), values_.end(),
                                    [&](uint8_t value) { return value != values_[at]; });
      runs += static_cast<char>(values_[at]);
      auto length = static_cast<size_t>(end - values_.begin()) - at;
      at += length;
      for (; length >= 128; length /= 128) runs += static_cast<char>(length % 128 + 128);
      runs += static_cast<char>(length);
    }
    std::string text = llvm::encodeBase64(runs);
    if (text.size() <= limit || values_.size() < 2 * stretches_.size() * kGapCells) return text;
    halve();
  }
}

}  // namespace gcore::tools::inspect
