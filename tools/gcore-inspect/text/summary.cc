#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "reader/guest/guest_system.h"
#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

// A summary is a screen or two, whatever the dump: longer lists are cut, and say so.
constexpr size_t kMaxCpus = 16, kMaxRanges = 12, kMaxWarnings = 10;

void print_heading(const Job& job, std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  std::puts(("\n" + bold(job, text)).c_str());
}

std::string hex_or_unknown(std::optional<uint64_t> value) {
  return value ? fmt::format("{:#018x}", *value) : fmt::format("{:<18}", "not in the dump");
}

/// The address space of all vCPUs if they share one, which is then said once; else "".
std::string shared_space(const reader::Guest& guest) {
  std::string shared;
  for (const reader::Cpu& cpu : guest.dump().cpus()) {
    const auto space = quick_space(guest, cpu.index);
    if (!space || (cpu.index != 0 && space->describe() != shared)) return "";
    shared = space->describe();
  }
  return shared;
}

bool is_shown(const Job& job, const reader::Cpu& cpu) {
  return cpu.index < kMaxCpus || cpu.index == job.dump.faulting_cpu();
}

/// A summary does not take the time that a search for page tables can take.
void print_unknown_spaces(const reader::Guest& guest) {
  const auto unknown = std::ranges::count_if(
      guest.dump().cpus(), [&](const reader::Cpu& cpu) { return !quick_space(guest, cpu.index).has_value(); });
  if (unknown == 0) return;
  std::puts(fmt::format("        {} without a known root table{}",
                        counted(static_cast<uint64_t>(unknown), "vCPU", "vCPUs"),
                        guest.system().kind == reader::GuestSystem::Kind::qnx
                            ? ""
                            : ": --map, --translate, --read and --json search all of memory for the kernel's")
                .c_str());
}

void print_cpus(const Job& job) {
  const auto cpus = job.dump.cpus();
  if (cpus.empty()) return;
  size_t process_width = 0, mode_width = 14;
  std::vector<std::string> modes, places;
  bool any_place = false;
  for (const reader::Cpu& cpu : cpus) {
    places.push_back(is_shown(job, cpu) ? where_and_what(job, cpu) : "");
    any_place = any_place || !places.back().empty();
    modes.push_back(is_shown(job, cpu) ? state_name(job.guest, cpu) : "");
    mode_width = std::max(mode_width, modes.back().size());
    if (!cpu.process_name.empty())
      process_width = std::max({process_width, size_t{7}, printable(cpu.process_name).size()});
  }
  const std::string gap = process_width != 0 ? "  " : "", shared = shared_space(job.guest);
  const char* last_column = any_place ? "at" : shared.empty() ? "address space" : "";
  print_heading(job, fmt::format("  {:>4}  {:<18}  {:<18}  {:<{}}{}{:<{}}  {}", "vCPU", "pc", "sp", "mode", mode_width,
                                 gap, process_width != 0 ? "process" : "", process_width, last_column));
  for (const reader::Cpu& cpu : cpus) {
    if (!is_shown(job, cpu)) continue;
    const auto space = quick_space(job.guest, cpu.index);
    std::string line = fmt::format("{} {:>4}  {}  {}  {:<{}}{}{:<{}}  {}", at_fault(job.dump, cpu) ? ">" : " ",
                                   cpu.index, hex_or_unknown(program_counter(cpu)), hex_or_unknown(stack_pointer(cpu)),
                                   modes[cpu.index], mode_width, gap, printable(cpu.process_name), process_width,
                                   any_place         ? places[cpu.index]
                                   : !shared.empty() ? ""
                                   : space           ? space->describe()
                                                     : "unknown");
    if (cpu.number != cpu.index) line += fmt::format("  (the guest's CPU {})", cpu.number);
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(line.c_str());
  }
  if (!shared.empty()) std::puts(fmt::format("        all: {}", shared).c_str());
  print_unknown_spaces(job.guest);
  if (cpus.size() > kMaxCpus) std::puts(fmt::format("  ... {} in all; --registers shows them", cpus.size()).c_str());
}

struct Stretch {
  uint64_t first, last;
};

/// Segments that adjoin or overlap are one range to the guest.
std::vector<Stretch> ranges(const reader::Dump& dump) {
  std::vector<Stretch> all;
  for (const reader::Segment& segment : dump.segments()) {
    const uint64_t first = segment.address.value, last = first + (segment.memory_size - 1);
    if (!all.empty() && (first <= all.back().last || first - 1 == all.back().last))
      all.back().last = std::max(all.back().last, last);
    else
      all.push_back({first, last});
  }
  return all;
}

void print_memory(const Job& job) {
  const auto all = ranges(job.dump);
  print_heading(job, all.empty() ? "  no memory" : fmt::format("  memory, {}", counted(all.size(), "range", "ranges")));
  for (size_t i = 0; i < all.size() && i < kMaxRanges; ++i)
    std::puts(fmt::format("    {:#018x}-{:#018x}  {:>10}", all[i].first, all[i].last,
                          human_size(all[i].last - all[i].first + 1))
                  .c_str());
  if (all.size() > kMaxRanges)
    std::puts(fmt::format("    ... {} more; --segments shows them", all.size() - kMaxRanges).c_str());
}

void print_missing(const Job& job) {
  const auto all = gaps(job.dump);
  if (all.empty()) return;
  uint64_t bytes = 0;
  for (const Gap& gap : all) bytes += gap.size;
  print_heading(job, fmt::format("  missing, {}", human_size(bytes)));
  for (size_t i = 0; i < all.size() && i < kMaxRanges; ++i)
    std::puts(fmt::format("  {} {:#018x}-{:#018x}  {:>10}  {}", warning_mark(job), all[i].address.value,
                          all[i].address.value + (all[i].size - 1), human_size(all[i].size), all[i].why)
                  .c_str());
  if (all.size() > kMaxRanges)
    std::puts(fmt::format("    ... {} more; --json has them", all.size() - kMaxRanges).c_str());
}

void print_warnings(const Job& job) {
  auto all = defects(job.dump);
  if (const std::string& wrong = job.guest.system().contradiction; !wrong.empty()) all.push_back(wrong);
  if (all.empty()) return;
  print_heading(job, "  " + counted(all.size(), "warning", "warnings"));
  for (size_t i = 0; i < all.size() && i < kMaxWarnings; ++i)
    std::puts(fmt::format("  {} {}", warning_mark(job), printable(all[i])).c_str());
  if (all.size() > kMaxWarnings)
    std::puts(fmt::format("    ... {} more; --verify shows them", all.size() - kMaxWarnings).c_str());
}

}  // namespace

int print_summary(const Job& job) {
  std::puts(bold(job, printable(job.dump.path())).c_str());
  for (const auto& [name, value] : headline(job.guest)) std::puts(fmt::format("  {:<9} {}", name, value).c_str());
  for (const auto& [name, value] : linux_facts(job)) std::puts(fmt::format("  {:<9} {}", name, value).c_str());
  for (const auto& [name, value] : qnx_facts(job)) std::puts(fmt::format("  {:<9} {}", name, value).c_str());
  print_cpus(job);
  print_memory(job);
  print_missing(job);
  print_warnings(job);
  return kExitDone;
}

}  // namespace gcore::tools::inspect
