// The bytes of a module's file, which distributions may pack as a whole: NAME.ko.gz, .ko.zst, .ko.xz. Private to the
// reader.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "reader/error.h"

namespace gcore::reader::linux_guest {

/// All bytes of a regular file, unpacked where it is packed. What is packed and no object file (ET_REL) is an error,
/// before all of it is unpacked; so is what unpacks to far more than modules do. Errors are clauses, of kind
/// unsupported where this build cannot unpack it.
Expected<std::vector<std::byte>> read_module_bytes(const std::string& path);

/// Whether the first bytes are those of a packed file, of whatever.
bool is_packed_file(const std::string& path);

}  // namespace gcore::reader::linux_guest
