#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "tools/gcore-inspect/facts/spaces.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {
namespace {

/// Where the dump has the guest's memory: in no segment, left out by the writer, after the end of a cut file and not
/// readable when the dump was taken are the same to whoever reads it.
class Stored {
 public:
  explicit Stored(const reader::Dump& dump) {
    for (auto extent = dump.next_extent(reader::PhysAddr(0)); extent; extent = dump.next_extent(extent->address)) {
      const reader::PhysAddr next = extent->address + extent->size;
      if (extent->kind != reader::Dump::Extent::Kind::missing) add(extent->address.value, next.value - 1);
      if (next.value == 0) break;
      extent->address = next;
    }
  }

  Range::Presence of(reader::PhysAddr address, uint64_t size) const {
    const uint64_t first = address.value, last = first + (size - 1);
    const auto stretch = std::ranges::lower_bound(stretches_, first, {}, &Stretch::last);  // the first that ends there
    if (stretch == stretches_.end() || stretch->first > last) return Range::Presence::none;
    return stretch->first <= first && stretch->last >= last ? Range::Presence::all : Range::Presence::part;
  }

 private:
  struct Stretch {
    uint64_t first, last;
  };
  void add(uint64_t first, uint64_t last) {
    if (!stretches_.empty() && stretches_.back().last + 1 == first)
      stretches_.back().last = last;
    else
      stretches_.push_back({first, last});
  }
  std::vector<Stretch> stretches_;  // ascending, neither overlapping nor adjoining
};

/// Folds ranges that map the same memory at equal distances into one, if there are at least three of them.
class Folded {
 public:
  explicit Folded(const std::function<void(const Range&)>& on_range) : on_range_(on_range) {}

  void add(Range range) {
    if (pending_ && !repeats(range)) {
      // Of two the second may be the first of another series.
      if (pending_->count == 2 && is_same(range)) {
        emit_first();
      } else {
        finish();
      }
    }
    if (!pending_) {
      pending_ = std::move(range);
      return;
    }
    if (pending_->count == 1) pending_->stride = range.start.value - pending_->start.value;
    ++pending_->count;
  }

  void finish() {
    if (!pending_) return;
    if (pending_->count == 2) emit_first();
    on_range_(*pending_);
    pending_.reset();
  }

 private:
  bool is_same(const Range& range) const {
    return range.physical && range.physical == pending_->physical && range.size == pending_->size &&
           range.page_size == pending_->page_size && range.permissions == pending_->permissions &&
           range.presence == pending_->presence;
  }
  bool repeats(const Range& range) const {
    return is_same(range) &&
           (pending_->count == 1 || range.start == pending_->start + pending_->count * pending_->stride);
  }
  /// Of a pair: the second remains.
  void emit_first() {
    Range first = *pending_;
    first.count = 1;
    on_range_(first);
    pending_->start = pending_->start + std::exchange(pending_->stride, 0);
    pending_->count = 1;
  }

  const std::function<void(const Range&)>& on_range_;
  std::optional<Range> pending_;
};

void print_range(const Range& range, const std::string& remark) {
  std::string line = fmt::format("{:#018x}-{:#018x}  {:>10}  {}  {:>4}  ", range.start.value, range.last().value,
                                 human_size(range.bytes()), to_string(range.permissions),
                                 range.page_size == 0 ? "-" : page_size_name(range.page_size));
  line += range.physical ? fmt::format("{:#018x}", range.physical->value) : "scattered";
  if (range.count > 1) line += "  " + size_text(range);
  if (range.presence == Range::Presence::none) line += "  not in the dump";
  if (range.presence == Range::Presence::part) line += "  partly in the dump";
  if (!remark.empty()) line += "  " + remark;
  std::puts(line.c_str());
}

// The one page that old Linux programs call at a fixed address is there on purpose.
constexpr uint64_t kLinuxVsyscall = 0xffffffffff600000;

}  // namespace

const char* presence_name(Range::Presence presence) {
  constexpr const char* kNames[] = {"all", "part", "none"};
  return kNames[static_cast<size_t>(presence)];
}

std::string size_text(const Range& range) {
  if (range.count == 1) return human_size(range.size);
  return fmt::format("{} times {}, every {}", range.count, human_size(range.size), human_size(range.stride));
}

