// Files that appear under their names when they are complete.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

namespace gcore::tools {

/// Writes a file whose permissions are `mode` without the umask's bits, in place of one of that name: it takes the name
/// when all of it is written, and whoever is interrupted leaves nothing. What is no ordinary file (a device, a pipe)
/// is written as it is. "" or what went wrong.
std::string write_whole_file(const std::string& path, std::span<const std::byte> bytes, mode_t mode);

}  // namespace gcore::tools
