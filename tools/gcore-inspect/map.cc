#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/gcore-inspect/inspect.h"

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

void print_range(const Range& range) {
  std::string line =
      fmt::format("{:#018x}-{:#018x}  {:>10}  {}  {:>4}  ", range.start.value, range.start.value + (range.size - 1),
                  human_size(range.size), to_string(range.permissions),
                  range.page_size == 0 ? "-" : page_size_name(range.page_size));
  line += range.physical ? fmt::format("{:#018x}", range.physical->value) : "scattered";
  if (range.presence == Range::Presence::none) line += "  not in the dump";
  if (range.presence == Range::Presence::part) line += "  partly in the dump";
  std::puts(line.c_str());
}

}  // namespace

const char* presence_name(Range::Presence presence) {
  constexpr const char* kNames[] = {"all", "part", "none"};
  return kNames[static_cast<size_t>(presence)];
}

reader::Listing list_ranges(const reader::Dump& dump, const reader::AddressSpace& space,
                            const std::function<void(const Range&)>& on_range) {
  Range range;
  reader::PhysAddr next_physical{};
  const auto listing = space.enumerate([&](const reader::Mapping& mapping) {
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
  });
  if (range.size != 0) on_range(range);
  return listing;
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
  const auto listing = list_ranges(job.dump, *space, [&](const Range& range) {
    print_range(range);
    ++ranges;
    bytes += range.size;
  });
  std::puts(fmt::format("\n{}, {} mapped", counted(ranges, "range", "ranges"), human_size(bytes)).c_str());
  if (!listing.note.empty()) std::puts(fmt::format("note: {}", listing.note).c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
