#include "tools/gcore-serve/serving.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

namespace gcore::tools {
namespace {

constexpr size_t kMaxWarnings = 5;

}  // namespace

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

}  // namespace gcore::tools
