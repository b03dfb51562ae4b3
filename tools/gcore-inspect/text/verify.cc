#include <fmt/format.h>

#include <cstdio>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

int verify(const Job& job) {
  const auto all = defects(job.dump);
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
