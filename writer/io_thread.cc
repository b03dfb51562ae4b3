#include "writer/io_thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>

namespace gcore::writer {
namespace {

constexpr size_t kStackSize = 512 * 1024;  // Guest::read_memory() runs on it
constexpr int kSteps = 10;                 // of nice: a tenth of the processor time that others of one CPU get
constexpr int kMostLeftBehind = 4;
std::atomic<int> g_left_behind{0};

}  // namespace

struct IoThread::Shared {
  void run();

  pthread_t thread{};
  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> task;
  bool has_task = false, stopping = false, is_left_behind = false, gives_way = false;
};

void IoThread::Shared::run() {
  if (gives_way) {
    const auto self = static_cast<id_t>(syscall(SYS_gettid));
    setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + kSteps);
  }
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return has_task || stopping; });
    if (!has_task) break;
    lock.unlock();
    task();
    task = nullptr;  // with what it owns, before anybody goes on
    lock.lock();
    has_task = false;
    changed.notify_all();
  }
  if (is_left_behind) --g_left_behind;
}

std::unique_ptr<IoThread> IoThread::start(bool gives_way, Status& status) {
  if (g_left_behind >= kMostLeftBehind) {
    status = Error{EBUSY, std::to_string(kMostLeftBehind) +
                              " dumps before are stuck in a file system that does not answer; no more are begun"};
    return nullptr;
  }
  auto io = std::make_unique<IoThread>();
  auto shared = std::make_shared<Shared>();
  shared->gives_way = gives_way;
  const auto body = [](void* argument) -> void* {
    const std::unique_ptr<std::shared_ptr<Shared>> own(static_cast<std::shared_ptr<Shared>*>(argument));
    (*own)->run();
    return nullptr;
  };
  auto own = std::make_unique<std::shared_ptr<Shared>>(shared);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackSize);
  sigset_t all, before;  // the VMM's handlers run elsewhere, and SIGPIPE and SIGXFSZ nowhere
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int code = pthread_create(&shared->thread, &attributes, body, own.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (code != 0) {
    status = system_error(code, "creation of the thread that writes dumps");
    return nullptr;
  }
  own.release();  // NOLINT: the thread has it
  pthread_setname_np(shared->thread, "gcore-io");
  io->shared_ = std::move(shared);
  return io;
}

IoThread::~IoThread() {
  if (!shared_) return;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_all();
  if (is_left_behind_) {
    pthread_detach(shared_->thread);
  } else {
    pthread_join(shared_->thread, nullptr);
  }
}

void IoThread::begin(std::function<void()> task) {
  if (!shared_) {
    task();
    return;
  }
  const std::lock_guard lock(shared_->mutex);
  shared_->task = std::move(task);
  shared_->has_task = true;
  shared_->changed.notify_all();
}

bool IoThread::finish(Control& control, std::chrono::milliseconds grace) {
  if (!shared_) return true;
  constexpr std::chrono::milliseconds kStep(5);
  constexpr auto kNever = Control::Clock::time_point::max();
  auto given_up = kNever;  // at that moment
  Shared& shared = *shared_;
  std::unique_lock lock(shared.mutex);
  while (!shared.changed.wait_for(lock, kStep, [&] { return !shared.has_task; })) {
    if (given_up == kNever && !control.check()) given_up = Control::Clock::now() + grace;
    if (Control::Clock::now() < given_up || !control.abandon()) continue;
    // Not while it is in a function of the VMM's, which may use what the VMM destroys afterwards.
    if (shared.changed.wait_for(lock, kStep, [&] { return !shared.has_task; })) return true;
    if (control.is_in_guest()) continue;
    is_left_behind_ = shared.is_left_behind = true;
    ++g_left_behind;
    return false;
  }
  return true;
}

}  // namespace gcore::writer
