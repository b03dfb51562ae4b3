// How the programs open a dump.
#pragma once

#include <fcntl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "reader/dump/dump.h"
#include "tools/common/program.h"
#include "tools/common/progress.h"

namespace gcore::tools {

/// Dump::open, with a progress line where one is wanted, since a large gzip file takes minutes to go through. `fd`: the
/// file if it is open already, which stays the caller's; -1: it is opened by its path.
inline reader::Expected<std::unique_ptr<reader::Dump>> open_dump(const Program& program, const std::string& path,
                                                                 int fd = -1) {
  std::optional<Progress> progress;
  uint64_t last = 0;
  reader::OpenOptions options;
  options.progress = [&, wanted = progress_wanted(program)](uint64_t done, uint64_t total) {
    if (!progress)
      progress.emplace(program, "opening " + (path == "-" ? "standard input" : printable(path)), total, wanted);
    const uint64_t before = std::exchange(last, done);
    if (done > before) progress->add(done - before);  // it may begin anew, if it has to be unpacked after all
  };
  const int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  return own >= 0 ? reader::Dump::open_descriptor(own, path, options) : reader::Dump::open(path, options);
}

}  // namespace gcore::tools
