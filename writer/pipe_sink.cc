// A dump into the standard input of a shell command, or into a pipe that somebody else made.
//
// The command is a process group of its own with default signal dispositions, an empty signal mask and no descriptor of
// ours but standard output and standard error, so that it behaves as it does in a terminal, and so that all of it can
// be killed. The pipe does not block: whatever the command does, the dump can be cancelled.
//
// Guest memory is lent to the pipe where that is safe: a page of it in the pipe is a reference to the guest's, of which
// the command makes the only copy when it reads. The guest stays paused until the pipe is empty (return_lent()). After
// that only a command that moved pages on by splice() or tee() could still refer to one, so it is kept from doing that
// (command_filter.h). Zeros are lent always, from a buffer that never changes.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "writer/command_filter.h"
#include "writer/sink.h"
#include "writer/unique_fd.h"

namespace gcore::writer {
namespace {

constexpr int kPipeSize = 1 << 20;  // fewer switches between the two processes; refused quietly when not permitted
constexpr auto kForEver = std::chrono::milliseconds::max();
alignas(kPageSize) constexpr std::byte kZeros[64 * 1024] = {};

class PipeSink final : public Sink {
 public:
  PipeSink(const std::string& command, std::vector<std::string> environment, PipeMemory memory, Control& control)
      : command_(command), environment_(std::move(environment)), memory_(memory), control_(control) {}
  /// Of a pipe that is there: `name` is what it is called.
  PipeSink(UniqueFd pipe, const std::string& name, PipeMemory memory, Control& control)
      : command_(name),
        memory_(memory == PipeMemory::copy ? memory : PipeMemory::lend),
        control_(control),
        pipe_(std::move(pipe)),
        called_(name) {}
  ~PipeSink() override { abandon(); }

  Status open();
  Status take_over();

  Status write(std::span<const std::byte> bytes) override;
  Status skip(uint64_t size) override;
  Status lend(const Stretch& memory, uint64_t& taken) override;
  Status return_lent() override;
  Status finish() override;
  Status explain(Status error) override;
  void abandon() override;
  std::string path() const override { return "|" + command_; }
  uint64_t bytes() const override { return position_; }
  int command_status() const override { return command_status_; }
  int command_signal() const override { return command_signal_; }

 private:
  int spawn(int input);
  int spawn_filtered(int input);
  std::vector<char*> whole_environment();
  template <class Put>
  Status put(uint64_t size, uint64_t& done, Put put);
  Status stopped_reading();
  Status wait_until_read();
  bool reap(int options);
  Status wait_for_exit(std::chrono::milliseconds limit = kForEver);
  Status command_failed(const std::string& why, int code = 0) const {
    return Error{code, "dump to " + (called_.empty() ? "command '" + command_ + "'" : called_) + ": " + why};
  }
  std::string exit_text() const;

