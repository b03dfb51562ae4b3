#include <fmt/format.h>

#include <cstdio>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

std::string flags_text(uint32_t flags) {
  std::string text = "---";
  if ((flags & format::kSegmentRead) != 0) text[0] = 'r';
  if ((flags & format::kSegmentWrite) != 0) text[1] = 'w';
  if ((flags & format::kSegmentExecute) != 0) text[2] = 'x';
  return text;
}

/// What is odd about a segment's bytes, or "".
std::string remark(const reader::Dump& dump, const reader::Segment& segment) {
  if (segment.file_size == 0) return "left out by the writer";
  std::string text;
  if (const uint64_t lost = segment.file_size - dump.bytes_in_file(segment); lost != 0)
    text = fmt::format("the file lacks {} of it", human_size(lost));
  if (segment.file_size < segment.memory_size)
    text += fmt::format("{}zeros from {:#x}", text.empty() ? "" : "; ", segment.address.value + segment.file_size);
  return text;
}

/// Program headers count from 0, with the notes' among them: the number is the one that readelf -l has.
void print_segment(const reader::Dump& dump, const reader::Segment& segment, const std::string& odd) {
  const std::string offset = dump.has_file_offsets() ? fmt::format("{:#018x}", segment.offset.value) : "-";
  std::string line =
      fmt::format("{:>4}  {:#018x}-{:#018x}  {:>10}  {:>10}  {:<18}  {}", segment.index, segment.address.value,
                  segment.address.value + (segment.memory_size - 1), human_size(segment.memory_size),
                  human_size(dump.bytes_in_file(segment)), offset, flags_text(segment.flags));
  if (const uint64_t virt = segment.virtual_address.value; virt != 0 && virt != segment.address.value)
    line += fmt::format("  virtual {:#018x}", virt);
  if (!odd.empty()) line += "  " + odd;
  std::puts(line.c_str());
}

/// Its bytes are those of the segment that memory is read from there.
std::string alias_remark(const reader::Dump& dump, const reader::Segment& alias) {
  const reader::Segment* shown = dump.segment_at(alias.address);
  return shown == nullptr ? "" : fmt::format("the memory of segment {} again", shown->index);
}

}  // namespace

int print_segments(const Job& job) {
  const auto segments = job.dump.segments(), aliases = job.dump.aliases();
  if (segments.empty()) {
    std::puts("The dump has no memory segments.");
    return kExitDone;
  }
  std::puts(fmt::format("{:>4}  {:<18} {:<18}  {:>10}  {:>10}  {:<18}  {}", "", "first", "last", "size", "in file",
                        "file offset", "flags")
                .c_str());
  for (const reader::Segment& segment : segments) print_segment(job.dump, segment, remark(job.dump, segment));
  for (const reader::Segment& alias : aliases) print_segment(job.dump, alias, alias_remark(job.dump, alias));
  std::puts(fmt::format("\n{}, {} of memory{}", counted(segments.size(), "segment", "segments"),
                        human_size(job.dump.memory_bytes()),
                        aliases.empty()
                            ? ""
                            : fmt::format("; {} again some of it by other virtual addresses",
                                          counted(aliases.size(), "program header shows", "program headers show")))
                .c_str());
  if (const std::string remark = order_remark(job.dump); !remark.empty()) std::puts(remark.c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
