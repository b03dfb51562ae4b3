#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

/// A folder under $TMPDIR (or /tmp) that goes away, with everything in it, with the object. Throws when it cannot be
/// made. Its path is short enough for a UNIX socket inside it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  /// Path of NAME inside the folder; makes nothing.
  std::string path(std::string_view name) const;
  /// Writes a file and returns its path.
  std::string write(std::string_view name, std::string_view contents) const;
  /// Names (not paths) of what the folder holds, sorted.
  std::vector<std::string> entries() const;

 private:
  std::string path_;
};

/// The whole of a file; throws when it cannot be read.
std::string read_file(const std::string& path);

}  // namespace gcore::tests
