#include "tools/gcore-dump/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "tools/gcore-dump/connection.h"
#include "tools/gcore-dump/memory.h"
#include "tools/gcore-dump/qemu_actions.h"
#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {
namespace {

using writer::Reason;
using Kind = QmpError::Kind;

/// SIGHUP is left alone where it is ignored: under nohup.
sigset_t end_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM}) sigaddset(&set, number);
  struct sigaction hangup{};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  return set;
}

sigset_t our_signals() {
  sigset_t set = end_signals();
  sigaddset(&set, SIGUSR2);
  return set;
}

base::UniqueFd signal_fd(const sigset_t& set) { return base::UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)); }

/// The signals as descriptors: all of ours, and for waiting without reading those that end the program.
struct Signals {
  base::UniqueFd all = signal_fd(our_signals()), end = signal_fd(end_signals());
  /// 0 when there is none.
  int take() const {
    signalfd_siginfo facts;
    return read(all.get(), &facts, sizeof facts) == sizeof facts ? static_cast<int>(facts.ssi_signo) : 0;
  }
};

/// Waits until a dump is done, a signal has come, or there is something on the connection (while a dump runs: its end).
/// False when nothing came within `timeout` (ms; -1: for ever).
struct Ready {
  bool signal = false, done = false, connection = false;
};
Ready wait_for(const Signals& signals, Connection* connection, int timeout) {
  pollfd all[3] = {{signals.all.get(), POLLIN, 0}, {-1, POLLIN, 0}, {-1, POLLIN, 0}};
  if (connection) {
    all[1].fd = connection->done_fd();
    // Of a dump's connection only the end is of interest, and that is always reported.
    all[2] = {connection->qmp().fd(), static_cast<short>(connection->running() ? 0 : POLLIN), 0};
  }
  if (poll(all, 3, timeout) <= 0) return {};
  return {all[0].revents != 0, all[1].revents != 0, all[2].revents != 0};
}

std::optional<Connection::Cause> cause_of(const Log& log, const QmpEvent& event) {
  const std::string action = event.data.getString("action").value_or("").str();
  Connection::Cause cause{{.detail = event.name + (action.empty() ? "" : " (action " + action + ")")},
                          action == "pause"};
  if (event.name == "WATCHDOG") {
    cause.reason.kind = Reason::Kind::watchdog;
    if (action == "reset")
      log.note(
          "QEMU resets the guest when its watchdog expires: the registers are those after the reset; with "
          "-action watchdog=pause they are kept");
  } else if (event.name == "GUEST_PANICKED") {
    cause.reason.kind = Reason::Kind::panic;
  } else {
    return std::nullopt;
  }
  return cause;
}

/// The file with the process id: written once gcore-dump is connected, so that of two on one socket only the one that
/// QEMU serves has it; removed with the object.
class PidFile {
 public:
  ~PidFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  /// Once; "" when there is nothing to write, or nothing went wrong.
  std::string write(const std::string& path) {
    if (path.empty() || path == path_) return "";
    const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file) return std::strerror(errno);
    const std::string text = std::to_string(getpid()) + "\n";
    if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return std::strerror(errno);
    path_ = path;
    return "";
  }

 private:
  std::string path_;
};

class Watch {
 public:
  Watch(Program& program, const Settings& settings) : log_(program, settings.log), settings_(settings) {}

  int run() {
    while (!stop_) {
      if (!connection_ && !connect()) return kExitFailed;
      if (connection_ && !connection_->running() && !waiting_.empty()) start();
      wait();
      if (ended_ && !settings_.reconnect) break;
    }
    return failed_ ? kExitFailed : kExitDone;
  }

 private:
  /// False when it is of no use to try again.
  bool connect() {
    auto connection = Connection::open(log_, settings_, signals_.end.get());
    if (connection) {
      connection_ = std::move(*connection);
      ended_ = told_to_wait_ = false;
      if (const std::string problem = pid_file_.write(settings_.pid_file); !problem.empty()) {
        log_.fail("write the process id into " + settings_.pid_file, problem);
        return false;
      }
      if (!have_actions_set()) return false;
      log_.note("watching " +
                (connection_->name().empty() ? std::string("the guest") : printable(connection_->name())) + " at " +
                settings_.socket);
      if (!settings_.set_action)
        if (const std::string lost = what_may_be_lost(qemu_task(connection_->qmp())); !lost.empty()) log_.note(lost);
      look_at_state();
      return true;
    }
    const Kind kind = connection.error().kind;
    if (kind == Kind::interrupted) return true;
    if (settings_.reconnect && (kind == Kind::unavailable || kind == Kind::closed || kind == Kind::deadline)) {
      if (!told_to_wait_ && !ended_)
        log_.note("waiting for QEMU at " + settings_.socket + ": " + connection.error().text);
      told_to_wait_ = true;
      return true;
    }
    log_.fail("watch " + settings_.socket, connection.error().text);
    return false;
  }

  /// Before anybody is told that the guest is watched. False when QEMU does not do it.
  bool have_actions_set() {
    if (!settings_.set_action) return true;
    const auto set = have_guest_wait(connection_->qmp());
    if (!set) log_.fail("have QEMU pause a guest that panics", set.error().text);
    return set.has_value();
  }

