// The virtual machine: memory, vCPUs, devices, and how to pause, resume and end all of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gcore-vmm/config.h"
#include "tools/gcore-vmm/console.h"
#include "tools/gcore-vmm/memory.h"
#include "tools/gcore-vmm/serial.h"
#include "tools/gcore-vmm/sp805.h"
#include "tools/gcore-vmm/vcpu.h"
#include "tools/gcore-vmm/watchdog.h"

namespace gcore::tools::vmm {

/// What the VM tells whoever runs it. Called on its threads, which they must not block for long (watchdog_expired may).
struct VmEvents {
  std::function<void(const std::string& text)> note;  // for the user, one line
  std::function<void()> power_off;                    // the guest has ended the VM
  std::function<void()> watchdog_expired;
  /// (pvpanic) The guest has panicked. It is paused already: who gets this calls resume() when it may go on.
  std::function<void(size_t cpu)> panicked = nullptr;
  std::function<void()> watchdog_counted_down = nullptr;  // (SP805) the first of its two countdowns has passed
};

class Vm : private Board {
 public:
  static constexpr std::chrono::seconds kPatience{10};

  /// Loads the guest program. Nothing runs yet. The guest's console goes to the file descriptor `console`.
  static std::expected<std::unique_ptr<Vm>, std::string> create(const Config& config, int console, VmEvents events);
  /// Stops the VM.
  ~Vm() override;

  void start();
  /// Returns when no vCPU runs and devices stand still. Calls pair up with resume(); they may nest and come from any
  /// thread. Fails, and nothing is paused, when a vCPU does not leave the guest within kPatience.
  std::expected<void, std::string> pause();
  void resume();
  /// For good; watchdog_expired is not called any more, nor running. vCPUs that are paused stay where they are. Not
  /// from an event. Fails when a vCPU does not leave the guest within kPatience: the VM can then not be destroyed.
  std::expected<void, std::string> stop();
  /// What comes in on the guest's serial port. Waits while the guest does not read it; false when the VM stops. To be
  /// called for a kernel only.
  bool receive(std::string_view text) { return serial_.receive(text); }

  const Config& config() const { return config_; }
  const GuestMemory& memory() const { return *memory_; }
  size_t cpu_count() const { return cpus_.size(); }
  /// Only while paused. False: this vCPU cannot be read. What the kernel refuses goes into a note.
  bool read_registers(size_t cpu, format::RegisterFile& registers) const;
  /// "running, 2 vCPUs (running, running), RAM 256.0 MiB, 12 console lines, up 3 s"
  std::string status();

 private:
  Vm(const Config& config, int console, VmEvents events);
  std::expected<void, std::string> set_up();
  std::expected<uint64_t, std::string> load_guest();
  std::expected<void, std::string> halt_cpus(std::unique_lock<std::mutex>& lock);
  std::vector<GuestMemory::Request> memory_layout() const;
  void panic(size_t cpu);

  bool write_port(size_t cpu, uint32_t port, uint32_t value) override;
  uint32_t read_port(uint32_t port) override;
  void write_mmio(size_t cpu, uint64_t address, uint64_t value) override;
  uint64_t read_mmio(uint64_t address) override;
  std::vector<uint64_t> mmio_pages() const override;
  void power_off() override { events_.power_off(); }
  void cpu_ended(size_t cpu, const std::string& why) override;

  const Config config_;
  VmEvents events_;
  Console console_;
  std::unique_ptr<GuestMemory> memory_;
  std::unique_ptr<Watchdog> watchdog_;  // nullptr without one
  std::optional<Sp805> sp805_;          // the device that sets it, on aarch64
  Serial8250 serial_;
  std::atomic<uint16_t> pm1_enable_ = 0;
  RunControl control_;
  bool engine_paused_ = false;  // guarded by control_.mutex
  std::chrono::steady_clock::time_point started_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Vcpu>> cpus_;  // the last member: their threads use the others
};

}  // namespace gcore::tools::vmm
