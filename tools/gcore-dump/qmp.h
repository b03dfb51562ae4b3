// A client of QEMU's machine protocol (QMP: docs/interop/qmp-spec.txt of QEMU) over its socket, UNIX or TCP.
//
// One thread at a time. Every wait has a deadline, so that a QEMU that hangs, or serves another client (a QMP socket
// serves one at a time and leaves the others waiting), is an error and not a hang.
#pragma once

#include <llvm/Support/JSON.h>

#include <chrono>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gcore::tools::qemu {

struct QmpError {
  enum class Kind : uint8_t {
    refused,      // QEMU answered with an error: `text` has its words
    deadline,     // no answer in time; the answer, if it comes, is dropped
    closed,       // QEMU has gone, or closed the connection
    interrupted,  // what set_interrupt() named became readable; the answer, if it comes, is dropped
    unavailable,  // (connect only) there is no socket, no permission, or nobody listens
    protocol,     // what came is not QMP
    too_old,      // (connect only) it is a QEMU that lacks what is needed
  };
  Kind kind = Kind::refused;
  std::string text;  // one clause: why
};

template <class T>
using QmpResult = std::expected<T, QmpError>;

/// An event that QEMU sent on its own.
struct QmpEvent {
  std::string name;                   // "WATCHDOG"
  llvm::json::Object data;            // empty when the event has none
  std::chrono::microseconds time{0};  // when it was, since 1970, by QEMU's clock
};

class Qmp {
 public:
  static constexpr std::chrono::milliseconds kTimeout{10'000};

  /// Connects (`path`: of a UNIX socket, or tcp:HOST:PORT), reads the greeting and leaves the negotiation mode. All of
  /// it within `timeout`; `interrupt` as in set_interrupt(). A guest that stopped since what answers is QEMU's gdb stub
  /// has been told to go on.
  static QmpResult<std::unique_ptr<Qmp>> connect(const std::string& path, std::chrono::milliseconds timeout = kTimeout,
                                                 int interrupt = -1);
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  /// Runs a command and returns the answer's "return". `pass_fd`, if not -1, goes along with it (SCM_RIGHTS) and stays
  /// the caller's.
  QmpResult<llvm::json::Value> execute(std::string_view command, llvm::json::Object arguments = {},
                                       std::chrono::milliseconds timeout = kTimeout, int pass_fd = -1);
  /// Waits on, after a deadline or an interrupt, for the answer to the command of the last execute().
  QmpResult<llvm::json::Value> wait_on(std::chrono::milliseconds timeout);

  /// Runs a command of the human monitor; its text has \n line ends. The human monitor has no errors: an unknown
  /// command or a failure is a text, too.
  QmpResult<std::string> human(std::string_view command_line, int cpu = 0);

  /// Waiting for an answer ends early when this descriptor (borrowed, never read; -1: none) is readable.
  void set_interrupt(int fd) { interrupt_ = fd; }

  /// Takes in what has arrived, without waiting. `closed` when QEMU has gone; events before that are still to be had.
  QmpResult<void> receive();
  /// The oldest event not taken yet.
  std::optional<QmpEvent> next_event();
  /// Of those of this name that have arrived and are not taken yet the one before which there are `earlier`.
  std::optional<QmpEvent> event_after(std::string_view name, size_t earlier) const;
  /// How many events of this name have arrived and are not taken yet.
  size_t events_waiting(std::string_view name) const;

  /// For poll(): readable when receive() has something to do.
  int fd() const { return fd_; }
  /// execute() can pass descriptors: it is a UNIX socket.
  bool passes_descriptors() const { return passes_descriptors_; }
  /// Process id of whoever made the socket: QEMU, unless a wrapper passed the socket to it. 0 when not known. (TCP: of
  /// who has the other end, if that is on this machine.)
  int peer_pid() const { return peer_pid_; }
  /// "7.2.22", from the greeting.
  const std::string& version() const { return version_; }

 private:
  using Clock = std::chrono::steady_clock;

  Qmp() = default;
  QmpResult<void> open_socket(const std::string& path, Clock::time_point deadline);
  QmpResult<void> open_tcp(const std::string& host_and_port, Clock::time_point deadline);
  QmpResult<void> read_greeting(Clock::time_point deadline);
  bool detach_from_gdb_stub(std::chrono::milliseconds patience);
  QmpResult<llvm::json::Object> next_message(Clock::time_point deadline);
  QmpResult<void> fill(Clock::time_point deadline);
  QmpResult<void> send(std::string_view text, int pass_fd, Clock::time_point deadline);
  QmpResult<std::optional<llvm::json::Object>> take_message();
  bool keep_event(llvm::json::Object& message);
  std::unexpected<QmpError> late(QmpError why, std::chrono::milliseconds timeout) const;

  int fd_ = -1, interrupt_ = -1;
  int peer_pid_ = 0;
  bool passes_descriptors_ = true;
  std::string version_;
  std::string buffer_;  // bytes received and not yet taken as messages
  size_t scanned_ = 0;  // so many of them do not end a message
  size_t depth_ = 0;    // of brackets, there
  bool in_string_ = false, escaped_ = false;
  int64_t last_id_ = 0;       // of the last command
  std::string last_command_;  // its name
  std::deque<QmpEvent> events_;
};

}  // namespace gcore::tools::qemu
