#include "tools/gcore-vmm/vcpu.h"

#include <pthread.h>

#include <chrono>
#include <string>

#include "tools/gcore-vmm/boot.h"

namespace gcore::tools::vmm {

void Vcpu::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), ("vCPU " + std::to_string(index_)).c_str());  // for top, and for taskset
}

void Vcpu::join() {
  if (thread_.joinable()) thread_.join();
}

void Vcpu::run() {
  while (wait_until_allowed()) {
    std::string why;
    const Outcome outcome = run_guest(why);
    if (outcome == Outcome::sleep) {
      sleep_until_tick();
    } else if (outcome == Outcome::ended) {
      board_.cpu_ended(index_, why);
      const std::lock_guard lock(control_.mutex);
      ended_ = true;
    }
  }
}

void Vcpu::sleep_until_tick() {
  std::unique_lock lock(control_.mutex);
  control_.wake_cpus.wait_for(lock, std::chrono::milliseconds(GCORE_TICK_MILLISECONDS),
                              [this] { return control_.pauses > 0 || control_.stopping; });
}

// Parks while the VM is paused, and for good once this vCPU has ended. False: the VM stops.
bool Vcpu::wait_until_allowed() {
  std::unique_lock lock(control_.mutex);
  if (control_.pauses > 0 && !ended_ && !control_.stopping) {
    lock.unlock();
    before_park();
    lock.lock();
  }
  bool was_parked = false;
  while (!control_.stopping && (control_.pauses > 0 || ended_)) {
    parked_ = was_parked = true;
    control_.parked.notify_all();
    control_.wake_cpus.wait(lock);
  }
  parked_ = control_.stopping;
  control_.parked.notify_all();
  unkick();
  const bool goes_on = !control_.stopping;
  lock.unlock();
  if (was_parked && goes_on) after_park();
  return goes_on;
}

}  // namespace gcore::tools::vmm