  std::string command_;
  std::vector<std::string> environment_;  // what it has more than the VMM
  PipeMemory memory_;                     // `automatic` only until the command was started
  Control& control_;
  UniqueFd pipe_;
  std::string called_;  // what errors call a pipe that was there
  pid_t pid_ = -1;      // also the process group; -1 when there is nothing to reap
  int command_status_ = 0, command_signal_ = 0;
  uint64_t position_ = 0;
  bool has_lent_ = false;
};

Status PipeSink::open() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return command_failed(system_error(errno, "creation of a pipe").text(), errno);
  UniqueFd input(ends[0]);
  pipe_ = UniqueFd(ends[1]);
  fcntl(pipe_.get(), F_SETPIPE_SZ, kPipeSize);
  // Only the file description of the write end: the command's end blocks, as programs expect.
  if (fcntl(pipe_.get(), F_SETFL, O_WRONLY | O_NONBLOCK) != 0) return command_failed("fcntl of a pipe failed", errno);
  const int code = memory_ == PipeMemory::automatic ? spawn_filtered(input.get()) : spawn(input.get());
  if (code != 0) return command_failed(system_error(code, "starting /bin/sh").text(), code);
  return {};
}

Status PipeSink::take_over() {
  fcntl(pipe_.get(), F_SETPIPE_SZ, kPipeSize);
  const int flags = fcntl(pipe_.get(), F_GETFL);
  if (flags < 0 || fcntl(pipe_.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return command_failed("fcntl of a pipe failed", errno);
  return {};
}

// A filter stays with its thread for good, so that one is made for it. Without the filter memory is copied.
int PipeSink::spawn_filtered(int input) {
  struct Start {
    PipeSink* self;
    int input, code;
  } start = {this, input, -1};
  const auto body = [](void* argument) -> void* {
    auto* to = static_cast<Start*>(argument);
    to->self->memory_ = forbid_splicing() ? PipeMemory::lend : PipeMemory::copy;
    to->code = to->self->spawn(to->input);
    return nullptr;
  };
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool started = pthread_create(&thread, nullptr, body, &start) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) {
    pthread_join(thread, nullptr);
    return start.code;
  }
  memory_ = PipeMemory::copy;
  return spawn(input);
}

// The VMM's, in which ours take the place of what has the same name.
std::vector<char*> PipeSink::whole_environment() {
  const auto is_ours = [this](std::string_view variable) {
    return std::any_of(environment_.begin(), environment_.end(), [variable](const std::string& own) {
      return variable.starts_with(std::string_view(own).substr(0, own.find('=') + 1));
    });
  };
  std::vector<char*> all;
  for (char** variable = environ; variable && *variable; ++variable)
    if (!is_ours(*variable)) all.push_back(*variable);
  for (std::string& own : environment_) all.push_back(own.data());
  all.push_back(nullptr);
  return all;
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
  std::vector<char*> environment = whole_environment();
  pid_t pid = -1;
  if (code == 0) code = posix_spawn(&pid, shell.c_str(), &actions, &attributes, arguments, environment.data());
  if (code == 0) pid_ = pid;
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return code;
}

// What is left in the pipe the command has not read.
Status PipeSink::stopped_reading() {
  int left = 0;
  if (ioctl(pipe_.get(), FIONREAD, &left) == 0 && left > 0) position_ -= static_cast<uint64_t>(left);
  pipe_.reset();
  if (position_ == 0) return command_failed("it read nothing", EPIPE);
  return command_failed("it stopped reading after " + std::to_string(position_) + " bytes", EPIPE);
}

// Calls put(done) until `size` bytes are in the pipe; it returns as write() does. What is wrong with the bytes rather
// than with the pipe, be it the end of a file (0) or an error, ends it with success and `done` short.
template <class Put>
Status PipeSink::put(uint64_t size, uint64_t& done, Put put) {
  while (done < size) {
    const ssize_t count = put(done);
    if (count > 0) {
      position_ += static_cast<uint64_t>(count);
      done += static_cast<uint64_t>(count);
      if (Status status = control_.spend(static_cast<uint64_t>(count)); !status) return status;
    } else if (count < 0 && errno == EAGAIN) {
      if (Status status = control_.wait_for(pipe_.get(), POLLOUT); !status) return status;
    } else if (count < 0 && errno == EPIPE) {
      return stopped_reading();
    } else if (count == 0 || errno != EINTR) {
      break;
    }
  }
  return {};
}

Status PipeSink::write(std::span<const std::byte> bytes) {
  uint64_t done = 0;
  const auto one = [&](uint64_t at) { return ::write(pipe_.get(), bytes.data() + at, bytes.size() - at); };
  if (Status status = put(bytes.size(), done, one); !status || done == bytes.size()) return status;
  return command_failed(system_error(errno, "writing to the pipe").text(), errno);
}

Status PipeSink::skip(uint64_t size) {
  uint64_t done = 0;
  if (memory_ == PipeMemory::lend) {
    const auto lent = [&](uint64_t at) {
      iovec zeros[16];
      size_t count = 0;
      for (uint64_t left = size - at; left > 0 && count < 16; ++count) {
        zeros[count] = {const_cast<std::byte*>(kZeros), static_cast<size_t>(std::min<uint64_t>(left, sizeof kZeros))};
        left -= zeros[count].iov_len;
      }
      return vmsplice(pipe_.get(), zeros, count, SPLICE_F_NONBLOCK);  // the pipe's own flag does not count here
    };
    if (Status status = put(size, done, lent); !status) return status;
  }
  while (done < size) {
    const auto part = static_cast<size_t>(std::min<uint64_t>(size - done, sizeof kZeros));
    if (Status status = write({kZeros, part}); !status) return status;
    done += part;
  }
  return {};
}

// A file gives its pages more cheaply than a mapping of it; where it cannot (hugetlbfs), the mapping does.
Status PipeSink::lend(const Stretch& memory, uint64_t& taken) {
  taken = 0;
  if (memory_ != PipeMemory::lend) return {};
  const auto from_file = [&](uint64_t at) {
    loff_t offset = static_cast<loff_t>(memory.fd_offset + at);
    return splice(memory.fd, &offset, pipe_.get(), nullptr, memory.size - at, 0);
  };
  const auto from_mapping = [&](uint64_t at) {
    const iovec part = {const_cast<std::byte*>(memory.host) + at, memory.size - at};
    return vmsplice(pipe_.get(), &part, 1, SPLICE_F_NONBLOCK);
  };
  if (memory.fd >= 0)
    if (Status status = put(memory.size, taken, from_file); !status) return status;
  if (memory.host && taken == 0)
    if (Status status = put(memory.size, taken, from_mapping); !status) return status;
  has_lent_ = has_lent_ || taken > 0;
  const uint64_t short_of_a_page = (kPageSize - taken % kPageSize) % kPageSize;  // the file ended meanwhile
  taken += short_of_a_page;
  return skip(short_of_a_page);
}

Status PipeSink::return_lent() { return has_lent_ ? wait_until_read() : Status(); }

// Nothing tells the writer of a pipe that it is empty, so it is looked at.
Status PipeSink::wait_until_read() {
  constexpr std::chrono::milliseconds kStep(1);
  int left = 0;
  while (ioctl(pipe_.get(), FIONREAD, &left) == 0 && left > 0) {
    if (Status status = control_.wait_for(pipe_.get(), 0, kStep); !status) return status;
    pollfd end = {pipe_.get(), 0, 0};
    if (poll(&end, 1, 0) <= 0 || (end.revents & POLLERR) == 0) continue;
    if (ioctl(pipe_.get(), FIONREAD, &left) != 0 || left == 0) break;  // read to the end, and ended
    return stopped_reading();
  }
  return {};
}

// A command that ends well before it has read everything has not got the dump.
Status PipeSink::finish() {
  if (Status status = wait_until_read(); !status) return status;
  pipe_.reset();
  if (Status status = wait_for_exit(); !status) return status;
  if (command_status_ == 0) return {};
  return command_failed("it " + exit_text());
}

std::string PipeSink::exit_text() const {
  if (command_status_ < 0)
    return "ended with a status that is unknown, since the VMM reaps children that are not its own";
  if (command_signal_ != 0) return "was ended by signal " + std::to_string(command_signal_);
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
  command_signal_ = got > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  command_status_ = got < 0 ? -1 : command_signal_ != 0 ? 128 + command_signal_ : WEXITSTATUS(status);
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

// Killed before the pipe ends: a command that saw the end first would take what it has for all of the dump.
void PipeSink::abandon() {
  if (pid_ >= 0) kill(-pid_, SIGKILL);
  pipe_.reset();
  reap(0);
}

}  // namespace

std::unique_ptr<Sink> open_pipe_sink(const std::string& command, std::vector<std::string> environment,
                                     PipeMemory memory, Control& control, Status& status) {
  auto sink = std::make_unique<PipeSink>(command, std::move(environment), memory, control);
  status = sink->open();
  if (!status) return nullptr;
  return sink;
}

std::unique_ptr<Sink> open_descriptor_sink(int fd, const std::string& name, PipeMemory memory, Control& control,
                                           Status& status) {
  auto sink = std::make_unique<PipeSink>(UniqueFd(fd), name, memory, control);
  status = sink->take_over();
  if (!status) return nullptr;
  return sink;
}

}  // namespace gcore::writer
