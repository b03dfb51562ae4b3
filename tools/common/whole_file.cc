#include "tools/common/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "writer/base/unique_fd.h"

namespace gcore::tools {
namespace {

/// 0, or errno. A pipe has no offsets.
int write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

int write_plainly(const std::string& path, std::span<const std::byte> bytes, mode_t mode) {
  base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) return errno;
  const int problem = write_all(file.get(), bytes);
  return file.reset() != 0 && problem == 0 ? errno : problem;
}

/// Gives a file without a name its name. 0, or errno.
int name_file(int fd, const std::string& path) {
  const std::string self = "/proc/self/fd/" + std::to_string(fd);
  const std::string other = path + "." + std::to_string(getpid()) + ".tmp";
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return 0;
  // A name cannot be taken over in one step: the file gets another one first.
  if (errno != EEXIST || linkat(AT_FDCWD, self.c_str(), AT_FDCWD, other.c_str(), AT_SYMLINK_FOLLOW) != 0) return errno;
  if (rename(other.c_str(), path.c_str()) == 0) return 0;
  const int problem = errno;
  unlink(other.c_str());
  return problem;
}

int write_and_name(const std::string& path, std::span<const std::byte> bytes, mode_t mode) {
  struct stat there{};
  if (stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) return write_plainly(path, bytes, mode);
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  base::UniqueFd file(open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
  // Not every file system has files without names.
  if (!file) return errno == EOPNOTSUPP || errno == EISDIR ? write_plainly(path, bytes, mode) : errno;
  int problem = write_all(file.get(), bytes);
  if (problem == 0) problem = name_file(file.get(), path);
  return file.reset() != 0 && problem == 0 ? errno : problem;
}

}  // namespace

std::string write_whole_file(const std::string& path, std::span<const std::byte> bytes, mode_t mode) {
  const int problem = write_and_name(path, bytes, mode);
  return problem == 0 ? "" : std::strerror(problem);
}

}  // namespace gcore::tools
