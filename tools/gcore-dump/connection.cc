#include "tools/gcore-dump/connection.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tools/gcore-dump/keep.h"
#include "tools/gcore-dump/qemu_actions.h"

namespace gcore::tools::qemu {
namespace {

constexpr char kTorn[] =
    "somebody else let the guest go on while it was dumped: its memory is not of one moment, and the dump says so";

/// Where the copy of a private guest's memory goes: beside the dump, or where temporary files go when that is a pipe.
std::string scratch_directory(const std::string& target) {
  if (!target.starts_with('|')) return target;
  const char* chosen = std::getenv("TMPDIR");
  return chosen && *chosen ? chosen : "/var/tmp";
}

/// Into a file QEMU's memory goes at once. What takes its time, or may, is not to be waited for by the guest.
Memory::Private private_memory(const writer::Options& options) {
  const bool at_once = !options.target.starts_with('|') && options.bytes_per_second == 0 &&
                       options.compression == writer::Compression::none;
  return at_once ? Memory::Private::in_place : Memory::Private::aside;
}

}  // namespace

QmpResult<std::unique_ptr<Connection>> Connection::open(const Log& log, const Settings& settings, int end) {
  auto qmp = Qmp::connect(settings.socket, Qmp::kTimeout, end);
  if (!qmp) return std::unexpected(qmp.error());
  std::unique_ptr<Connection> session(new Connection(log, settings, end));
  session->qmp_ = std::move(*qmp);
  const auto machine = query_machine(*session->qmp_);
  if (!machine) return std::unexpected(machine.error());
  session->name_ = settings.system.value_or("");
  if (!settings.system) {
    const auto answer = session->qmp_->execute("query-name");
    if (!answer) return std::unexpected(answer.error());
    if (const auto* facts = answer->getAsObject()) session->name_ = facts->getString("name").value_or("").str();
  }
  session->done_ = base::UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  session->give_up_ = base::UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Guest::Settings about{.name = session->name_,
                        .socket = settings.socket,
                        .directory = scratch_directory(settings.dump.target),
                        .private_memory = private_memory(settings.dump),
                        .live = settings.live,
                        .watched = settings.stays,
                        .vmcore = settings.dump.dialect == writer::Dialect::vmcore,
                        .deadline = settings.dump.pause_deadline,
                        .give_up = session->give_up_.get(),
                        .tell = [&log](const std::string& sentence) { log.note(sentence); }};
  session->guest_ = std::make_unique<Guest>(*session->qmp_, *machine, std::move(about));
  writer::Options options = settings.dump;
  options.program += " (QEMU " + session->qmp_->version() + ")";
  if (!settings.upload_to.empty())
    options.open_pipe = [raw = session.get()](const std::string& file) { return raw->open_upload(file); };
  writer::Status status;
  session->dumper_ = writer::Dumper::create(
      *session->guest_, options, [raw = session.get()](const writer::Result& result) { raw->finished(result); },
      status);
  if (!session->dumper_) return std::unexpected(QmpError{QmpError::Kind::refused, status.text()});
  return session;
}

Connection::~Connection() {
  if (running_) cancel();
}

std::expected<void, std::string> Connection::start(const Cause& cause) {
  if (auto prepared = guest_->prepare(cause.leave_paused); !prepared) return prepared;
  eventfd_t ignored;
  (void)eventfd_read(give_up_.get(), &ignored);
  qmp_->set_interrupt(give_up_.get());
  running_ = true;
  lost_ = cancelled_ = false;
  cause_ = cause;
  asked_ = std::chrono::steady_clock::now();
  dumper_->request(cause.reason);
  return {};
}

void Connection::cancel() {
  cancelled_ = true;
  eventfd_write(give_up_.get(), 1);
  dumper_->cancel();
  {
    const std::lock_guard lock(mutex_);
    if (upload_) upload_->cancel();
  }
  for (;;) {
    pollfd both[2] = {{done_.get(), POLLIN, 0}, {end_, POLLIN, 0}};
    if (poll(both, 2, -1) < 0) continue;
    if (both[0].revents != 0) return;
    signalfd_siginfo again;
    if (read(end_, &again, sizeof again) == sizeof again) eventfd_write(give_up_.get(), 1);
  }
}

void Connection::lost() {
  lost_ = true;
  cancel();
}

int Connection::open_upload(const std::string& file) {
  auto upload = reader::Upload::prepare(settings_.upload_to + file, settings_.upload);
  const std::lock_guard lock(mutex_);
  if (!upload) {
    upload_problem_ = printable(upload.error().text);
    errno = EACCES;
    return -1;
  }
  upload_ = std::make_shared<UploadPipe>(std::move(*upload));
  return upload_->open();
}

void Connection::finished(const writer::Result& taken) {
  writer::Result result = taken;
  std::unique_lock lock(mutex_);
  if (!upload_problem_.empty()) result.status = writer::Status(std::exchange(upload_problem_, ""));
  const auto upload = upload_;
  lock.unlock();
  if (upload) {
    if (const auto ended = upload->end(result.status.ok()); !ended)
      result.status = writer::Status(printable(ended.error()));
    result.path = result.status.ok() ? upload->name() : "";
  }
  lock.lock();
  upload_.reset();
  result_ = std::move(result);
  lock.unlock();
  eventfd_write(done_.get(), 1);
}

std::optional<bool> Connection::report() {
  eventfd_t count;
  if (eventfd_read(done_.get(), &count) != 0) return std::nullopt;
  running_ = false;
  qmp_->set_interrupt(end_);
  writer::Result result;
  {
    const std::lock_guard lock(mutex_);
    result = std::move(result_);
  }
  for (const std::string& note : guest_->notes()) log_.note(note);
  if (!result.notice.empty()) log_.note(result.notice);
  bool good = result.status.ok();
  const bool in_directory = !settings_.dump.target.starts_with('|');
  if (settings_.keep > 0 && in_directory && !result.path.empty())
    for (const std::string& problem : remove_old_dumps(result.path, settings_.keep)) log_.note(problem);
  if (good) {
    std::printf("%s\n", result.path.c_str());
    std::fflush(stdout);
    if (settings_.stays || log_.format() == Log::Format::json)
      log_.dumped(result, cause_.reason, std::chrono::steady_clock::now() - asked_);
    if (settings_.timing) log_.note(timing(result));
    if (result.pages.missing > 0)
      log_.note(std::to_string(result.pages.missing) + " pages could not be read: they are zeros in " + result.path);
    if (guest_->gone()) log_.note("QEMU has ended since; the dump is complete");
  } else {
    tell_failure(result);
  }
  if (good && guest_->torn()) {
    log_.fail("dump " + settings_.socket, kTorn);
    good = false;
  }
  if (!guest_->resume_problem().empty()) {
    log_.fail("resume " + settings_.socket, "the guest is still paused: " + guest_->resume_problem());
    good = false;
  }
  return good;
}

void Connection::tell_failure(const writer::Result& result) const {
  std::string why = result.status.text();
  if (guest_->gone()) {
    why = "QEMU ended while its guest was dumped";
  } else if (lost_ || !qmp_->receive()) {
    why = "QEMU closed the connection while its guest was dumped";
  } else if (cancelled_) {
    why = "the dump was cancelled";
  }
  const auto kind = cause_.reason.kind;
  const bool may_end_qemu = kind == writer::Reason::Kind::watchdog || kind == writer::Reason::Kind::panic;
  if (may_end_qemu && !qmp_->receive()) why += kHaveItWait;
  if (result.path.ends_with(".partial")) why += "; what was written until then is in " + result.path;
  log_.fail("dump " + settings_.socket, why);
  if (guest_->torn() && !result.path.empty()) log_.note(kTorn);
}

std::string Connection::timing(const writer::Result& result) const {
  if (guest_->consistency() == writer::Consistency::snapshot)
    return "guest paused " + milliseconds(result.paused) + " ms by QEMU; it went on while its memory was copied";
  const PauseTimes& times = guest_->times();
  return "guest paused " + milliseconds(result.paused) + " ms: stopping " + milliseconds(times.stopping) + ", layout " +
         milliseconds(times.layout) + ", copies " + milliseconds(times.copies) + ", registers " +
         milliseconds(times.registers) + ", memory " + milliseconds(times.memory) + ", resuming " +
         milliseconds(times.resuming);
}

}  // namespace gcore::tools::qemu
