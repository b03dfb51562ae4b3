#include "tools/gcore-dump/scratch.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "writer/base/sparse_file.h"

namespace gcore::tools::qemu {

std::expected<base::UniqueFd, std::string> scratch_file(uint64_t size, const std::string& directory) {
  constexpr uint64_t kKeptInMemory = 64 << 20;
  const bool in_memory = size <= kKeptInMemory;
  base::UniqueFd file =
      in_memory ? base::UniqueFd(memfd_create("gcore-dump", MFD_CLOEXEC)) : base::unnamed_file(directory);
  if (file) return file;
  const std::string what =
      in_memory ? "cannot make a file in memory: " : "cannot make a temporary file in " + directory + ": ";
  return std::unexpected(what + std::strerror(errno));
}

}  // namespace gcore::tools::qemu
