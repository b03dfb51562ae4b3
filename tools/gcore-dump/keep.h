// Keeping a directory of dumps from growing without end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tools::qemu {

/// "vm" for "vm-20170821-120619-2.gcore.zst" and "vm-20170821-120619.gcore.partial", "" for a name that no dump option
/// gives.
std::string dump_prefix(std::string_view file_name);

/// Removes the oldest dumps with the prefix of the one just written, in its directory, so that `keep` of them are left;
/// never that one itself. Partial dumps have a count of their own: after one of them only partial ones go, after a
/// whole one only whole ones. Their age is the date and number in the name. Returns what went wrong, a sentence each.
std::vector<std::string> remove_old_dumps(const std::string& newest, uint64_t keep);

}  // namespace gcore::tools::qemu
