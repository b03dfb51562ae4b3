#include "writer/dump.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>

#include "writer/job.h"
#include "writer/signal_guard.h"
#include "writer/unique_fd.h"

namespace gcore::writer {
namespace {

timespec now() {
  timespec time = {};
  clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

// The requests that wait, in one word, so that a signal handler adds one, and the Dumper takes all, in one step: how
// many there are (16 bits) and when the first one came (48 bits: steps of 10 us since 1970, until 2059).
namespace pending {

constexpr uint64_t kMost = UINT16_MAX, kStepsASecond = 100000, kStep = 10000;  // ns
constexpr unsigned kTimeShift = 16;

constexpr uint64_t count(uint64_t word) { return word & kMost; }
uint64_t first(const timespec& time) {
  const uint64_t steps = static_cast<uint64_t>(std::max<time_t>(time.tv_sec, 0)) * kStepsASecond +
                         static_cast<uint64_t>(time.tv_nsec) / kStep;
  return std::min(steps, UINT64_MAX >> kTimeShift) << kTimeShift | 1;
}
timespec time(uint64_t word) {
  const uint64_t steps = word >> kTimeShift;
  return {static_cast<time_t>(steps / kStepsASecond), static_cast<long>(steps % kStepsASecond * kStep)};
}

}  // namespace pending

void poke(int eventfd) {
  const uint64_t one = 1;
  // Fails only when the counter is at its end, and then the reader is awake anyway.
  [[maybe_unused]] const ssize_t ignored = write(eventfd, &one, sizeof one);
}

}  // namespace

Result dump(Guest& guest, const Options& options, const Reason& reason) {
  const SignalGuard guard;
  Status status;
  const auto thread = IoThread::start(options.live, status);
  IoThread here;  // when threads are short
  if (!thread && status.error().code == EBUSY) {
    Result result;
    result.status = std::move(status);
    return result;
  }
  return take_dump(guest, options, {reason, now(), 1}, std::make_shared<Control>(options, Control::Cancellation()),
                   thread ? *thread : here);
}

// Requests are numbered; a dump answers all up to a number. That number is the serial which a cancellation refers to. A
// request is among those that wait before it is counted in `requested`, so that nobody waits for one that none answers.
struct Dumper::Impl {
  Impl(Guest& the_guest, Options the_options, OnDone the_on_done)
      : guest(the_guest), options(std::move(the_options)), on_done(std::move(the_on_done)) {}

  void run();
  void answer();
  Request take_requests();

  Guest& guest;
  const Options options;
  const OnDone on_done;
  std::string notice;
  UniqueFd wake, cancel;  // eventfds
  pthread_t thread{};
  bool has_thread = false;

  // Written by request(), also in a signal handler: atomics only.
  std::atomic<uint64_t> waiting{0};  // see above
  std::atomic<uint64_t> requested{0};
  const std::shared_ptr<std::atomic<uint64_t>> cancelled_up_to = std::make_shared<std::atomic<uint64_t>>(0);
  std::atomic<bool> stopping{false};
  static_assert(std::atomic<uint64_t>::is_always_lock_free);

  mutable std::mutex mutex;
  std::condition_variable answered;
  uint64_t served = 0, dumps = 0;
  bool has_reason = false;
  Reason reason;  // of the first request with one
  Result last;
  std::shared_ptr<const Control> current;

  std::unique_ptr<IoThread> io;
};

Dumper::Dumper() = default;

std::unique_ptr<Dumper> Dumper::create(Guest& guest, Options options, OnDone on_done, Status& status) {
  std::string notice;
  if (status = prepare_target(options, notice); !status) return nullptr;
  std::unique_ptr<Dumper> dumper(new Dumper);
  dumper->impl_ = std::make_unique<Impl>(guest, std::move(options), std::move(on_done));
  Impl& impl = *dumper->impl_;
  impl.notice = std::move(notice);
  impl.wake = UniqueFd(eventfd(0, EFD_CLOEXEC));
  impl.cancel = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl.wake || !impl.cancel) {
    status = system_error(errno, "creation of an eventfd for dumps");
    return nullptr;
  }
  if (impl.io = IoThread::start(impl.options.live, status); !impl.io) return nullptr;
  // The thread is born with every signal blocked: the VMM's handlers run elsewhere, and SIGPIPE and SIGXFSZ nowhere.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto body = [](void* self) -> void* {
    static_cast<Impl*>(self)->run();
    return nullptr;
  };
  const int code = pthread_create(&impl.thread, nullptr, body, &impl);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (code != 0) {
    status = system_error(code, "creation of the thread for dumps");
    return nullptr;
  }
  impl.has_thread = true;
  pthread_setname_np(impl.thread, "gcore-dump");
  return dumper;
}

