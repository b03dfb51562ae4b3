#include "tools/common/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace gcore::tools {
namespace {

using std::chrono_literals::operator""ms;

constexpr auto kFirst = 500ms, kOnTerminal = 100ms, kInLog = 1000ms;

}  // namespace

bool progress_wanted(const Program& program, bool results_meanwhile) {
  if (program.has("progress")) return true;
  return isatty(STDERR_FILENO) != 0 && !(results_meanwhile && isatty(STDOUT_FILENO) != 0);
}

Progress::Progress(const Program& program, std::string what, uint64_t total, bool wanted)
    : heading_(program.name() + ": " + std::move(what)),
      total_(total),
      wanted_(wanted),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      next_draw_((start_ + (terminal_ ? kFirst : kInLog)).time_since_epoch().count()) {}

Progress::~Progress() {
  if (!wanted_) return;
  if (!terminal_) {
    draw(done_);
  } else if (drawn_) {
    std::fputs("\r\x1b[K", stderr);
  }
}

void Progress::add(uint64_t bytes) {
  const uint64_t done = done_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (!wanted_) return;
  const auto now = Clock::now().time_since_epoch();
  auto due = next_draw_.load(std::memory_order_relaxed);
  if (now.count() < due) return;
  const auto next = (now + Clock::duration(terminal_ ? kOnTerminal : kInLog)).count();
  if (next_draw_.compare_exchange_strong(due, next)) draw(done);
}

void Progress::draw(uint64_t done) {
  const std::lock_guard lock(drawing_);
  const std::chrono::duration<double> spent = Clock::now() - start_;
  std::string line = heading_ + ": ";
  if (total_ != 0) {
    const double share = 100.0 * static_cast<double>(std::min(done, total_)) / static_cast<double>(total_);
    line += std::to_string(static_cast<int>(share)) + " % of " + human_size(total_);
  } else {
    line += human_size(done);
  }
  if (spent.count() > 0)
    line += ", " + human_size(static_cast<uint64_t>(static_cast<double>(done) / spent.count())) + "/s";
  std::fprintf(stderr, terminal_ ? "\r%s\x1b[K" : "%s\n", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace gcore::tools
