#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "writer/dump.h"
#include "writer/job.h"
#include "writer/sink.h"

namespace gcore::writer {
namespace {

Status failed(const std::string& directory, int code, const char* what_to_do = "") {
  Status status = system_error(code, "the dump directory '" + directory + "'");
  return Error{code, status.text() + what_to_do};
}

// Makes the last component only: a path that is wrong further up is more likely a mistake than a wish.
Status make_directory(const std::string& directory, std::string& notice) {
  if (mkdir(directory.c_str(), S_IRWXU) == 0) {  // dumps hold the guest's secrets
    notice = "made the dump directory '" + directory + "' (mode 0700)";
    return {};
  }
  if (errno == EEXIST) return {};  // somebody else was quicker, or it is a dangling link: the next look tells
  return failed(directory, errno, errno == ENOENT ? "; make it with mkdir -p" : "");
}

// Nothing but a file tells that files can be made: root may write to /proc, and cannot. It never has a name for long.
Status try_file(const Options& options) {
  Control control(options, {});
  Status status;
  FileName name;
  name.stem = "gcore-check";
  name.replace = true;
  open_file_sink(options.target, std::move(name), false, control, status);
  return status;
}

}  // namespace

Status prepare_target(const Options& options, std::string& notice) {
  notice.clear();
  if (Status status = check_options(options); !status) return status;
  if (Status status = look_at_target(options, notice); !status || options.target.starts_with('|')) return status;
  return try_file(options);
}

Status look_at_target(const Options& options, std::string& notice) {
  const std::string& target = options.target;
  if (target.starts_with('|')) return {};
  struct stat info = {};
  if (stat(target.c_str(), &info) != 0 && errno == ENOENT && options.file_name.empty())
    if (Status status = make_directory(target, notice); !status) return status;
  if (stat(target.c_str(), &info) != 0) return failed(target, errno);
  if (!S_ISDIR(info.st_mode)) return failed(target, ENOTDIR);
  if (faccessat(AT_FDCWD, target.c_str(), W_OK | X_OK, AT_EACCESS) != 0) return failed(target, errno);
  return {};
}

}  // namespace gcore::writer
