#include "tools/gcore-serve/serving.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tools/common/open_dump.h"

namespace gcore::tools {
namespace {

constexpr size_t kMaxWarnings = 5;

/// How long a client may be kept waiting for something that is only nice to know.
constexpr std::chrono::milliseconds kHintTime{300};

}  // namespace

void KeepAlive::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, std::chrono::seconds(1), [&] { return stop.stop_requested(); })) {
    pollfd client = {STDIN_FILENO, POLLIN, 0};
    if (poll(&client, 1, 0) == 1 && (client.revents & POLLIN) != 0 && write(STDOUT_FILENO, "+", 1) != 1) return;
  }
}

std::string hint_at_start(const gdbstub::Target& target, const gdbstub::ExecFile* symbols, bool may_wait) {
  const auto until = std::chrono::steady_clock::now() + (may_wait ? kHintTime : std::chrono::milliseconds(0));
  while (!target.knows_guest()) {
    if (std::chrono::steady_clock::now() >= until) return "";
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return gdbstub::missing_file_hint(target, symbols);
}

reader::RemoteOptions how_for_client() {
  reader::RemoteOptions how;
  how.attempts = 3;
  how.stall = std::chrono::seconds(10);
  return how;
}

reader::Expected<std::unique_ptr<reader::Dump>> open_for_client(const Program& program, const std::string& path) {
  const KeepAlive keep_alive;
  return open_dump(program, path, -1, how_for_client());
}

int stop_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return -1;
  return signalfd(-1, &set, SFD_CLOEXEC);
}

void say_warnings(const Program& program, const reader::Dump& dump) {
  for (const std::string& notice : dump.notices()) program.note(notice);
  const auto warnings = dump.warnings();
  for (const std::string& warning : warnings.first(std::min(warnings.size(), kMaxWarnings)))
    program.note("warning: " + warning);
  if (warnings.size() > kMaxWarnings)
    program.note(fmt::format("warning: and {} more: see gcore-inspect --verify", warnings.size() - kMaxWarnings));
}

void leave_standard_error() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, STDERR_FILENO);
  close(null);
}

int leave(const gdbstub::Target& target, int status) {
  if (target.settled()) return status;
  std::fflush(nullptr);
  std::_Exit(status);
}

}  // namespace gcore::tools
