#include "tools/gcore-dump/session.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tools/gcore-dump/keep.h"

namespace gcore::tools::qemu {
namespace {

/// Where the copy of a private guest's memory goes: beside the dump, or where temporary files go when that is a pipe.
std::string scratch_directory(const std::string& target) {
  if (!target.starts_with('|')) return target;
  const char* chosen = std::getenv("TMPDIR");
  return chosen && *chosen ? chosen : "/var/tmp";
}

std::string milliseconds(std::chrono::nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(time.count()) / 1e6);
  return text;
}

}  // namespace

QmpResult<std::unique_ptr<Session>> Session::open(const Settings& settings, int end) {
  auto qmp = Qmp::connect(settings.socket, Qmp::kTimeout, end);
  if (!qmp) return std::unexpected(qmp.error());
  std::unique_ptr<Session> session(new Session(settings, end));
  session->qmp_ = std::move(*qmp);
  const auto machine = query_machine(*session->qmp_);
  if (!machine) return std::unexpected(machine.error());
  session->name_ = settings.system.value_or("");
  if (!settings.system) {
    const auto answer = session->qmp_->execute("query-name");
    if (!answer) return std::unexpected(answer.error());
    if (const auto* facts = answer->getAsObject()) session->name_ = facts->getString("name").value_or("").str();
  }
  Guest::Settings about{session->name_, settings.socket, scratch_directory(settings.dump.target),
                        settings.dump.dialect == writer::Dialect::vmcore, settings.dump.pause_deadline};
  session->guest_ = std::make_unique<Guest>(*session->qmp_, *machine, std::move(about));
  session->done_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  session->give_up_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  writer::Status status;
  session->dumper_ = writer::Dumper::create(
      *session->guest_, settings.dump, [raw = session.get()](const writer::Result& result) { raw->finished(result); },
      status);
  if (!session->dumper_) return std::unexpected(QmpError{QmpError::Kind::refused, status.text()});
  return session;
}

Session::~Session() {
  if (running_) cancel();
}

std::expected<void, std::string> Session::start(const Cause& cause) {
  if (auto prepared = guest_->prepare(cause.leave_paused); !prepared) return prepared;
  eventfd_t ignored;
  (void)eventfd_read(give_up_.get(), &ignored);
  qmp_->set_interrupt(give_up_.get());
  running_ = true;
  lost_ = cancelled_ = false;
  dumper_->request(cause.reason);
  return {};
}

void Session::cancel() {
  cancelled_ = true;
  eventfd_write(give_up_.get(), 1);
  dumper_->cancel();
  pollfd done{done_.get(), POLLIN, 0};
  while (poll(&done, 1, -1) < 0 && errno == EINTR) continue;
}

void Session::lost() {
  lost_ = true;
  cancel();
}

void Session::finished(const writer::Result& result) {
  {
    const std::lock_guard lock(mutex_);
    result_ = result;
  }
  eventfd_write(done_.get(), 1);
}

std::optional<bool> Session::report(Program& program) {
  eventfd_t count;
  if (eventfd_read(done_.get(), &count) != 0) return std::nullopt;
  running_ = false;
  qmp_->set_interrupt(end_);
  writer::Result result;
  {
    const std::lock_guard lock(mutex_);
    result = std::move(result_);
  }
  for (const std::string& note : guest_->notes()) program.note(note);
  bool good = result.status.ok();
  if (good) {
    std::printf("%s\n", result.path.c_str());
    std::fflush(stdout);
    if (settings_.timing) program.note(timing(result));
    if (result.pages.missing > 0)
      program.note(std::to_string(result.pages.missing) + " pages could not be read: they are zeros in " + result.path);
    if (guest_->gone()) program.note("QEMU has ended since; the dump is complete");
    if (settings_.keep > 0 && !result.path.starts_with('|'))
      for (const std::string& problem : remove_old_dumps(result.path, settings_.keep)) program.note(problem);
  } else {
    tell_failure(program, result);
  }
  if (!guest_->resume_problem().empty()) {
    program.fail("resume " + settings_.socket, "the guest is still paused: " + guest_->resume_problem());
    good = false;
  }
  return good;
}

void Session::tell_failure(Program& program, const writer::Result& result) const {
  std::string why = result.status.text();
  if (guest_->gone()) {
    why = "QEMU ended while its guest was dumped";
  } else if (lost_) {
    why = "QEMU closed the connection while its guest was dumped";
  } else if (cancelled_) {
    why = "the dump was cancelled";
  }
  if (result.path.ends_with(".partial")) why += "; what was written until then is in " + result.path;
  program.fail("dump " + settings_.socket, why);
}

std::string Session::timing(const writer::Result& result) const {
  const PauseTimes& times = guest_->times();
  return "guest paused " + milliseconds(result.paused) + " ms: stopping " + milliseconds(times.stopping) + ", layout " +
         milliseconds(times.layout) + ", copies by QEMU " + milliseconds(times.through_qemu) + ", registers " +
         milliseconds(times.registers) + ", memory " + milliseconds(times.memory) + ", resuming " +
         milliseconds(times.resuming);
}

}  // namespace gcore::tools::qemu
