// The table of docs/architecture.md: which folder may include what.
#include "tests/layers/include_rules.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>

#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using Names = std::vector<std::string_view>;

bool starts_with_any(std::string_view text, const Names& prefixes) {
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return text.starts_with(prefix); });
}

/// The libraries whose headers are not the standard's, the C library's or the kernel's, by how their includes start.
const Names kThirdParty{"llvm/",         "llvm-c/", "fmt/",   "boost/",     "unicorn/", "zstd",   "zlib",
                        "xxhash",        "gtest/",  "gmock/", "benchmark/", "clang/",   "libelf", "gelf",
                        "libkdumpfile/", "bfd",     "lzma.h", "curl/",      "bzlib.h",  "lzo/",   "snappy"};

/// Rules for the files whose path starts with `folder`; the first that fits counts.
struct Rule {
  std::string_view folder;
  Names ours;              ///< includes from the source tree that are allowed, by how they start
  Names libraries;         ///< third-party includes in .cc files
  Names header_libraries;  ///< the same in headers
  Names not_ours = {};     ///< exceptions from `ours`
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> table{
      {"writer/base/", {"writer/base/"}, {}, {}},
      {"writer/format/", {"writer/format/"}, {}, {}},
      {"writer/kvm/", {"writer/"}, {}, {}},
      {"writer/", {"writer/"}, {"zstd", "zlib"}, {}, {"writer/kvm/"}},
      {"reader/translate/",
       {"reader/translate/", "reader/address.h", "reader/error.h", "writer/base/", "writer/format/"},
       {},
       {}},
      // In the order in which a byte passes them: none includes one that comes after it.
      {"reader/source/remote/",
       {"reader/source/", "reader/address.h", "reader/error.h", "writer/base/", "writer/format/"},
       {"fmt/", "llvm/ADT/ArrayRef.h", "llvm/Support/SHA256.h", "curl/"},
       {"curl/"}},
      {"reader/source/",
       {"reader/source/", "reader/address.h", "reader/error.h", "writer/base/", "writer/format/"},
       {"fmt/", "zstd", "zlib", "lzma.h", "bzlib.h", "lzo/"},
       {},
       {"reader/source/remote/"}},
      {"reader/dump/",
       {"reader/dump/", "reader/source/", "reader/translate/", "reader/address.h", "reader/error.h", "writer/base/",
        "writer/format/"},
       {"llvm/", "fmt/", "libkdumpfile/", "snappy"},
       {"libkdumpfile/"}},
      {"reader/space/",
       {"reader/space/", "reader/translate/", "reader/dump/", "reader/address.h", "reader/error.h", "writer/base/",
        "writer/format/"},
       {"fmt/"},
       {}},
      {"reader/search/",
       {"reader/search/", "reader/space/", "reader/dump/", "reader/address.h", "reader/error.h", "writer/base/",
        "writer/format/"},
       {"fmt/"},
       {}},
      {"reader/guest/", {"reader/", "writer/base/", "writer/format/"}, {"fmt/"}, {}},
      {"reader/", {"reader/", "writer/base/", "writer/format/"}, {}, {}},
      // The files of the stub that know the reader.
      {"gdbstub/dump_", {"gdbstub/", "reader/", "writer/base/", "writer/format/"}, {"fmt/"}, {}},
      {"gdbstub/", {"gdbstub/", "writer/base/"}, {"fmt/"}, {}},
      {"tools/",
       {"tools/", "gdbstub/", "reader/", "writer/"},
       {"boost/", "fmt/", "llvm/", "unicorn/", "xxhash", "zstd", "zlib"},
       {"llvm/", "unicorn/"}},
      {"tests/", {"tests/", "tools/", "gdbstub/", "reader/", "writer/"}, kThirdParty, kThirdParty},
  };
  return table;
}

const Names kTopFolders{"writer/", "reader/", "gdbstub/", "tools/", "tests/"};

bool is_header(std::string_view path) { return path.ends_with(".h"); }

std::string check(const Rule& rule, std::string_view path, std::string_view name, bool quoted) {
  if (name == "elf.h" || name == "linux/elf.h" || name == "sys/elf.h") {
    return "elf.h: its names collide with LLVM's; writer/format/elf.h has the constants";
  }
  if (quoted) {
    if (!starts_with_any(name, kTopFolders)) return "an include in quotation marks is a path from the root";
    if (!starts_with_any(name, rule.ours) || starts_with_any(name, rule.not_ours))
      return std::string(rule.folder) + " may not include it";
    return {};
  }
  if (starts_with_any(name, kTopFolders)) return "our own headers are included in quotation marks";
  if (!starts_with_any(name, kThirdParty)) return {};
  if (!starts_with_any(name, is_header(path) ? rule.header_libraries : rule.libraries)) {
    return std::string(is_header(path) ? "headers of " : "files of ") + std::string(rule.folder) +
           " may not use this library";
  }
  return {};
}

}  // namespace

std::vector<std::string> include_violations(std::string_view path, std::string_view text) {
  std::vector<std::string> found;
  auto rule = std::ranges::find_if(rules(), [&](const Rule& r) { return path.starts_with(r.folder); });
  if (rule == rules().end()) return {std::string(path) + ": no rule covers this folder"};
  static const Regex include(R"re(^\s*#\s*(?:include|include_next|import)\s*(["<])([^">]+)[">].*)re");
  std::istringstream lines{std::string(text)};
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    number++;
    RegexMatch match;
    if (!regex_match(line, match, include)) continue;
    const std::string name = match[2];
    std::string why = check(*rule, path, name, match[1] == "\"");
    if (!why.empty()) found.push_back(std::string(path) + ":" + std::to_string(number) + ": " + name + ": " + why);
  }
  return found;
}

std::vector<std::string> source_files(const std::string& root) {
  static constexpr std::array kExtensions{".h", ".cc", ".c", ".S"};
  std::vector<std::string> files;
  for (std::string_view folder : kTopFolders) {
    const std::filesystem::path top = std::filesystem::path(root) / folder;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
      const std::string extension = entry.path().extension();
      if (!entry.is_regular_file() || std::ranges::find(kExtensions, extension) == kExtensions.end()) continue;
      files.push_back(std::filesystem::relative(entry.path(), root));
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace gcore::tests
