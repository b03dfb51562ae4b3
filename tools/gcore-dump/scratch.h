// Files without a name, for copies of guest memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>

#include "tools/gcore-dump/unique_fd.h"

namespace gcore::tools::qemu {

/// In memory when it is for a few bytes, else in `directory`. The error is a clause.
std::expected<UniqueFd, std::string> scratch_file(uint64_t size, const std::string& directory);

/// Writes at `offset`, pages of zeros left out: they are holes of the file. 0 or errno.
int write_sparse(int fd, const char* bytes, size_t size, uint64_t offset);

}  // namespace gcore::tools::qemu
