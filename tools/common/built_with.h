// What --version says beyond the version.
#pragma once

#include <string>

namespace gcore::tools {

/// "LLVM 19.1.7, fmt 9.1.0, zlib 1.2.13, zstd 1.5.4": the libraries in a program that reads dumps, for
/// ProgramInfo::built_with. Those that this build leaves out are not named.
std::string libraries_of_reader();
/// Those in a program that only writes dumps.
std::string libraries_of_writer();

/// The commit that was built, with "-modified" when the tree was not that commit; "" when it was not built from git.
std::string revision();

}  // namespace gcore::tools
