// Lists of names in sentences.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tools {

/// "the process name A", "the process names A B". At most 200 are named: a file may claim any number.
std::string list_names(const std::vector<std::string>& names, size_t count, const char* one, const char* many);

/// Registers as people write them: "register cr8", "registers cr8 dr0..dr3 efer xmm0..xmm15". Names as
/// format::registers() has them: of xmm0.lo and xmm0.hi both count as xmm0.
std::string register_names(const std::set<std::string>& names);

/// "not carried over, since the vmcore dialect has no place for it: WHAT".
std::string not_carried_over(std::string_view dialect, std::string_view what);

}  // namespace gcore::tools
