#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "tools/gcore-inspect/inspect.h"
#include "tools/gcore-inspect/spaces.h"

namespace gcore::tools::inspect {
namespace {

Range::Presence presence(const reader::Dump& dump, reader::PhysAddr address, uint64_t size) {
  const auto segments = dump.segments();
  bool some = false, lacking = false;
  while (size > 0 && !(some && lacking)) {
    const reader::Segment* segment = dump.segment_at(address);
    uint64_t rest = 0;
    if (segment != nullptr) {
      some = true;
      rest = segment->memory_size - (address.value - segment->address.value);
    } else {
      lacking = true;
      const auto next = std::ranges::upper_bound(segments, address, {}, &reader::Segment::address);
      rest = next != segments.end() ? next->address.value - address.value : size;
    }
    const uint64_t step = std::min(rest, size);
    address = address + step;
    size -= step;
  }
  return !lacking ? Range::Presence::all : some ? Range::Presence::part : Range::Presence::none;
}

void print_range(const Range& range, const std::string& remark) {
  std::string line =
      fmt::format("{:#018x}-{:#018x}  {:>10}  {}  {:>4}  ", range.start.value, range.start.value + (range.size - 1),
                  human_size(range.size), to_string(range.permissions),
                  range.page_size == 0 ? "-" : page_size_name(range.page_size));
  line += range.physical ? fmt::format("{:#018x}", range.physical->value) : "scattered";
  if (range.presence == Range::Presence::none) line += "  not in the dump";
  if (range.presence == Range::Presence::part) line += "  partly in the dump";
  if (!remark.empty()) line += "  " + remark;
  std::puts(line.c_str());
}

/// Where a kernel has its own half of the address space: is the address in it?
bool in_kernel_half(format::Machine machine, reader::VirtAddr address) {
  if (machine == format::Machine::x86_64) return address.value >> 63 != 0;
  return machine == format::Machine::aarch64 && (address.value >> 55 & 1) != 0;
}

// The one page that old Linux programs call at a fixed address is there on purpose.
constexpr uint64_t kLinuxVsyscall = 0xffffffffff600000;

}  // namespace

const char* presence_name(Range::Presence presence) {
  constexpr const char* kNames[] = {"all", "part", "none"};
  return kNames[static_cast<size_t>(presence)];
}

reader::Listing list_ranges(const reader::Dump& dump, const reader::AddressSpace& space,
                            const std::function<void(const Range&)>& on_range,
                            const std::function<void(const reader::Mapping&)>& on_mapping,
                            const reader::OnTable& on_table) {
  Range range;
  reader::PhysAddr next_physical{};
  const auto listing = space.enumerate(
      [&](const reader::Mapping& mapping) {
        if (on_mapping) on_mapping(mapping);
        const auto in_dump = presence(dump, mapping.physical, mapping.size);
        const bool continues = range.size != 0 && mapping.start == range.start + range.size &&
                               mapping.permissions == range.permissions && mapping.page_size == range.page_size &&
                               in_dump == range.presence;
        if (continues) {
          if (mapping.physical != next_physical) range.physical.reset();
          range.size += mapping.size;
        } else {
          if (range.size != 0) on_range(range);
          range = {mapping.start, mapping.size, mapping.physical, mapping.page_size, mapping.permissions, in_dump};
        }
        next_physical = mapping.physical + mapping.size;
        return true;
      },
      {}, on_table);
  if (range.size != 0) on_range(range);
  return listing;
}

Spaces::Spaces(const reader::Dump& dump) {
  std::map<std::string, size_t> known;  // by description, which has the roots and the mode
  for (const reader::Cpu& cpu : dump.cpus()) {
    auto space = reader::AddressSpace::of_cpu(dump, cpu.index);
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
    if (finding.ranges++ == 0 || range.start < finding.first) finding.first = range.start;
    finding.bytes += range.size;
    finding.kind = kind;
    remark += (remark.empty() ? "" : ", ") + std::string(words);
  };
  if (range.permissions.write && range.permissions.execute)
    found(Finding::Kind::writable_executable, "writable and executable");
  if (range.permissions.user && in_kernel_half(machine_, range.start)) {
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
  const auto space = reader::AddressSpace::of_cpu(job.dump, job.chosen_cpu());
  if (!space)
    return job.program.fail(fmt::format("map the address space of vCPU {}", job.chosen_cpu()),
                            printable(space.error().text));
  std::puts(bold(job, fmt::format("vCPU {}: {}", job.chosen_cpu(), space->describe())).c_str());
  std::puts(
      fmt::format("{:<18} {:<18}  {:>10}  {:<4}  {:>4}  {}", "first", "last", "size", "perm", "page", "guest-physical")
          .c_str());
  uint64_t ranges = 0, bytes = 0;
  Findings findings(job.dump.machine(), space->paging());
  const auto listing = list_ranges(job.dump, *space, [&](const Range& range) {
    print_range(range, findings.add(range));
    ++ranges;
    bytes += range.size;
  });
  std::puts(fmt::format("\n{}, {} mapped", counted(ranges, "range", "ranges"), human_size(bytes)).c_str());
  for (const Finding& finding : findings.all())
    std::puts(fmt::format("{} {}", warning_mark(job), describe(finding)).c_str());
  if (!listing.note.empty()) std::puts(fmt::format("note: {}", listing.note).c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