  /// A guest that panicked, or that its watchdog paused, before somebody watched it is dumped for that: once, however
  /// often the connection to its QEMU is made.
  void look_at_state() {
    const auto answer = connection_->qmp().execute("query-status");
    const llvm::json::Object* facts = answer ? answer->getAsObject() : nullptr;
    const std::string state = facts ? facts->getString("status").value_or("").str() : "";
    if (state == "paused") log_.note(kPausedBefore);
    const std::pair found(connection_->qmp().peer_pid(), state);
    take_events();  // what has come to that state since the connection was made has said so
    if (!connection_ || (state != "guest-panicked" && state != "watchdog")) return;
    if (std::exchange(seen_, found) == found) return;
    const bool panicked = state == "guest-panicked";
    add({{.kind = panicked ? Reason::Kind::panic : Reason::Kind::watchdog,
          .detail = std::string(panicked ? "GUEST_PANICKED" : "WATCHDOG") + " (before gcore-dump was there)"},
         true});
  }

  void fail_dump(const std::string& why) {
    failed_ = true;
    log_.fail("dump " + settings_.socket, why);
  }

  void start() {
    const Connection::Cause cause = std::move(waiting_.front());
    waiting_.pop_front();
    const auto started = connection_->start(cause);
    if (started) return;
    if (connection_->qmp().receive()) return fail_dump(started.error());
    waiting_.push_front(cause);
    take_events();
  }

  /// Waits for one thing to happen, and sees to it.
  void wait() {
    constexpr int kRetry = 500;  // ms between attempts to find the next QEMU
    const Ready ready = wait_for(signals_, connection_.get(), connection_ ? -1 : kRetry);
    if (ready.signal) take_signal();
    if (!connection_) return;
    if (connection_->running() && ready.connection && !ready.done) connection_->lost();
    if (const auto good = connection_->report()) failed_ = failed_ || !*good;
    if (!connection_->running() && !stop_) take_events();
  }

  void take_signal() {
    const int number = signals_.take();
    if (number == SIGUSR2) {
      if (connection_) {
        add({{.kind = Reason::Kind::signal, .detail = "SIGUSR2"}});
      } else {
        fail_dump("there is no QEMU at the moment");
      }
    } else if (number != 0) {
      stop_ = true;
      if (connection_ && connection_->running()) connection_->cancel();
    }
  }

  /// One dump answers what comes for the same reason while another dump runs.
  void add(Connection::Cause cause) {
    const auto same = [&](const Connection::Cause& one) { return one.reason.kind == cause.reason.kind; };
    const auto found = std::ranges::find_if(waiting_, same);
    if (found == waiting_.end()) {
      waiting_.push_back(std::move(cause));
    } else {
      found->leave_paused = cause.leave_paused;
    }
  }

  void take_events() {
    const auto received = connection_->qmp().receive();
    while (auto event = connection_->qmp().next_event())
      if (auto cause = cause_of(log_, *event)) {
        if (cause->leave_paused)
          seen_ = {connection_->qmp().peer_pid(), event->name == "WATCHDOG" ? "watchdog" : "guest-panicked"};
        add(std::move(*cause));
      }
    if (received) return;
    for (; !waiting_.empty(); waiting_.pop_front())
      fail_dump("QEMU ended before its guest could be dumped for " + waiting_.front().reason.detail + kHaveItWait);
    log_.note(received.error().kind == Kind::closed ? "QEMU at " + settings_.socket + " has ended"
                                                    : settings_.socket + ": " + received.error().text);
    connection_.reset();
    ended_ = true;
  }

  const Log log_;
  const Settings& settings_;
  const Signals signals_;
  std::unique_ptr<Connection> connection_;
  PidFile pid_file_;
  std::deque<Connection::Cause> waiting_;
  std::pair<int, std::string> seen_;  // which QEMU's guest is, or was, in a state that has been seen to
  bool stop_ = false, ended_ = false, told_to_wait_ = false;
  bool failed_ = false;  // a dump
};

}  // namespace

void block_signals() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int dump_once(Program& program, const Settings& settings) {
  const std::string attempted = "dump " + settings.socket;
  const Log log(program, settings.log);
  const Signals signals;
  auto connection = Connection::open(log, settings, signals.end.get());
  if (!connection) return log.fail(attempted, connection.error().text);
  PidFile pid_file;
  if (const std::string problem = pid_file.write(settings.pid_file); !problem.empty())
    return log.fail("write the process id into " + settings.pid_file, problem);
  if (auto started = (*connection)->start({{.kind = Reason::Kind::api, .detail = "gcore-dump"}}); !started)
    return log.fail(attempted, started.error());
  for (;;) {
    const Ready ready = wait_for(signals, connection->get(), -1);
    const int signal = ready.signal ? signals.take() : 0;
    if (ready.connection && !ready.done) {
      (*connection)->lost();
    } else if (signal != 0 && signal != SIGUSR2) {
      (*connection)->cancel();
    }
    if (const auto good = (*connection)->report()) return *good ? kExitDone : kExitFailed;
  }
}

int watch(Program& program, const Settings& settings) { return Watch(program, settings).run(); }

}  // namespace gcore::tools::qemu
