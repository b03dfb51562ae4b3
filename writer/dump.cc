#include "writer/dump.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

constexpr int64_t kSecond = 1000000000;
int64_t to_ns(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }
timespec from_ns(int64_t ns) { return {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)}; }

void poke(int eventfd) {
  const uint64_t one = 1;
  // Fails only when the counter is at its end, and then the reader is awake anyway.
  [[maybe_unused]] const ssize_t ignored = write(eventfd, &one, sizeof one);
}

}  // namespace

Result dump(Guest& guest, const Options& options, const Reason& reason) {
  const SignalGuard guard;
  Status status;
  const auto thread = IoThread::start(status);
  IoThread here;  // when threads are short
  if (!thread && status.error().code == EBUSY) {
    Result result;
    result.status = std::move(status);
    return result;
  }
  return take_dump(guest, options, {reason, now(), 1}, std::make_shared<Control>(options, Control::Cancellation()),
                   thread ? *thread : here);
}

// Requests are numbered; a dump answers all up to a number. That number is the serial which a cancellation refers to.
struct Dumper::Impl {
  Impl(Guest& the_guest, Options the_options, OnDone the_on_done)
      : guest(the_guest), options(std::move(the_options)), on_done(std::move(the_on_done)) {}

  void run();
  void answer();
  Request take_requests();

  Guest& guest;
  const Options options;
  const OnDone on_done;
  UniqueFd wake, cancel;  // eventfds
  pthread_t thread{};
  bool has_thread = false;

  // Written by request(), also in a signal handler: atomics only.
  std::atomic<uint64_t> requested{0};
  std::atomic<int64_t> first_time{0};  // of the requests that wait; ns, 0 = none
  const std::shared_ptr<std::atomic<uint64_t>> cancelled_up_to = std::make_shared<std::atomic<uint64_t>>(0);
  std::atomic<bool> stopping{false};
  static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

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
  if (status = check_options(options); !status) return nullptr;
  std::unique_ptr<Dumper> dumper(new Dumper);
  dumper->impl_ = std::make_unique<Impl>(guest, std::move(options), std::move(on_done));
  Impl& impl = *dumper->impl_;
  impl.wake = UniqueFd(eventfd(0, EFD_CLOEXEC));
  impl.cancel = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl.wake || !impl.cancel) {
    status = system_error(errno, "creation of an eventfd for dumps");
    return nullptr;
  }
  if (impl.io = IoThread::start(status); !impl.io) return nullptr;
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
  int64_t none = 0;
  impl_->first_time.compare_exchange_strong(none, to_ns(now()));
  ++impl_->requested;
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
    if (requested != served) answer();
    if (last_round) return;
    if (requested != served) continue;
    uint64_t pokes;
    [[maybe_unused]] const ssize_t ignored = read(wake.get(), &pokes, sizeof pokes);  // EINTR: looks again
  }
}

// `served` is written by this thread only, so run() may read it without the lock.
Request Dumper::Impl::take_requests() {
  const std::lock_guard lock(mutex);
  Request request;
  request.count = requested - served;
  const int64_t time = first_time.exchange(0);
  request.time = time != 0 ? from_ns(time) : now();
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
  if (!io) io = IoThread::start(result.status);
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
