#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "tests/support/regex.h"

extern char** environ;

namespace gcore::tests {
namespace {

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    read = fds[0];
    write = fds[1];
  }
};

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (auto& s : strings) result.push_back(s.data());
  result.push_back(nullptr);
  return result;
}

[[noreturn]] void run_child(char** argv, char** env, const char* directory, int in, int out, int err, int report) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(err, 2) >= 0 && (!*directory || chdir(directory) == 0)) {
    environ = env;
    execvp(argv[0], argv);
  }
  int error = errno;
  // The parent sees the cause; when even that fails it sees the exit code.
  if (::write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

}  // namespace

struct Process::State {
  pid_t pid = -1;
  int in = -1;
  std::array<int, 2> fds{-1, -1};
  int wake_read = -1, wake_write = -1;  // closing the writing end ends the thread
  std::thread reader;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::array<std::string, 2> text;
  std::array<size_t, 2> searched{0, 0};
  std::array<bool, 2> ended{false, false};
  std::optional<ExitStatus> status;

  void collect() {
    std::array<char, 65536> buffer{};
    for (;;) {
      std::array<pollfd, 3> polled{};
      for (size_t i = 0; i < 2; i++) polled[i] = {fds[i], POLLIN, 0};
      polled[2] = {wake_read, POLLIN, 0};
      if (fds[0] < 0 && fds[1] < 0) return;
      if (poll(polled.data(), polled.size(), -1) < 0) continue;
      if (polled[2].revents) return;
      for (size_t i = 0; i < 2; i++) {
        if (!polled[i].revents) continue;
        ssize_t n = ::read(fds[i], buffer.data(), buffer.size());
        std::lock_guard lock(mutex);
        if (n > 0) {
          text[i].append(buffer.data(), static_cast<size_t>(n));
        } else {
          close_fd(fds[i]);
          ended[i] = true;
        }
        changed.notify_all();
      }
    }
  }

  ~State() {
    close_fd(in);
    kill(-pid, SIGKILL);
    if (!status) waitpid(pid, nullptr, 0);
    close_fd(wake_write);
    if (reader.joinable()) reader.join();
    for (int& fd : fds) close_fd(fd);
    close_fd(wake_read);
  }

  bool reap() {
    if (status) return true;
    int raw = 0;
    if (waitpid(pid, &raw, WNOHANG) != pid) return false;
    status = WIFSIGNALED(raw) ? ExitStatus{-1, WTERMSIG(raw)} : ExitStatus{WEXITSTATUS(raw), 0};
    return true;
  }
};

Process::Process(std::vector<std::string> argv) : Process(std::move(argv), Options{}) {}

Process::Process(std::vector<std::string> argv, const Options& options) : state_(std::make_unique<State>()) {
  std::vector<std::string> variables = options.environment;
  for (char** e = environ; *e; e++) variables.emplace_back(*e);  // the first of two with one name counts
  auto args = pointers(argv);
  auto env = pointers(variables);
  Pipe in, out, err, report, wake;
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  pid_t pid = fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid == 0) {
    run_child(args.data(), env.data(), options.directory.c_str(), options.pipe_stdin ? in.read : null, out.write,
              options.merge_stderr ? out.write : err.write, report.write);
  }
  close_fd(null);
  close_fd(in.read);
  close_fd(out.write);
  close_fd(err.write);
  close_fd(report.write);
  int error = 0;
  bool failed = ::read(report.read, &error, sizeof error) == sizeof error;
  close_fd(report.read);
  state_->pid = pid;
  state_->in = in.write;
  state_->fds = {out.read, err.read};
  state_->wake_read = wake.read;
  state_->wake_write = wake.write;
  if (!options.pipe_stdin) close_fd(state_->in);
  ::signal(SIGPIPE, SIG_IGN);
  state_->reader = std::thread([state = state_.get()] { state->collect(); });
  if (failed) {
    waitpid(pid, nullptr, 0);
    state_->status = ExitStatus{127, 0};
    throw std::system_error(error, std::generic_category(), argv[0]);
  }
}

Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
Process::~Process() = default;

pid_t Process::pid() const { return state_->pid; }

bool Process::signal(int number) { return !state_->reap() && kill(state_->pid, number) == 0; }

std::optional<std::string> Process::wait_for_line(Stream stream, const std::string& regex,
                                                  std::chrono::milliseconds timeout) {
  const Regex wanted(regex);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const auto i = static_cast<size_t>(stream);
  std::unique_lock lock(state_->mutex);
  for (;;) {
    const std::string& text = state_->text[i];
    size_t start = state_->searched[i];
    while (start < text.size()) {
      size_t end = text.find('\n', start);
      std::string line = text.substr(start, end == std::string::npos ? end : end - start);
      bool whole = end != std::string::npos;
      if (regex_search(line, wanted)) {
        state_->searched[i] = whole ? end + 1 : text.size();
        return line;
      }
      if (!whole) break;
      start = end + 1;
    }
    state_->searched[i] = start;
    if (state_->ended[i]) return std::nullopt;
    const size_t seen = text.size();
    auto arrived = [&] { return state_->text[i].size() != seen || state_->ended[i]; };
    if (!state_->changed.wait_until(lock, deadline, arrived)) return std::nullopt;
  }
}

bool Process::write_stdin(std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(state_->in, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void Process::close_stdin() { close_fd(state_->in); }

std::optional<ExitStatus> Process::wait(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  // A pidfd becomes readable when the process ends: no polling of waitpid.
  if (!state_->reap()) {
    int fd = static_cast<int>(syscall(SYS_pidfd_open, state_->pid, 0));
    pollfd polled{fd, POLLIN, 0};
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    poll(&polled, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    ::close(fd);
    if (!state_->reap()) return std::nullopt;
  }
  std::unique_lock lock(state_->mutex);
  bool whole = state_->changed.wait_until(lock, deadline, [this] { return state_->ended[0] && state_->ended[1]; });
  if (!whole) return std::nullopt;
  return state_->status;
}

std::string Process::out() const {
  std::lock_guard lock(state_->mutex);
  return state_->text[0];
}

std::string Process::err() const {
  std::lock_guard lock(state_->mutex);
  return state_->text[1];
}

Completed run(std::vector<std::string> argv, std::chrono::milliseconds timeout, std::string_view input,
              Process::Options options) {
  options.pipe_stdin = !input.empty();
  Process process(std::move(argv), options);
  std::thread feeder;
  if (options.pipe_stdin) {
    feeder = std::thread([&] {
      process.write_stdin(input);
      process.close_stdin();
    });
  }
  auto status = process.wait(timeout);
  if (!status) kill(-process.pid(), SIGKILL);
  if (feeder.joinable()) feeder.join();
  Completed result{process.out(), process.err(), status.value_or(ExitStatus{}), !status};
  return result;
}

}  // namespace gcore::tests
