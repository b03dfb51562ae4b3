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
  const uint64_t in_file = segment.offset.value < dump.file_size() ? dump.file_size() - segment.offset.value : 0;
  if (in_file < segment.file_size)
    text = fmt::format("the file lacks its last {}", human_size(segment.file_size - in_file));
  if (segment.file_size < segment.memory_size)
    text += fmt::format("{}zeros from {:#x}", text.empty() ? "" : "; ", segment.address.value + segment.file_size);
  return text;
}

}  // namespace

int print_segments(const Job& job) {
  const auto segments = job.dump.segments();
  if (segments.empty()) {
    std::puts("The dump has no memory segments.");
    return kExitDone;
  }
  std::puts(fmt::format("{:>4}  {:<18} {:<18}  {:>10}  {:>10}  {:<18}  {}", "", "first", "last", "size", "in file",
                        "file offset", "flags")
                .c_str());
  for (const reader::Segment& segment : segments) {
    // Program headers count from 0, with the notes' among them: the number is the one that readelf -l has.
    std::string line =
        fmt::format("{:>4}  {:#018x}-{:#018x}  {:>10}  {:>10}  {:#018x}  {}", segment.index, segment.address.value,
                    segment.address.value + (segment.memory_size - 1), human_size(segment.memory_size),
                    human_size(segment.file_size), segment.offset.value, flags_text(segment.flags));
    if (const uint64_t virt = segment.virtual_address.value; virt != 0 && virt != segment.address.value)
      line += fmt::format("  virtual {:#018x}", virt);
    if (const std::string odd = remark(job.dump, segment); !odd.empty()) line += "  " + odd;
    std::puts(line.c_str());
  }
  std::puts(fmt::format("\n{}, {} of memory", counted(segments.size(), "segment", "segments"),
                        human_size(job.dump.memory_bytes()))
                .c_str());
  if (const std::string remark = order_remark(job.dump); !remark.empty()) std::puts(remark.c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
