// One virtual CPU: an engine of the emulator, and the thread that runs it.
#pragma once

#include <unicorn/unicorn.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tools/gcore-vmm/arch.h"
#include "tools/gcore-vmm/memory.h"

namespace gcore::tools::vmm {

/// What a vCPU finds around it. Called on vCPU threads, while the engine runs.
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
  /// `memory`, `board`, `control` outlive the vCPU.
  static std::expected<std::unique_ptr<Vcpu>, std::string> create(const Arch& arch, GuestMemory& memory, Board& board,
                                                                  RunControl& control, const BootState& state);
  /// RunControl::stopping must be set when start() was called.
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  void start();

  /// With RunControl::mutex held, and a pause or the end asked for: the vCPU will park within a block of instructions.
  void kick() { kicked_ = true; }
  /// With RunControl::mutex held. A parked vCPU does not run until the VM is resumed.
  bool parked() const { return parked_; }
  /// With RunControl::mutex held: one word.
  const char* state() const { return ended_ ? "stopped" : control_.pauses > 0 ? "paused" : "running"; }

  /// Only while parked.
  void read_registers(format::RegisterFile& registers) const { arch_.read_registers(engine_, registers); }

 private:
  enum class Outcome : uint8_t { again, sleep, ended };
  struct MmioPage {
    Vcpu* cpu;
    uint64_t address;
  };

  Vcpu(const Arch& arch, GuestMemory& memory, Board& board, RunControl& control, const BootState& state);
  std::expected<void, std::string> set_up(const BootState& state);
  void add_hooks();
  void run();
  bool wait_until_allowed();
  Outcome emulate();
  void sleep_until_tick();
  bool map_shadow(uint64_t address);
  bool map_page(const Page& page, uint64_t address);

  static void on_block(uc_engine*, uint64_t address, uint32_t size, void* self);
  static void on_out(uc_engine*, uint32_t port, int size, uint32_t value, void* self);
  static uint32_t on_in(uc_engine*, uint32_t port, int size, void* self);
  static void on_exception(uc_engine*, uint32_t number, void* self);
  static bool on_unmapped(uc_engine*, uc_mem_type, uint64_t address, int size, int64_t value, void* self);

  const Arch& arch_;
  GuestMemory& memory_;
  Board& board_;
  RunControl& control_;
  const size_t index_;
  uc_engine* engine_ = nullptr;
  std::vector<std::unique_ptr<MmioPage>> mmio_;
  void* nowhere_ = nullptr;  // a page of this process that stands for addresses without memory
  std::thread thread_;

  bool parked_ = false, ended_ = false;  // guarded by control_.mutex
  std::atomic<bool> kicked_ = false;
  // Set by hooks, on the thread of this vCPU.
  bool stopped_ = false, fetch_again_ = false;
  std::string fault_;
  uint64_t fault_pc_ = 0;
};

}  // namespace gcore::tools::vmm