const std::string& Dumper::notice() const { return impl_->notice; }

Dumper::~Dumper() {
  if (!impl_->has_thread) return;
  impl_->stopping = true;
  *impl_->cancelled_up_to = UINT64_MAX;
  poke(impl_->cancel.get());
  poke(impl_->wake.get());
  pthread_join(impl_->thread, nullptr);
}

void Dumper::request() noexcept {
  const int saved_errno = errno;
  const uint64_t first = pending::first(now());
  uint64_t before = impl_->waiting;
  bool counts = true;  // more than can be counted are answered by the same dump
  do counts = pending::count(before) < pending::kMost;
  while (counts && !impl_->waiting.compare_exchange_weak(before, before == 0 ? first : before + 1));
  if (counts) ++impl_->requested;
  poke(impl_->wake.get());
  errno = saved_errno;
}

void Dumper::request(Reason reason) {
  // Counted under the lock, so that the reason goes to the dump that answers this request.
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->has_reason) impl_->reason = std::move(reason);
  impl_->has_reason = true;
  request();
}

void Dumper::cancel() noexcept {
  const int saved_errno = errno;
  const uint64_t up_to = impl_->requested;
  uint64_t before = *impl_->cancelled_up_to;
  while (before < up_to && !impl_->cancelled_up_to->compare_exchange_weak(before, up_to)) {
  }
  poke(impl_->cancel.get());
  errno = saved_errno;
}

Result Dumper::wait() {
  std::unique_lock lock(impl_->mutex);
  const uint64_t asked = impl_->requested;
  impl_->answered.wait(lock, [&] { return impl_->served >= asked; });
  return impl_->last;
}

Progress Dumper::progress() const {
  const std::lock_guard lock(impl_->mutex);
  Progress progress;
  progress.dumps = impl_->dumps;
  if (const Control* control = impl_->current.get()) {
    progress.phase = control->phase;
    progress.memory_done = control->memory_done;
    progress.memory_total = control->memory_total;
  }
  return progress;
}

void Dumper::Impl::run() {
  while (true) {
    const bool last_round = stopping;  // on_done may go on requesting for ever
    if (waiting != 0) answer();
    if (last_round) return;
    if (waiting != 0) continue;
    uint64_t pokes;
    [[maybe_unused]] const ssize_t ignored = read(wake.get(), &pokes, sizeof pokes);  // EINTR: looks again
  }
}

Request Dumper::Impl::take_requests() {
  const std::lock_guard lock(mutex);
  Request request;
  const uint64_t word = waiting.exchange(0);
  request.count = pending::count(word);
  request.time = pending::time(word);
  if (has_reason) {
    request.reason = std::move(reason);
  } else {
    request.reason.kind = Reason::Kind::signal;
    request.reason.detail = "SIGUSR2";
  }
  has_reason = false;
  reason = {};
  return request;
}

void Dumper::Impl::answer() {
  const Request request = take_requests();
  const uint64_t up_to = served + request.count;
  const auto control = std::make_shared<Control>(options, Control::Cancellation{cancel.get(), cancelled_up_to, up_to});
  {
    const std::lock_guard lock(mutex);
    current = control;
  }
  Result result;
  result.requests = request.count;
  if (!io) io = IoThread::start(options.live, result.status);
  if (io) result = take_dump(guest, options, request, control, *io);
  if (io && io->is_left_behind()) io.reset();
  {
    const std::lock_guard lock(mutex);
    current.reset();
    ++dumps;
    last = result;
  }
  if (on_done) on_done(result);
  {
    const std::lock_guard lock(mutex);
    served = up_to;
  }
  answered.notify_all();
}

}  // namespace gcore::writer
