#include "tools/gcore-inspect/facts/diff.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "tools/common/progress.h"

namespace gcore::tools::inspect {
namespace {

using Kind = PageDiff::Kind;

constexpr uint64_t kPiecePages = 1024;  // a unit of work: 4 MiB of each dump

/// Pages of which each dump knows as much; nothing: no memory there.
struct Interval {
  uint64_t first = 0, count = 0;
  std::optional<PageRun::State> a, b;
};

/// Goes up two lists of runs at once.
std::vector<Interval> intervals(const std::vector<PageRun>& a, const std::vector<PageRun>& b) {
  std::vector<Interval> all;
  size_t i = 0, j = 0;
  uint64_t at = 0;
  const auto start = [](const std::vector<PageRun>& runs, size_t n, uint64_t from) {
    return n < runs.size() ? std::max(runs[n].first, from) : UINT64_MAX;
  };
  while (i < a.size() || j < b.size()) {
    at = std::min(start(a, i, at), start(b, j, at));
    uint64_t end = UINT64_MAX;
    const auto state_at = [&](const std::vector<PageRun>& runs, size_t n) -> std::optional<PageRun::State> {
      if (n == runs.size()) return std::nullopt;
      const bool inside = runs[n].first <= at;
      end = std::min(end, inside ? runs[n].first + runs[n].count : runs[n].first);
      return inside ? std::optional(runs[n].state) : std::nullopt;
    };
    const auto in_a = state_at(a, i), in_b = state_at(b, j);
    const bool read = in_a == PageRun::State::data || in_b == PageRun::State::data;
    if (read) end = std::min(end, at + kPiecePages);
    all.push_back({at, end - at, in_a, in_b});
    at = end;
    if (i < a.size() && a[i].first + a[i].count <= at) ++i;
    if (j < b.size() && b[j].first + b[j].count <= at) ++j;
  }
  return all;
}

/// What is known without a look at the bytes; nothing: they have to be compared.
std::optional<Kind> known(const Interval& interval) {
  using State = PageRun::State;
  const bool lacks_a = interval.a == State::missing, lacks_b = interval.b == State::missing;
  if (!interval.a) return Kind::only_b;
  if (!interval.b) return Kind::only_a;
  if (lacks_a && lacks_b) return Kind::missing_both;
  if (lacks_a) return Kind::missing_a;
  if (lacks_b) return Kind::missing_b;
  if (interval.a == State::zero && interval.b == State::zero) return Kind::equal;
  return std::nullopt;
}

void add(std::vector<PageDiff>& runs, const PageDiff& next) {
  if (!runs.empty() && runs.back().kind == next.kind && runs.back().first + runs.back().count == next.first) {
    runs.back().count += next.count;
    runs.back().bytes += next.bytes;
  } else {
    runs.push_back(next);
  }
}

uint64_t differing_bytes(const std::byte* a, const std::byte* b) {
  uint64_t count = 0;
  for (size_t i = 0; i < kPageSize; ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

/// Of a page that at least one dump does not have as a whole: what both have is compared, and the rest decides where
/// that is equal.
PageDiff compare_parts(const reader::Dump& a, const reader::Dump& b, uint64_t page) {
  PageBytes of_a, of_b;
  read_page(a, page, of_a);
  read_page(b, page, of_b);
  uint64_t bytes = 0;
  for (size_t i = 0; i < kPageSize; ++i)
    bytes += of_a.present[i] && of_b.present[i] && of_a.bytes[i] != of_b.bytes[i] ? 1 : 0;
  if (bytes != 0) return {page, 1, Kind::differs, bytes};
  const auto in_both = of_a.memory & of_b.memory;
  const bool lacks_a = (in_both & ~of_a.present).any(), lacks_b = (in_both & ~of_b.present).any();
  if (lacks_a || lacks_b)
    return {page, 1, !lacks_b ? Kind::missing_a : !lacks_a ? Kind::missing_b : Kind::missing_both};
  if ((of_a.memory & ~of_b.memory).any()) return {page, 1, Kind::only_a};
  return {page, 1, (of_b.memory & ~of_a.memory).any() ? Kind::only_b : Kind::equal};
}

std::vector<PageDiff> compare(const reader::Dump& a, const reader::Dump& b, const Interval& interval) {
  std::vector<PageDiff> found;
  constexpr uint64_t kPages = 32;  // both buffers stay in the second-level cache
  thread_local std::vector<std::byte> buffer_a(kPages * kPageSize), buffer_b(kPages * kPageSize);
  const auto read = [](const reader::Dump& dump, bool zero, reader::PhysAddr from, std::span<std::byte> into) {
    if (!zero) return dump.read(from, into).bytes / kPageSize;
    std::memset(into.data(), 0, into.size());
    return into.size() / kPageSize;
  };
  for (uint64_t n = 0; n < interval.count;) {
    const uint64_t page = interval.first + n;
    const auto size = static_cast<size_t>(std::min(interval.count - n, kPages) * kPageSize);
    const auto of_a = std::span(buffer_a).first(size), of_b = std::span(buffer_b).first(size);
    const reader::PhysAddr from(page * kPageSize);
    const uint64_t whole = std::min(read(a, interval.a == PageRun::State::zero, from, of_a),
                                    read(b, interval.b == PageRun::State::zero, from, of_b));
    for (uint64_t i = 0; i < whole; ++i) {
      const std::byte *x = &of_a[i * kPageSize], *y = &of_b[i * kPageSize];
      if (std::memcmp(x, y, kPageSize) == 0)
        add(found, {page + i, 1, Kind::equal});
      else
        add(found, {page + i, 1, Kind::differs, differing_bytes(x, y)});
    }
    n += whole;
    if (whole < size / kPageSize) add(found, compare_parts(a, b, interval.first + n++));
  }
  return found;
}

std::vector<RegisterDiff> diff_registers(const reader::Cpu& a, const reader::Cpu& b) {
  std::vector<RegisterDiff> found;
  const auto registers = format::registers(a.registers.machine());
  for (size_t slot = 0; slot < registers.size(); ++slot) {
    const auto x = a.registers.get_slot(slot), y = b.registers.get_slot(slot);
    if (x != y) found.push_back({std::string(registers[slot].name), registers[slot].bytes, x, y});
  }
  std::map<std::string, RegisterDiff> others;
  for (const auto& [name, value] : a.other_registers) others[name].a = value;
  for (const auto& [name, value] : b.other_registers) others[name].b = value;
  for (auto& [name, diff] : others) {
    diff.name = name;
    if (diff.a != diff.b) found.push_back(diff);
  }
  return found;
}

}  // namespace

const char* to_string(PageDiff::Kind kind) {
  constexpr std::array kNames = {"equal", "differs", "only_a", "only_b", "missing_a", "missing_b", "missing_both"};
  static_assert(kNames.size() == PageDiff::kKinds);
  return kNames[static_cast<size_t>(kind)];
}

std::vector<CpuDiff> diff_cpus(const reader::Dump& a, const reader::Dump& b) {
  std::map<uint32_t, CpuDiff> cpus;  // of two records with one number the first counts
  for (const reader::Cpu& cpu : a.cpus())
    if (cpus.emplace(cpu.number, CpuDiff{.number = cpu.number, .a = cpu.index, .b = {}}).second)
      cpus[cpu.number].process_a = cpu.process_name;
  for (const reader::Cpu& cpu : b.cpus()) {
    CpuDiff& diff = cpus.emplace(cpu.number, CpuDiff{.number = cpu.number, .a = {}, .b = {}}).first->second;
    if (diff.b) continue;
    diff.b = cpu.index;
    diff.process_b = cpu.process_name;
  }
  std::vector<CpuDiff> all;
  for (auto& [number, diff] : cpus) {
    if (diff.a && diff.b) diff.registers = diff_registers(a.cpus()[*diff.a], b.cpus()[*diff.b]);
    all.push_back(std::move(diff));
  }
  return all;
}

MemoryDiff diff_memory(const reader::Dump& a, const reader::Dump& b, const Program& program) {
  const std::vector<Interval> all = intervals(page_runs(a, kPiecePages), page_runs(b, kPiecePages));
  uint64_t bytes = 0;
  for (const Interval& interval : all)
    if (!known(interval)) bytes += interval.count * kPageSize;
  std::vector<std::vector<PageDiff>> found(all.size());
  {
    Progress progress(program, "compare memory", bytes, progress_wanted(program));
    parallel_for(all.size(), [&](size_t i) {
      if (const auto kind = known(all[i])) {
        found[i] = {{all[i].first, all[i].count, *kind}};
        return;
      }
      found[i] = compare(a, b, all[i]);
      progress.add(all[i].count * kPageSize);
    });
  }
  MemoryDiff diff;
  for (const auto& runs : found) {
    for (const PageDiff& run : runs) {
      add(diff.runs, run);
      diff.pages[static_cast<size_t>(run.kind)] += run.count;
      diff.differing_bytes += run.bytes;
    }
  }
  return diff;
}

size_t DumpDiff::differing_registers() const {
  size_t count = 0;
  for (const CpuDiff& cpu : cpus) count += cpu.registers.size();
  return count;
}

bool DumpDiff::identical() const {
  const bool same_cpus = std::ranges::all_of(cpus, [](const CpuDiff& cpu) {
    return cpu.a && cpu.b && cpu.registers.empty() && cpu.process_a == cpu.process_b;
  });
  return same_cpus &&
         std::ranges::all_of(memory.runs, [](const PageDiff& run) { return run.kind == PageDiff::Kind::equal; });
}

}  // namespace gcore::tools::inspect
