// Keeping a directory of dumps from growing without end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gcore::tools::qemu {

/// Removes the oldest dumps with the prefix of the one just written, in its directory, so that `keep` of them are left;
/// never that one itself. Partial dumps have a count of their own: after one of them only partial ones go, after a
/// whole one only whole ones. Their age is the date and number in the name. Returns what went wrong, a sentence each.
std::vector<std::string> remove_old_dumps(const std::string& newest, uint64_t keep);

}  // namespace gcore::tools::qemu
