// A dump into the standard input of a shell command.
//
// The command is a process group of its own with default signal dispositions, an empty signal mask and no descriptor of
// ours but standard output and standard error, so that it behaves as it does in a terminal, and so that all of it can
// be killed. The pipe does not block: whatever the command does, the dump can be cancelled.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "writer/sink.h"
#include "writer/unique_fd.h"

namespace gcore::writer {
namespace {

constexpr int kPipeSize = 1 << 20;  // fewer switches between the two processes; refused quietly when not permitted
constexpr auto kForEver = std::chrono::milliseconds::max();
constexpr std::byte kZeros[64 * 1024] = {};

class PipeSink final : public Sink {
 public:
  PipeSink(const std::string& command, Control& control) : command_(command), control_(control) {}
  ~PipeSink() override { abandon(); }

  Status open();

  Status write(std::span<const std::byte> bytes) override;
  Status skip(uint64_t size) override;
  Status finish() override;
  Status explain(Status error) override;
  void abandon() override;
  std::string path() const override { return "|" + command_; }
  uint64_t bytes() const override { return position_; }
  int command_status() const override { return command_status_; }

 private:
  int spawn(int input);
  bool reap(int options);
  Status wait_for_exit(std::chrono::milliseconds limit = kForEver);
  Status command_failed(const std::string& why, int code = 0) const {
    return Error{code, "dump to command '" + command_ + "': " + why};
  }
  std::string exit_text() const;

  std::string command_;
  Control& control_;
  UniqueFd pipe_;
  pid_t pid_ = -1;  // also the process group; -1 when there is nothing to reap
  int command_status_ = 0;
  uint64_t position_ = 0;
};

Status PipeSink::open() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return command_failed(system_error(errno, "creation of a pipe").text(), errno);
  UniqueFd input(ends[0]);
  pipe_ = UniqueFd(ends[1]);
  fcntl(pipe_.get(), F_SETPIPE_SZ, kPipeSize);
  // Only the file description of the write end: the command's end blocks, as programs expect.
  if (fcntl(pipe_.get(), F_SETFL, O_WRONLY | O_NONBLOCK) != 0) return command_failed("fcntl of a pipe failed", errno);
  if (const int code = spawn(input.get()); code != 0)
    return command_failed(system_error(code, "starting /bin/sh").text(), code);
  return {};
}

// 0 or an errno value.
int PipeSink::spawn(int input) {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_init(&actions);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  int code = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
  // The VMM may have descriptors that are not close-on-exec: guest memory, disks, sockets.
  if (code == 0) code = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
#endif
#endif
  const std::string shell = "/bin/sh", option = "-c";
  char* const arguments[] = {const_cast<char*>("sh"), const_cast<char*>(option.c_str()),
                             const_cast<char*>(command_.c_str()), nullptr};
  pid_t pid = -1;
  if (code == 0) code = posix_spawn(&pid, shell.c_str(), &actions, &attributes, arguments, environ);
  if (code == 0) pid_ = pid;
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return code;
}

Status PipeSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(pipe_.get(), bytes.data(), bytes.size());
    if (done > 0) {
      position_ += static_cast<uint64_t>(done);
      bytes = bytes.subspan(static_cast<size_t>(done));
      if (Status status = control_.spend(static_cast<uint64_t>(done)); !status) return status;
      continue;
    }
    if (done < 0 && errno == EAGAIN) {
      if (Status status = control_.wait_for(pipe_.get(), POLLOUT); !status) return status;
    } else if (done < 0 && errno == EPIPE) {
      pipe_.reset();
      return command_failed("it stopped reading after " + std::to_string(position_) + " bytes", EPIPE);
    } else if (done == 0 || errno != EINTR) {
      return command_failed(system_error(errno, "writing to the pipe").text(), errno);
    }
  }
  return {};
}

Status PipeSink::skip(uint64_t size) {
  while (size > 0) {
    const auto part = static_cast<size_t>(std::min<uint64_t>(size, sizeof kZeros));
    if (Status status = write({kZeros, part}); !status) return status;
    size -= part;
  }
  return {};
}

Status PipeSink::finish() {
  pipe_.reset();
  if (Status status = wait_for_exit(); !status) return status;
  if (command_status_ == 0) return {};
  return command_failed("it " + exit_text());
}

std::string PipeSink::exit_text() const {
  if (command_status_ < 0)
    return "ended with a status that is unknown, since the VMM reaps children that are not its own";
  if (command_status_ > 128) return "was ended by signal " + std::to_string(command_status_ - 128);
  return "exited with status " + std::to_string(command_status_);
}

// True when the command has ended; its status is then in command_status_.
bool PipeSink::reap(int options) {
  if (pid_ < 0) return true;
  int status = 0;
  pid_t got;
  do got = waitpid(pid_, &status, options);
  while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  // ECHILD: the VMM ignores SIGCHLD, or waits for any child.
  command_status_ = got < 0 ? -1 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  pid_ = -1;
  return true;
}

// Waits at most for `limit`: pid_ tells whether the command has ended.
Status PipeSink::wait_for_exit(std::chrono::milliseconds limit) {
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  const auto start = Control::Clock::now();
  while (!reap(WNOHANG) && (limit == kForEver || Control::Clock::now() - start < limit)) {
    // Kernels before 5.3 have no pidfd.
    const auto step = process ? limit : std::min(limit, std::chrono::milliseconds(20));
    if (Status status = control_.wait_for(process.get(), POLLIN, step); !status) return status;
  }
  return {};
}

// The exit status of a command that stopped reading says more than that it did.
Status PipeSink::explain(Status error) {
  constexpr std::chrono::milliseconds kPatience(1000);
  if (error.error().code != EPIPE || pid_ < 0) return error;
  if (Status status = wait_for_exit(kPatience); !status) return status;
  if (pid_ >= 0) return error;
  return Error{EPIPE, error.text() + " and " + exit_text()};
}

void PipeSink::abandon() {
  pipe_.reset();
  if (pid_ < 0) return;
  kill(-pid_, SIGKILL);
  reap(0);
}

}  // namespace

std::unique_ptr<Sink> open_pipe_sink(const std::string& command, Control& control, Status& status) {
  auto sink = std::make_unique<PipeSink>(command, control);
  status = sink->open();
  if (!status) return nullptr;
  return sink;
}

}  // namespace gcore::writer
