#include <fmt/format.h>

#include <cstdio>
#include <span>
#include <vector>

#include "reader/search/search.h"
#include "tools/common/progress.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

int find(const Job& job, std::string_view pattern) {
  auto search = reader::Search::in_memory(job.dump, reader::PhysAddr(0), reader::PhysAddr(UINT64_MAX),
                                          std::as_bytes(std::span(pattern)));
  std::vector<uint64_t> hits;
  bool found = false, more = true;
  Progress progress(job.program, "search memory", job.dump.memory_bytes(), progress_wanted(job.program, true));
  while (more && std::ferror(stdout) == 0) {
    hits.clear();
    const uint64_t before = search.searched();
    more = search.step(hits, 64 << 20, 1 << 16);
    progress.add(search.searched() - before);
    found |= !hits.empty();
    for (const uint64_t hit : hits) std::puts(fmt::format("{:#018x}", hit).c_str());
  }
  const std::string attempted = "find in " + printable(job.dump.path());
  if (!search.problem().empty()) return job.program.fail(attempted, search.problem());
  if (!found)
    return job.program.fail(attempted,
                            fmt::format("not found in {} of guest-physical memory", human_size(search.searched())));
  return kExitDone;
}

}  // namespace gcore::tools::inspect
