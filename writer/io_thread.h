// A thread for what may block for ever. A disk or a network file system that hangs keeps a thread that is in write() or
// fsync() from returning, whatever is sent to it; so that thread must not be the one that resumes the guest.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "writer/control.h"

namespace gcore::writer {

class IoThread {
 public:
  /// nullptr when the system gives no thread, or has too many that were left behind. `gives_way`: to whoever else wants
  /// the CPU, such as the vCPUs of a guest that goes on; what the thread starts does so, too.
  static std::unique_ptr<IoThread> start(bool gives_way, Status& status);
  /// Runs tasks on the thread that asks for it.
  IoThread() = default;
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  /// Runs `task` on the thread and waits for its end. False when it has not ended `grace` after the dump was to stop
  /// (Control::check()): Control::abandon() has then succeeded, and the thread is left behind with the task. It ends
  /// when the task does, so the task must own what it uses. Nothing more can be run.
  bool run(std::function<void()> task, Control& control, std::chrono::milliseconds grace) {
    begin(std::move(task));
    return finish(control, grace);
  }
  /// The same in two steps, of which the first does not wait where there is a thread.
  void begin(std::function<void()> task);
  bool finish(Control& control, std::chrono::milliseconds grace);
  bool has_thread() const { return shared_ != nullptr; }

  bool is_left_behind() const { return is_left_behind_; }

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;  // nullptr: no thread
  bool is_left_behind_ = false;
};

}  // namespace gcore::writer
