#include "tools/gcore-dump/watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>

#include "tools/gcore-dump/guest.h"
#include "tools/gcore-dump/keep.h"
#include "tools/gcore-dump/unique_fd.h"

namespace gcore::tools::qemu {
namespace {

using writer::Reason;

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGUSR2, SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

/// Where the copy of a private guest's memory goes: beside the dump, or where temporary files go when that is a pipe.
std::string scratch_directory(const std::string& target) {
  if (!target.starts_with('|')) return target;
  const char* chosen = std::getenv("TMPDIR");
  return chosen && *chosen ? chosen : "/var/tmp";
}

/// A connection to one QEMU, and the dumper for its guest. While a dump runs the connection is the dumper's.
class Session {
 public:
  static std::expected<std::unique_ptr<Session>, std::string> open(const Settings& settings) {
    auto qmp = Qmp::connect(settings.socket);
    if (!qmp) return std::unexpected(qmp.error().text);
    std::unique_ptr<Session> session(new Session);
    session->qmp_ = std::move(*qmp);
    const auto machine = query_machine(*session->qmp_);
    if (!machine) return std::unexpected(machine.error());
    session->name_ = settings.system.value_or("");
    if (!settings.system) {
      const auto answer = session->qmp_->execute("query-name");
      if (!answer) return std::unexpected(answer.error().text);
      if (const auto* facts = answer->getAsObject()) session->name_ = facts->getString("name").value_or("").str();
    }
    session->guest_ =
        std::make_unique<Guest>(*session->qmp_, *machine, session->name_, scratch_directory(settings.dump.target));
    if (settings.dump.dialect == writer::Dialect::vmcore) session->guest_->look_for_vmcoreinfo();
    session->done_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    writer::Status status;
    session->dumper_ = writer::Dumper::create(
        *session->guest_, settings.dump, [raw = session.get()](const writer::Result& result) { raw->finished(result); },
        status);
    if (!session->dumper_) return std::unexpected(status.text());
    return session;
  }

  Qmp& qmp() { return *qmp_; }
  Guest& guest() { return *guest_; }
  const std::string& name() const { return name_; }
  int done_fd() const { return done_.get(); }
  bool running() const { return running_; }
  void start(Reason reason) {
    running_ = true;
    dumper_->request(std::move(reason));
  }
  void cancel() { dumper_->cancel(); }
  /// The result, once done_fd() is readable.
  std::optional<writer::Result> take_result() {
    eventfd_t count;
    if (eventfd_read(done_.get(), &count) != 0) return std::nullopt;
    running_ = false;
    const std::lock_guard lock(mutex_);
    return std::move(result_);
  }

 private:
  Session() = default;
  void finished(const writer::Result& result) {
    {
      const std::lock_guard lock(mutex_);
      result_ = result;
    }
    eventfd_write(done_.get(), 1);
  }

  std::unique_ptr<Qmp> qmp_;
  std::string name_;
  std::unique_ptr<Guest> guest_;
  UniqueFd done_;
  std::mutex mutex_;
  writer::Result result_;
  bool running_ = false;
  std::unique_ptr<writer::Dumper> dumper_;  // goes first: its thread uses the others
};

/// Says what came of a dump; true when it was written and the guest is as before.
bool report(Program& program, const Settings& settings, Session& session, const writer::Result& result) {
  const std::string attempted = "dump " + settings.socket;
  for (const std::string& note : session.guest().notes()) program.note(note);
  bool good = result.status.ok();
  if (good) {
    std::printf("%s\n", result.path.c_str());
    std::fflush(stdout);
    if (result.pages.missing > 0)
      program.note(std::to_string(result.pages.missing) + " pages could not be read: they are zeros in " + result.path);
    if (settings.keep > 0 && !result.path.starts_with('|'))
      for (const std::string& problem : remove_old_dumps(result.path, settings.keep)) program.note(problem);
  } else {
    program.fail(attempted, result.status.text());
  }
  if (!session.guest().resume_problem().empty()) {
    program.fail(attempted, "the guest is still paused: " + session.guest().resume_problem());
    good = false;
  }
  return good;
}

std::optional<Reason> reason_of(const QmpEvent& event) {
  const auto action = event.data.getString("action");
  const std::string detail = event.name + (action ? " (action " + action->str() + ")" : "");
  if (event.name == "WATCHDOG") return Reason{.kind = Reason::Kind::watchdog, .detail = detail};
  if (event.name == "GUEST_PANICKED") return Reason{.kind = Reason::Kind::panic, .detail = detail};
  return std::nullopt;
}

class Watch {
 public:
  Watch(Program& program, const Settings& settings, UniqueFd signals)
      : program_(program), settings_(settings), signals_(std::move(signals)) {}

