#pragma once

#include <string>
#include <vector>

#include "tests/support/process.h"

namespace gcore::tests {

using Arguments = std::vector<std::string>;

/// Runs a program to its end with several minutes of time. Anything but exit status 0 is a test failure that shows its
/// output. Returns its standard output.
std::string run_well(const Arguments& argv, const Process::Options& options = {});

/// Configures SOURCE into BUILD, with this build's compilers and flags, without optimization, and builds it.
void build_project(const std::string& source, const std::string& build, const Arguments& cmake_arguments = {});

/// Installs one component of this build, or with "" all of it, and returns the folder.
std::string install(const std::string& prefix, const std::string& component);

/// What pkg-config says of a package as installed under PREFIX, as arguments.
Arguments pkg_config(const std::string& prefix, const Arguments& arguments,
                     const std::string& package = "gcore-writer");

/// Has a built VMM dump its guest into a new folder under SCRATCH and lets gcore-inspect judge the dump. Returns its
/// path.
std::string expect_good_dump(const std::string& vmm, const std::string& scratch);

/// The words of TEXT, as a shell without quotes splits it.
Arguments words(const std::string& text);

}  // namespace gcore::tests
