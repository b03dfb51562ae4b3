// Files without a name, for copies of guest memory.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {

/// In memory when it is for a few bytes, else in `directory`. The error is a clause.
std::expected<base::UniqueFd, std::string> scratch_file(uint64_t size, const std::string& directory);

}  // namespace gcore::tools::qemu