  int run() {
    if (!connect()) return kExitFailed;
    while (!stop_) {
      if (session_ && !session_->running() && !waiting_.empty()) {
        session_->start(std::move(waiting_.front()));
        waiting_.pop_front();
      }
      wait();
      if (!session_ && !stop_) {
        if (!settings_.reconnect) break;
        connect();
      }
    }
    return kExitDone;
  }

 private:
  bool connect() {
    auto session = Session::open(settings_);
    if (!session) {
      if (settings_.reconnect && connected_once_) return false;  // QEMU is not back yet
      program_.fail("watch " + settings_.socket, session.error());
      return false;
    }
    session_ = std::move(*session);
    connected_once_ = true;
    program_.note("watching " + (session_->name().empty() ? std::string("the guest") : session_->name()) + " at " +
                  settings_.socket);
    return true;
  }

  /// Waits for one thing to happen, and sees to it.
  void wait() {
    pollfd all[3] = {{signals_.get(), POLLIN, 0}, {-1, POLLIN, 0}, {-1, POLLIN, 0}};
    if (session_) all[1].fd = session_->done_fd();
    if (session_ && !session_->running()) all[2].fd = session_->qmp().fd();
    constexpr int kRetry = 500;  // ms between attempts to find the next QEMU
    if (poll(all, 3, session_ ? -1 : kRetry) < 0) return;
    if (all[0].revents) take_signal();
    if (all[1].revents)
      if (const auto result = session_->take_result()) {
        report(program_, settings_, *session_, *result);
        take_events();
      }
    if (all[2].revents && session_) take_events();
  }

  void take_signal() {
    signalfd_siginfo facts;
    if (read(signals_.get(), &facts, sizeof facts) != sizeof facts) return;
    if (facts.ssi_signo == SIGUSR2) {
      if (session_) {
        waiting_.push_back({.kind = Reason::Kind::signal, .detail = "SIGUSR2"});
      } else {
        program_.fail("dump " + settings_.socket, "QEMU has ended, and is not back yet");
      }
      return;
    }
    stop_ = true;
    if (!session_ || !session_->running()) return;
    session_->cancel();
    pollfd done{session_->done_fd(), POLLIN, 0};
    while (poll(&done, 1, -1) < 0 && errno == EINTR) continue;
    if (const auto result = session_->take_result()) report(program_, settings_, *session_, *result);
  }

  void take_events() {
    const auto received = session_->qmp().receive();
    while (auto event = session_->qmp().next_event())
      if (auto reason = reason_of(*event)) waiting_.push_back(std::move(*reason));
    if (received) return;
    for (; !waiting_.empty(); waiting_.pop_front())
      program_.fail("dump " + settings_.socket, "QEMU ended before its guest could be dumped for " +
                                                    waiting_.front().detail +
                                                    "; with -action panic=pause,watchdog=pause it waits");
    program_.note(received.error().kind == QmpError::Kind::closed ? "QEMU at " + settings_.socket + " has ended"
                                                                  : settings_.socket + ": " + received.error().text);
    session_.reset();
  }

  Program& program_;
  const Settings& settings_;
  UniqueFd signals_;
  std::unique_ptr<Session> session_;
  std::deque<Reason> waiting_;
  bool stop_ = false, connected_once_ = false;
};

UniqueFd open_signals() {
  const sigset_t set = our_signals();
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
}

}  // namespace

void block_signals() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int dump_once(Program& program, const Settings& settings) {
  auto session = Session::open(settings);
  if (!session) return program.fail("dump " + settings.socket, session.error());
  const UniqueFd signals = open_signals();
  (*session)->start({.kind = Reason::Kind::api, .detail = "gcore-dump"});
  for (;;) {
    pollfd both[2] = {{(*session)->done_fd(), POLLIN, 0}, {signals.get(), POLLIN, 0}};
    if (poll(both, 2, -1) < 0) continue;
    if (both[0].revents)
      if (const auto result = (*session)->take_result())
        return report(program, settings, **session, *result) ? kExitDone : kExitFailed;
    signalfd_siginfo facts;
    if (both[1].revents && read(signals.get(), &facts, sizeof facts) == sizeof facts && facts.ssi_signo != SIGUSR2)
      (*session)->cancel();
  }
}

int watch(Program& program, const Settings& settings) { return Watch(program, settings, open_signals()).run(); }

}  // namespace gcore::tools::qemu
