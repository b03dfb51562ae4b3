#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tools/common/progress.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

namespace {

/// "0x1000-0x1fff, 0x8000-0x8fff and 3 more".
std::string memory_text(const std::vector<std::pair<reader::PhysAddr, uint64_t>>& ranges) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < ranges.size() && i < kShown; ++i)
    text += fmt::format("{}{:#x}-{:#x}", i == 0 ? "" : ", ", ranges[i].first.value,
                        ranges[i].first.value + (ranges[i].second - 1));
  if (ranges.size() > kShown) text += fmt::format(" and {} more", ranges.size() - kShown);
  return text;
}

/// What only reading all of a compressed dump shows.
std::vector<std::string> damage(const Job& job) {
  std::vector<std::string> all;
  if (job.dump.compression() == "none" || job.dump.compression() == "flattened") return all;
  Progress progress(job.program, "verify", job.dump.memory_bytes(), progress_wanted(job.program));
  uint64_t shown = 0;
  const auto show = [&](uint64_t done, uint64_t) {
    if (done > shown) progress.add(done - shown);
    shown = std::max(shown, done);
  };
  for (const auto& part : job.dump.check(show))
    all.push_back(part.memory.empty() ? part.text : part.text + "; of the guest's memory " + memory_text(part.memory));
  return all;
}

}  // namespace

int verify(const Job& job) {
  auto all = defects(job.dump);
  for (std::string& defect : damage(job)) all.push_back(std::move(defect));
  for (const std::string& defect : all) std::puts(printable(defect).c_str());
  const std::string path = printable(job.dump.path());
  for (const std::string& notice : job.dump.notices()) job.program.note(notice);
  // Not a defect: no format asks for an order.
  if (const std::string remark = order_remark(job.dump); !remark.empty()) job.program.note(remark);
  if (!all.empty()) return job.program.fail("verify " + path, counted(all.size(), "defect", "defects"));
  std::puts(fmt::format("{}: no defect found: {} dialect, {}, {}, {}, {} of memory", path,
                        dialect_name(job.dump.dialect()), format::machine_name(job.dump.machine()),
                        counted(job.dump.cpus().size(), "vCPU", "vCPUs"),
                        counted(job.dump.segments().size(), "segment", "segments"), human_size(job.dump.memory_bytes()))
                .c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
