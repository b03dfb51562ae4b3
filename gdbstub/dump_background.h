// What is looked for in a dump while a session goes on without it. Internal to the stub; it knows the reader.
#pragma once

#include <atomic>
#include <condition_variable>
#include <expected>
#include <mutex>
#include <string>
#include <thread>

#include "gdbstub/dump_threads.h"
#include "reader/guest/guest.h"

namespace gcore::gdbstub {

/// Looks for what runs in the guest while the session goes on without it: in memory that is packed that may take a
/// minute. What is found of the guest is kept in it; its threads are looked for when they are wanted.
class Background {
 public:
  Background(const reader::Guest& guest, bool thorough)
      : thread_([this, &guest, thorough](const std::stop_token& stop) { run(guest, thorough, stop); }) {}

  bool knows_guest() const { return knows_guest_; }
  bool knows_tables() const { return knows_tables_; }
  bool knows_threads() const { return knows_threads_; }
  bool idle() const { return idle_; }
  void want_threads() {
    {
      const std::lock_guard lock(mutex_);
      wants_threads_ = true;
      if (!knows_threads_) idle_ = false;
    }
    wake_.notify_one();
  }
  /// Once knows_threads().
  const std::expected<DumpThreads, std::string>& threads() const { return threads_; }

 private:
  void run(const reader::Guest& guest, bool thorough, const std::stop_token& stop) {
    guest.system(reader::GuestSearch::quick);
    knows_guest_ = true;
    if (thorough) guest.system(reader::GuestSearch::thorough);
    knows_tables_ = true;
    std::unique_lock lock(mutex_);
    idle_ = !wants_threads_;
    if (!wake_.wait(lock, stop, [this] { return wants_threads_; })) return;
    lock.unlock();
    threads_ = find_threads(guest);
    knows_threads_ = true;
    idle_ = true;
  }

  std::atomic<bool> knows_guest_ = false, knows_tables_ = false, knows_threads_ = false, idle_ = false;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool wants_threads_ = false;
  std::expected<DumpThreads, std::string> threads_ = std::unexpected("the guest's threads were not looked for");
  std::jthread thread_;
};

}  // namespace gcore::gdbstub
