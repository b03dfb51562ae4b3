#include <fmt/format.h>

#include <cstdio>

#include "tools/common/progress.h"
#include "tools/gcore-inspect/facts/memory_pages.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

void print_row(const char* what, uint64_t bytes, uint64_t total, const std::string& remark) {
  const double share = total == 0 ? 0 : 100.0 * static_cast<double>(bytes) / static_cast<double>(total);
  std::puts(fmt::format("  {:<10} {:>12}  {:>10}  {:>6.1f} %{}", what, bytes / kPageSize, human_size(bytes), share,
                        remark.empty() ? "" : "  " + remark)
                .c_str());
}

}  // namespace

PageCounts count_all_pages(const Job& job) {
  Progress progress(job.program, "read memory", data_bytes(page_runs(job.dump, kPageSize)),
                    progress_wanted(job.program));
  return count_pages(scan_pages(job.dump, false, progress));
}

int print_stats(const Job& job) {
  const PageCounts counts = count_all_pages(job);
  const uint64_t total = counts.pages() * kPageSize + counts.partial_bytes;
  std::puts(fmt::format("  {:<10} {:>12}  {:>10}  {:>8}", "", "4K pages", "size", "share").c_str());
  print_row("zero", (counts.hole + counts.zero) * kPageSize, total,
            fmt::format("{} in holes, {} stored in the file", human_size(counts.hole * kPageSize),
                        human_size(counts.zero * kPageSize)));
  print_row("duplicate", (counts.stored - counts.distinct) * kPageSize, total,
            "equal to a page that is counted as distinct");
  print_row("distinct", counts.distinct * kPageSize, total, "");
  if (counts.partial_bytes != 0)
    print_row("partial", counts.partial_bytes, total, "at the ends of ranges that are no whole pages");
  if (counts.missing != 0) print_row("missing", counts.missing * kPageSize, total, "not in the file");
  print_row("all", total, total, "");
  return kExitDone;
}

}  // namespace gcore::tools::inspect
