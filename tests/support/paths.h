#pragma once

#include <string>
#include <string_view>

namespace gcore::tests {

/// Path of a built program, such as program("gcore-serve"). The environment variable GCORE_BIN_DIR names another
/// folder.
std::string program(std::string_view name);

/// Root of the source tree.
std::string source_dir();

/// Root of this build's tree (build/release and the like).
std::string build_dir();

/// Where guests are cached between builds: build/guests in the source tree, or the environment variable
/// GCORE_GUESTS_DIR.
std::string guests_dir();

}  // namespace gcore::tests
