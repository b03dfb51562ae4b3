// A dump in a file. Until it is finished the file has no name (O_TMPFILE), so that a crash of the VMM, a full disk or a
// cancellation leaves nothing; where the file system has no such files it is a hidden one, ".NAME.PID".
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "writer/naming.h"
#include "writer/sink.h"
#include "writer/unique_fd.h"

namespace gcore::writer {
namespace {

constexpr size_t kWriteSize = 1 << 20;    // between two looks at the limits
constexpr uint64_t kSyncSize = 16 << 20;  // the same for fsync
static_assert(sizeof(off_t) == 8, "guests have more than 4 GiB: define _FILE_OFFSET_BITS=64");

class FileSink final : public Sink {
 public:
  FileSink(const std::string& directory, FileName name, bool sync, Control& control)
      : directory_(directory), name_(std::move(name)), sync_(sync), control_(control) {}
  ~FileSink() override { abandon(); }

  Status open(Invisible invisible);

  Status write(std::span<const std::byte> bytes) override;
  Status skip(uint64_t size) override {
    position_ += size;
    return control_.check();
  }
  Status finish() override;
  void abandon() override;
  uint64_t room() const override;
  int file() const override { return fd_.get(); }
  bool can_patch() const override { return true; }
  Status patch(uint64_t offset, std::span<const std::byte> bytes) override;
  Status reserve(uint64_t offset, uint64_t size) override;
  Status truncate(uint64_t size) override;
  Status finish_partial() override;
  std::string path() const override;
  uint64_t bytes() const override { return position_; }

 private:
  Status open_invisible(Invisible invisible);
  template <class Create>
  int take_hidden_name(Create create);
  Status check_names() const;
  Status write_back();
  Status complete();
  Status give_name();
  int give_this_name(const std::string& name);
  Status failed(const char* what, int code) const;

  std::string directory_;
  FileName name_;
  bool sync_;
  Control& control_;
  UniqueFd directory_fd_, fd_;
  std::string hidden_name_;  // "" when the file has none
  std::string final_name_;   // "" until it has one
  uint64_t position_ = 0;
};

Status FileSink::failed(const char* what, int code) const {
  return system_error(code, std::string(what) + " in directory '" + directory_ + "'");
}

Status FileSink::open(Invisible invisible) {
  directory_fd_ = UniqueFd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_fd_) return system_error(errno, "open of the dump directory '" + directory_ + "'");
  if (Status status = check_names(); !status) return status;
  return open_invisible(invisible);
}

// A look ahead, so that the guest is not stopped in vain. What counts is give_name().
Status FileSink::check_names() const {
  if (name_.replace) return {};
  const int candidates = name_.numbered ? kCandidates : 1;
  struct stat info;
  for (int number = 0; number < candidates; ++number)
    if (fstatat(directory_fd_.get(), candidate(name_, number).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return {};
  return failed(
      ("creation of '" + candidate(name_, 0) + "'" + (name_.numbered ? " (the names with -1 to -9 are taken too)" : ""))
          .c_str(),
      EEXIST);
}

Status FileSink::open_invisible(Invisible invisible) {
  constexpr mode_t kMode = S_IRUSR | S_IWUSR;  // guest memory holds secrets
  if (invisible == Invisible::automatic) {
    fd_ = UniqueFd(openat(directory_fd_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kMode));
    // To name such a file later takes /proc.
    if (fd_ && access(("/proc/self/fd/" + std::to_string(fd_.get())).c_str(), F_OK) == 0) return {};
  }
  const int code = take_hidden_name([&](const char* name) {
    fd_ = UniqueFd(openat(directory_fd_.get(), name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, kMode));
    return static_cast<bool>(fd_);
  });
  return code == 0 ? Status() : failed("creation of a dump file", code);
}

// Tries names until `create` has made one; it returns false with errno set. One that exists is not ours: another
// dump's, or what a killed VMM left. 0 or an errno value; on success the name is in hidden_name_.
template <class Create>
int FileSink::take_hidden_name(Create create) {
  constexpr int kAttempts = 100;
  const std::string stem = "." + candidate(name_, 0) + "." + std::to_string(getpid());
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::string name = attempt == 0 ? stem : stem + "." + std::to_string(attempt);
    if (create(name.c_str())) {
      hidden_name_ = name;
      return 0;
    }
    if (errno != EEXIST) return errno;
  }
  return EEXIST;
}

Status FileSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done =
        pwrite(fd_.get(), bytes.data(), std::min(bytes.size(), kWriteSize), static_cast<off_t>(position_));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return failed("writing the dump file", done < 0 ? errno : ENOSPC);
    position_ += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
    if (Status status = control_.spend(static_cast<uint64_t>(done)); !status) return status;
  }
  return {};
}

Status FileSink::patch(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return failed("writing the dump file", done < 0 ? errno : ENOSPC);
    offset += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
  position_ = std::max(position_, offset);
  return {};
}