reader::Listing list_ranges(const reader::Dump& dump, const reader::AddressSpace& space, ListingBudget& budget,
                            const std::function<void(const Range&)>& on_range, const reader::OnTable& on_table) {
  const Stored stored(dump);
  bool exhausted = false;
  Folded folded(on_range);
  Range range;
  auto listing = space.enumerate(
      [&](const reader::Mapping& mapping) {
        exhausted = budget.mappings == 0;
        if (exhausted) return false;
        --budget.mappings;
        const auto in_dump = stored.of(mapping.physical, mapping.size);
        const bool continues = range.size != 0 && mapping.start == range.start + range.size &&
                               mapping.permissions == range.permissions && mapping.page_size == range.page_size &&
                               in_dump == range.presence;
        if (!continues) {
          if (range.size != 0) folded.add(std::move(range));
          range = {mapping.start, 0, mapping.physical, mapping.page_size, mapping.permissions, in_dump};
        } else if (mapping.physical != range.parts.back().physical + range.parts.back().size) {
          range.physical.reset();
        }
        range.size += mapping.size;
        range.parts.push_back(mapping);
        return true;
      },
      {.table_visits = budget.table_visits}, on_table);
  budget.table_visits -= std::min(budget.table_visits, listing.table_visits);
  if (exhausted)
    listing.note = "the list ends early: the address spaces of this dump have too many mappings to list all";
  if (range.size != 0) folded.add(std::move(range));
  folded.finish();
  return listing;
}

Spaces::Spaces(const reader::Guest& guest) {
  std::map<std::string, size_t> known;  // by description, which has the roots and the mode
  for (const reader::Cpu& cpu : guest.dump().cpus()) {
    auto space = guest.space_of_cpu(cpu.index);
    if (!space) {
      of_cpu.push_back(std::nullopt);
      continue;
    }
    const auto [place, is_new] = known.emplace(space->describe(), all.size());
    if (is_new) all.push_back({std::move(*space), {}});
    all[place->second].cpus.push_back(cpu.index);
    of_cpu.push_back(place->second);
  }
}

const char* finding_name(Finding::Kind kind) {
  return kind == Finding::Kind::writable_executable ? "writable_executable" : "user_in_kernel_half";
}

std::string describe(const Finding& finding) {
  return fmt::format(
      "{}: {}, {}, the first at {:#x}",
      finding.kind == Finding::Kind::writable_executable ? "writable and executable" : "user pages in the kernel half",
      counted(finding.ranges, "range", "ranges"), human_size(finding.bytes), finding.first.value);
}

std::string Findings::add(const Range& range) {
  if (!paging_) return "";
  std::string remark;
  const auto found = [&](Finding::Kind kind, const char* words) {
    Finding& finding = found_[static_cast<size_t>(kind)];
    if (finding.ranges == 0 || range.start < finding.first) finding.first = range.start;
    finding.ranges += range.count;
    finding.bytes += range.bytes();
    finding.kind = kind;
    remark += (remark.empty() ? "" : ", ") + std::string(words);
  };
  if (range.permissions.write && range.permissions.execute)
    found(Finding::Kind::writable_executable, "writable and executable");
  if (range.permissions.user && format::is_in_upper_half(machine_, range.start.value)) {
    if (range.start.value == kLinuxVsyscall && range.size == 4096 && !range.permissions.write) return "vsyscall";
    found(Finding::Kind::user_in_kernel_half, "user page in the kernel half");
  }
  return remark;
}

std::vector<Finding> Findings::all() const {
  std::vector<Finding> all;
  for (const Finding& finding : found_)
    if (finding.ranges != 0) all.push_back(finding);
  return all;
}

int print_map(const Job& job) {
  const auto space = job.chosen_space();
  if (!space)
    return job.program.fail(fmt::format("map the address space of vCPU {}", job.chosen_cpu()),
                            printable(space.error().text));
  std::puts(bold(job, fmt::format("vCPU {}: {}", job.chosen_cpu(), space->describe())).c_str());
  std::puts(
      fmt::format("{:<18} {:<18}  {:>10}  {:<4}  {:>4}  {}", "first", "last", "size", "perm", "page", "guest-physical")
          .c_str());
  uint64_t ranges = 0, bytes = 0;
  Findings findings(job.dump.machine(), space->paging());
  ListingBudget budget{.mappings = UINT64_MAX};  // what is printed takes no memory
  const auto listing = list_ranges(job.dump, *space, budget, [&](const Range& range) {
    print_range(range, findings.add(range));
    ranges += range.count;
    bytes += range.bytes();
  });
  std::puts(fmt::format("\n{}, {} mapped", counted(ranges, "range", "ranges"), human_size(bytes)).c_str());
  for (const Finding& finding : findings.all())
    std::puts(fmt::format("{} {}", warning_mark(job), describe(finding)).c_str());
  if (!listing.note.empty()) std::puts(fmt::format("note: {}", listing.note).c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
