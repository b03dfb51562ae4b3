// One virtual CPU and the thread that runs it, and what makes them: the engine. unicorn_vcpu.h and kvm_engine.h have
// one each.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tools/gcore-vmm/memory.h"
#include "writer/format/registers.h"

namespace gcore::tools::vmm {

struct Config;

/// The registers with which a vCPU starts that runs a guest program: see boot.h.
struct BootState {
  uint64_t entry = 0, cpu = 0, cpu_count = 0, ram_address = 0, ram_size = 0, cmdline_address = 0;
};

/// What a vCPU finds around it. Called on vCPU threads, while they run.
class Board {
 public:
  virtual ~Board() = default;
  /// True: the vCPU sleeps until the next tick.
  virtual bool write_port(size_t cpu, uint32_t port, uint32_t value) = 0;
  virtual uint32_t read_port(uint32_t port) = 0;
  virtual void write_mmio(size_t cpu, uint64_t address, uint64_t value) = 0;
  virtual uint64_t read_mmio(uint64_t address) = 0;
  /// The guest-physical addresses of the MMIO pages; 4 KiB each.
  virtual std::vector<uint64_t> mmio_pages() const = 0;
  /// The guest has ended the VM.
  virtual void power_off() = 0;
  /// This vCPU will not run again: `why` is one phrase.
  virtual void cpu_ended(size_t cpu, const std::string& why) = 0;
};

/// The state that the threads of all vCPUs share with those who control them.
struct RunControl {
  std::mutex mutex;
  std::condition_variable wake_cpus;  // vCPUs wait here: parked or sleeping
  std::condition_variable parked;     // those who pause wait here
  int pauses = 0;                     // how many have paused the VM and not yet resumed it
  bool stopping = false;
};

class Vcpu {
 public:
  /// The threads are those of subclasses, whose destructors call join().
  virtual ~Vcpu() = default;
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  void start();

  /// With RunControl::mutex held, and a pause or the end asked for: the vCPU will park as soon as it can.
  virtual void kick() = 0;
  /// With RunControl::mutex held. A parked vCPU does not run until the VM is resumed.
  bool parked() const { return parked_; }
  /// With RunControl::mutex held: one word.
  const char* state() const { return ended_ ? "stopped" : control_.pauses > 0 ? "paused" : "running"; }

  /// Only while parked. False: it cannot be read. `refused` gets a phrase about registers that should be there and are
  /// not.
  virtual bool read_registers(format::RegisterFile& registers, std::string& refused) const = 0;

 protected:
  enum class Outcome : uint8_t { again, sleep, ended };

  Vcpu(Board& board, RunControl& control, size_t index) : board_(board), control_(control), index_(index) {}
  /// RunControl::stopping must be set when start() was called.
  void join();

  /// On the vCPU's thread: runs the guest until something has to be done. `why` is for Outcome::ended.
  virtual Outcome run_guest(std::string& why) = 0;
  /// On the vCPU's thread, before it parks and after it goes on.
  virtual void before_park() {}
  virtual void after_park() {}
  /// On the vCPU's thread, with RunControl::mutex held: what kick() did is undone.
  virtual void unkick() = 0;
  void sleep_until_tick();

  Board& board_;
  RunControl& control_;
  const size_t index_;
  std::thread thread_;

 private:
  void run();
  bool wait_until_allowed();

  bool parked_ = false, ended_ = false;  // guarded by control_.mutex
};

/// What runs guests: the emulator, or KVM.
class Engine {
 public:
  virtual ~Engine() = default;

  /// The program that was loaded starts on all vCPUs at once, each with its BootState.
  virtual std::expected<std::unique_ptr<Vcpu>, std::string> create_vcpu(const BootState& state) = 0;
  /// Instead of a program, `kernel` with `initrd` and `cmdline`: to be called before the first create_vcpu(), whose
  /// entry then does not matter.
  virtual std::expected<void, std::string> load_kernel(const Config& config) = 0;
  /// Of a device of the board. No effect where there is no interrupt controller.
  virtual void set_interrupt(unsigned line, bool level) = 0;
  /// All vCPUs are parked; and they are about to go on. In pairs.
  virtual void paused() {}
  virtual void resuming() {}
};

/// What an engine is made of; all of it outlives the engine.
struct Machine {
  const Config& config;
  GuestMemory& memory;
  Board& board;
  RunControl& control;
};

/// Each fails, in one line, where this program or this machine is without it.
std::expected<std::unique_ptr<Engine>, std::string> unicorn_engine(const Machine& machine);
std::expected<std::unique_ptr<Engine>, std::string> kvm_engine(const Machine& machine);

/// "Unicorn 2.0, KVM": those that this build has.
std::string engines();

}  // namespace gcore::tools::vmm
