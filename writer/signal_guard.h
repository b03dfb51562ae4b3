// Keeps SIGPIPE and SIGXFSZ, which writing may raise, away from the VMM: both mean an error code here.
#pragma once

#include <signal.h>
#include <time.h>

namespace gcore::writer {

/// While it exists both signals are blocked on this thread; one that was raised meanwhile is taken back.
class SignalGuard {
 public:
  SignalGuard() {
    sigemptyset(&ours_);
    sigaddset(&ours_, SIGPIPE);
    sigaddset(&ours_, SIGXFSZ);
    sigset_t pending;
    sigpending(&pending);
    for (const int signal : {SIGPIPE, SIGXFSZ})
      if (sigismember(&pending, signal) == 1) sigdelset(&ours_, signal);  // blocked by, and meant for, someone else
    pthread_sigmask(SIG_BLOCK, &ours_, &before_);
  }
  ~SignalGuard() {
    const timespec now = {};
    while (sigtimedwait(&ours_, nullptr, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  sigset_t ours_, before_;
};

}  // namespace gcore::writer
