#include "tools/gcore-convert/write.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tools/common/progress.h"

namespace gcore::tools::convert {
namespace {

constexpr int kMilliseconds = 200;  // between two looks at the progress

/// The signals by which people and systems end a program, as something that poll() waits for. Those that were ignored
/// when the program started (nohup) stay so.
class EndSignals {
 public:
  EndSignals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction now = {};
      if (sigaction(number, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(&wanted, number);
    }
    pthread_sigmask(SIG_BLOCK, &wanted, &before_);
    fd_ = signalfd(-1, &wanted, SFD_CLOEXEC);
  }
  ~EndSignals() {
    if (fd_ >= 0) close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  int fd() const { return fd_; }
  int take() const {
    signalfd_siginfo info = {};
    return read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_;
  int fd_ = -1;
};

/// What was written is still on its way to the server.
void end_upload(UploadPipe& upload, const EndSignals& signals, writer::Result& result, int& ended_by) {
  while (result.status.ok() && ended_by == 0) {
    pollfd fds[] = {{upload.done_fd(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
    if (fds[1].revents != 0) ended_by = signals.take();
    if (fds[0].revents != 0) break;
  }
  if (ended_by != 0) result.status = writer::Status(std::string("the dump was cancelled"));
  if (const auto ended = upload.end(result.status.ok()); !ended && ended_by == 0)
    result.status = writer::Status(ended.error());
}

uint64_t memory_of(DumpGuest& guest) {
  uint64_t total = 0;
  for (const writer::MemoryRange& range : guest.memory()) total += range.size;
  return total;
}

}  // namespace

writer::Result write_dump(const Program& program, DumpGuest& guest, const writer::Options& options,
                          const HowToWrite& how) {
  int ended_by = 0;
  writer::Result result;
  {
    const EndSignals signals;  // before the dumper's thread, which is to leave them alone too
    const int done = eventfd(0, EFD_CLOEXEC);
    const auto on_done = [done](const writer::Result&) {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t ignored = write(done, &one, sizeof one);
    };
    const auto dumper = writer::Dumper::create(guest, options, on_done, result.status);
    if (!dumper) {
      close(done);
      return result;
    }
    guest.on_trouble([&dumper] { dumper->cancel(); }, how.damage_ends_it);
    const uint64_t total = memory_of(guest);
    Progress progress(program, "write " + options.file_name, total, progress_wanted(program));
    uint64_t shown = 0;
    dumper->request(guest.reason());
    while (true) {
      pollfd fds[] = {{done, POLLIN, 0}, {ended_by == 0 ? signals.fd() : -1, POLLIN, 0}};
      if (poll(fds, 2, kMilliseconds) < 0 && errno != EINTR) break;  // wait() below does without
      if (fds[0].revents != 0) break;
      if (fds[1].revents != 0 && (ended_by = signals.take()) != 0) dumper->cancel();
      const uint64_t memory_done = dumper->progress().memory_done;
      if (memory_done > shown) progress.add(memory_done - shown);
      shown = std::max(shown, memory_done);
    }
    result = dumper->wait();
    guest.on_trouble(nullptr);
    if (how.upload != nullptr) end_upload(*how.upload, signals, result, ended_by);
    if (result.status.ok() && shown < total) progress.add(total - shown);
    close(done);
  }
  if (ended_by != 0 && !result.status.ok()) {
    signal(ended_by, SIG_DFL);
    raise(ended_by);
  }
  return result;
}

}  // namespace gcore::tools::convert
