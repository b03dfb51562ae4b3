#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

/// What is wrong with the includes of one file, one sentence each with the line's number; empty when nothing is.
///
/// PATH is from the root of the source tree; it decides which rules hold. TEXT is the file's contents. The rules know
/// no exemption: no comment in a file changes them.
std::vector<std::string> include_violations(std::string_view path, std::string_view text);

/// Sources that the rules are about: .h, .cc, .c and .S under the top folders; paths from ROOT, sorted.
std::vector<std::string> source_files(const std::string& root);

}  // namespace gcore::tests
