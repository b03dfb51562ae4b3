#include "writer/control.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace gcore::writer {

Control::Control(const Options& options, Cancellation cancellation)
    : rate_(options.bytes_per_second),
      pause_limit_(options.pause_deadline),
      cancellation_(std::move(cancellation)),
      cancel_fd_(cancellation_.fd >= 0 ? fcntl(cancellation_.fd, F_DUPFD_CLOEXEC, 0) : -1) {}

void Control::pause_started() {
  constexpr std::chrono::hours kForEver(24 * 365);  // and the clock cannot overflow
  if (pause_limit_.count() > 0 && pause_limit_ < kForEver)
    deadline_ = (Clock::now() + pause_limit_).time_since_epoch().count();
}

Status Control::check() const {
  if (cancelled()) return Error{ECANCELED, "the dump was cancelled"};
  const Clock::rep deadline = deadline_;
  if (deadline != kNever && Clock::now().time_since_epoch().count() >= deadline)
    return Error{ETIMEDOUT, "the guest had been paused for " + std::to_string(pause_limit_.count()) +
                                " ms, the pause deadline; raise it, or dump to something faster"};
  if (is_abandoned()) return Error{ECANCELED, "the dump was given up"};
  return {};
}

Status Control::wait_for(int fd, short events, std::chrono::milliseconds limit) const {
  using std::chrono::milliseconds;
  const auto start = Clock::now();
  while (true) {
    auto left = limit;
    if (limit != milliseconds::max())
      left = std::max(milliseconds(0), limit - std::chrono::duration_cast<milliseconds>(Clock::now() - start));
    if (const Clock::rep deadline = deadline_; deadline != kNever) {
      const auto ahead = Clock::time_point(Clock::duration(deadline)) - Clock::now();
      left = std::min(left, std::max(milliseconds(0), std::chrono::ceil<milliseconds>(ahead)));
    }
    const int timeout = static_cast<int>(std::min<int64_t>(left.count(), left == milliseconds::max() ? -1 : 1 << 30));

    pollfd fds[2] = {{fd, events, 0}, {cancel_fd_.get(), POLLIN, 0}};  // poll() passes over negative descriptors
    const int ready = poll(fds, 2, timeout);
    if (ready < 0 && errno != EINTR) return system_error(errno, "poll");
    // A late poke of a cancellation that meant the dump before must not keep poll() from sleeping. `up_to` is raised
    // before the poke, so check() after the read misses nothing.
    uint64_t ignored;
    if (ready > 0 && fds[1].revents != 0 && read(cancel_fd_.get(), &ignored, sizeof ignored) < 0 && errno != EAGAIN)
      return system_error(errno, "read of an eventfd");
    if (Status status = check(); !status) return status;
    if (ready > 0 && fds[0].revents != 0) return {};
    if (limit != milliseconds::max() && Clock::now() - start >= limit) return {};
  }
}

Status Control::spend(uint64_t bytes) {
  if (Status status = check(); !status || rate_ == 0) return status;
  if (spent_ == 0) started_ = Clock::now();
  spent_ += bytes;
  const std::chrono::duration<double> due(static_cast<double>(spent_) / static_cast<double>(rate_));
  const std::chrono::duration<double> ahead = due - (Clock::now() - started_);
  if (ahead.count() < 0.001) return {};
  const double most_ms = 3600e3;  // an hour a chunk: then the rate is missed rather than the clock overrun
  return wait_for(-1, 0, std::chrono::milliseconds(static_cast<int64_t>(std::min(ahead.count() * 1e3, most_ms))));
}

}  // namespace gcore::writer