// Blocks, not a hole. A file system that cannot give them in advance gets bytes to keep.
Status FileSink::reserve(uint64_t offset, uint64_t size) {
  const auto begin = static_cast<off_t>(offset);
  if (fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, begin, static_cast<off_t>(size)) == 0) return {};
  if (errno != EOPNOTSUPP && errno != ENOSYS) return failed("taking room for the dump file's end", errno);
  const std::string bytes(size, ' ');
  const uint64_t position = position_;
  Status status = patch(offset, std::as_bytes(std::span(bytes)));
  position_ = position;
  return status;
}

Status FileSink::truncate(uint64_t size) {
  if (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return failed("cutting off the dump file", errno);
  position_ = std::min(position_, size);
  return {};
}

// Most of fsync's work, in steps between which the dump can be cancelled; the next step's is under way meanwhile. What
// goes wrong here fsync reports.
Status FileSink::write_back() {
  const int fd = fd_.get();
  sync_file_range(fd, 0, kSyncSize, SYNC_FILE_RANGE_WRITE);
  for (uint64_t at = 0; at < position_; at += kSyncSize) {
    sync_file_range(fd, static_cast<off_t>(at + kSyncSize), kSyncSize, SYNC_FILE_RANGE_WRITE);
    sync_file_range(fd, static_cast<off_t>(at), kSyncSize, SYNC_FILE_RANGE_WAIT_BEFORE);
    if (Status status = control_.check(); !status) return status;
  }
  return {};
}

Status FileSink::finish() {
  if (Status status = control_.check(); !status) return status;
  if (sync_)
    if (Status status = write_back(); !status) return status;
  return complete();
}

Status FileSink::complete() {
  // The dump may end in a hole.
  if (ftruncate(fd_.get(), static_cast<off_t>(position_)) != 0) return failed("setting the dump file's length", errno);
  if (sync_ && fsync(fd_.get()) != 0) return failed("fsync of the dump file", errno);
  if (control_.is_abandoned()) return control_.check();
  if (Status status = give_name(); !status) return status;

  int code = 0;
  if (sync_ && fsync(directory_fd_.get()) != 0 && errno != EINVAL) code = errno;  // EINVAL: a file system without it
  if (fd_.reset() != 0 && code == 0) code = errno;
  const bool wanted = control_.commit();  // from here on it cannot be given up
  if (code == 0 && wanted) return {};
  unlinkat(directory_fd_.get(), final_name_.c_str(), 0);
  final_name_.clear();
  return wanted ? failed("completing the dump file", code) : control_.check();
}

Status FileSink::finish_partial() {
  name_.extension += kPartialExtension;
  return complete();
}

// The one place where a name is taken, and it is atomic: of several writers each gets one of its own.
Status FileSink::give_name() {
  const int candidates = name_.numbered ? kCandidates : 1;
  int code = EEXIST;
  for (int number = 0; number < candidates && code == EEXIST; ++number) {
    const std::string name = candidate(name_, number);
    code = give_this_name(name);
    if (code == 0) final_name_ = name;
  }
  if (code == 0) return {};
  return failed(("creation of '" + candidate(name_, 0) + "'").c_str(), code);
}

// 0 or an errno value; EEXIST when the name is taken.
int FileSink::give_this_name(const std::string& name) {
  const int directory = directory_fd_.get();
  if (hidden_name_.empty()) {
    const std::string link = "/proc/self/fd/" + std::to_string(fd_.get());
    if (linkat(AT_FDCWD, link.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return 0;
    if (errno != EEXIST || !name_.replace) return errno;
    // Only rename() replaces, and it needs a name to start from.
    const int code = take_hidden_name(
        [&](const char* hidden) { return linkat(AT_FDCWD, link.c_str(), directory, hidden, AT_SYMLINK_FOLLOW) == 0; });
    if (code != 0) return code;
  }
  int code = 0;
  if (name_.replace) {
    code = renameat(directory, hidden_name_.c_str(), directory, name.c_str()) == 0 ? 0 : errno;
  } else {
    code = renameat2(directory, hidden_name_.c_str(), directory, name.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
    if (code == EINVAL || code == ENOSYS) {  // a file system without that flag
      if (linkat(directory, hidden_name_.c_str(), directory, name.c_str(), 0) != 0) return errno;
      unlinkat(directory, hidden_name_.c_str(), 0);
      code = 0;
    }
  }
  if (code == 0) hidden_name_.clear();
  return code;
}

void FileSink::abandon() {
  if (!hidden_name_.empty()) unlinkat(directory_fd_.get(), hidden_name_.c_str(), 0);
  hidden_name_.clear();
  fd_.reset();
}

uint64_t FileSink::room() const {
  struct statvfs info;
  if (fstatvfs(directory_fd_.get(), &info) != 0 || info.f_blocks == 0) return UINT64_MAX;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

std::string FileSink::path() const {
  if (final_name_.empty()) return {};
  return directory_ + (directory_.ends_with('/') ? "" : "/") + final_name_;
}

}  // namespace

std::unique_ptr<Sink> open_file_sink(const std::string& directory, FileName name, bool sync, Control& control,
                                     Status& status, Invisible invisible) {
  auto sink = std::make_unique<FileSink>(directory, std::move(name), sync, control);
  status = sink->open(invisible);
  if (!status) return nullptr;
  return sink;
}

}  // namespace gcore::writer
