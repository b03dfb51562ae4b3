#include <fmt/format.h>

#include <cstdio>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

std::string meaning(const reader::Step& step) {
  using Meaning = translate::Step::Meaning;
  switch (step.meaning) {
    case Meaning::table:
      return fmt::format("{}  table at {:#018x}", to_string(step.permissions), step.target.value);
    case Meaning::page:
      return fmt::format("{}  {} page at {:#018x}", to_string(step.permissions), page_size_name(step.page_size),
                         step.target.value);
    case Meaning::not_present:
      return "not present";
    case Meaning::malformed:
      return "malformed";
    case Meaning::unreadable:
      return "not in the dump";
  }
  return "";
}

/// The place of the n-th step's entry in its table.
uint64_t entry_index(const translate::Paging& paging, reader::VirtAddr address, size_t n) {
  const bool upper = (address.value >> (paging.mode == translate::Mode::aarch64 ? 55 : 63) & 1) != 0;
  const translate::Half& half = upper ? paging.upper : paging.lower;
  if (n >= half.levels) return 0;
  const auto height = static_cast<unsigned>(half.levels - 1 - n);
  return address.value >> shift_of(half, height) & ((uint64_t{1} << index_bits(half, height)) - 1);
}

void print_step(const reader::Step& step, uint64_t index) {
  const std::string entry =
      step.meaning == translate::Step::Meaning::unreadable ? std::string(18, '?') : fmt::format("{:#018x}", step.entry);
  std::puts(fmt::format("  {:<5}  [{:>4}]  {:#018x}  {}  {}", step.level, index, step.entry_address.value, entry,
                        meaning(step))
                .c_str());
}

/// Where the byte is in the file, or why it is nowhere.
std::string place(const reader::Dump& dump, reader::PhysAddr address) {
  const reader::Segment* segment = dump.segment_at(address);
  std::byte byte;
  const auto read = dump.read(address, std::span(&byte, 1));
  if (read.bytes == 0) return fmt::format("not in the dump: {}", reader::describe(read));
  const uint64_t within = segment != nullptr ? address.value - segment->address.value : 0;
  if (segment == nullptr || within >= segment->file_size)
    return "a zero that the file does not store (p_filesz < p_memsz)";
  if (!dump.has_file_offsets()) return fmt::format("in a compressed page, in segment {}", segment->index);
  return fmt::format("{:#018x}, in segment {}", segment->offset.value + within, segment->index);
}

}  // namespace

int print_translation(const Job& job, reader::VirtAddr address) {
  const std::string attempted = fmt::format("translate {:#x}", address.value);
  const auto space = job.chosen_space();
  if (!space) return job.program.fail(attempted, printable(space.error().text));
  const reader::Walk walk = space->walk(address);

  std::puts(fmt::format("vCPU {}: {}", job.chosen_cpu(), space->describe()).c_str());
  if (!walk.note.empty()) std::puts(fmt::format("note: {}", walk.note).c_str());
  const std::string name = symbol_name(job, address.value);
  std::puts(
      fmt::format("virtual   {}{}", bold(job, fmt::format("{:#018x}", address.value)), name.empty() ? "" : "  " + name)
          .c_str());
  if (!walk.steps.empty())
    std::puts(
        fmt::format("\n  {:<5}  {:<6}  {:<18}  {:<18}  {}", "level", "index", "entry at", "entry", "meaning").c_str());
  for (size_t n = 0; n < walk.steps.size(); ++n)
    print_step(walk.steps[n], entry_index(space->translator().paging(), address, n));
  if (!walk.steps.empty()) std::puts("");
  if (!walk.result) {
    std::puts(fmt::format("physical  none ({})", to_string(walk.result.error().kind)).c_str());
    return job.program.fail(attempted, walk.result.error().text);
  }
  const reader::Translation& to = *walk.result;
  std::string remark = to.page_size == 0
                           ? "paging is off"
                           : fmt::format("{} page, {}", page_size_name(to.page_size), to_string(to.permissions));
  std::puts(fmt::format("physical  {}  {}", bold(job, fmt::format("{:#018x}", to.address.value)), remark).c_str());
  std::puts(fmt::format("in file   {}", place(job.dump, to.address)).c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
