#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

/// How a process ended: an exit code, or the signal that killed it.
struct ExitStatus {
  int code = -1;
  int signal = 0;
  bool operator==(const ExitStatus&) const = default;
};

/// A child process whose output is collected while it runs, so that it never blocks on a full pipe.
///
/// The child is in a process group of its own. Destruction kills the group (SIGKILL) and reaps the child; the child
/// also dies with the thread that started it. Spawning throws std::system_error, for a program that is not there too.
class Process {
 public:
  struct Options {
    std::string directory;                 ///< working directory; empty: the caller's
    std::vector<std::string> environment;  ///< NAME=value, added to the caller's
    bool pipe_stdin = false;               ///< false: standard input is /dev/null
    bool merge_stderr = false;             ///< standard error goes where standard output goes
  };
  enum class Stream { out, err };

  explicit Process(std::vector<std::string> argv);
  Process(std::vector<std::string> argv, const Options& options);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  pid_t pid() const;
  /// Sends a signal to the child alone (not to its group). False when it has been reaped.
  bool signal(int number);

  /// Waits until a whole line (or the unfinished last one) contains a match of the ECMAScript expression and returns
  /// that line. Each call goes on behind the line that the previous call on the same stream returned. Nothing: deadline
  /// or end of stream.
  std::optional<std::string> wait_for_line(Stream stream, const std::string& regex,
                                           std::chrono::milliseconds timeout = 30s);

  /// Writes to the child's standard input; false when the child closed it.
  bool write_stdin(std::string_view text);
  void close_stdin();

  /// Waits for the end of the child and then of its output. Nothing when the deadline passes first. May be called
  /// again.
  std::optional<ExitStatus> wait(std::chrono::milliseconds timeout = 30s);

  /// What has arrived so far.
  std::string out() const;
  std::string err() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What a process left behind.
struct Completed {
  std::string out, err;
  ExitStatus status;
  bool timed_out = false;
};

/// Runs a program to its end, with INPUT on its standard input, and kills it at the deadline.
Completed run(std::vector<std::string> argv, std::chrono::milliseconds timeout = 60s, std::string_view input = {},
              Process::Options options = {});

}  // namespace gcore::tests
