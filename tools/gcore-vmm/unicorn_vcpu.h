// A vCPU of the emulator Unicorn.
#pragma once

#include <unicorn/unicorn.h>

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "tools/gcore-vmm/memory.h"
#include "tools/gcore-vmm/unicorn_arch.h"
#include "tools/gcore-vmm/vcpu.h"

namespace gcore::tools::vmm {

class UnicornVcpu : public Vcpu {
 public:
  /// `memory`, `board`, `control` outlive the vCPU.
  static std::expected<std::unique_ptr<Vcpu>, std::string> create(const Arch& arch, GuestMemory& memory, Board& board,
                                                                  RunControl& control, const BootState& state);
  ~UnicornVcpu() override;

  /// It parks within a block of instructions.
  void kick() override { kicked_ = true; }
  bool read_registers(format::RegisterFile& registers, std::string& refused) const override;

 private:
  struct MmioPage {
    UnicornVcpu* cpu;
    uint64_t address;
  };

  UnicornVcpu(const Arch& arch, GuestMemory& memory, Board& board, RunControl& control, const BootState& state);
  std::expected<void, std::string> set_up(const BootState& state);
  void add_hooks();
  Outcome run_guest(std::string& why) override;
  void unkick() override { kicked_ = false; }
  bool map_shadow(uint64_t address);
  bool map_page(const Page& page, uint64_t address);

  static void on_block(uc_engine*, uint64_t address, uint32_t size, void* self);
  static void on_out(uc_engine*, uint32_t port, int size, uint32_t value, void* self);
  static uint32_t on_in(uc_engine*, uint32_t port, int size, void* self);
  static void on_exception(uc_engine*, uint32_t number, void* self);
  static bool on_unmapped(uc_engine*, uc_mem_type, uint64_t address, int size, int64_t value, void* self);

  const Arch& arch_;
  GuestMemory& memory_;
  uc_engine* engine_ = nullptr;
  std::vector<std::unique_ptr<MmioPage>> mmio_;
  void* nowhere_ = nullptr;  // a page of this process that stands for addresses without memory
  std::atomic<bool> kicked_ = false;
  // Set by hooks, on the thread of this vCPU.
  bool stopped_ = false, fetch_again_ = false;
  std::string fault_;
  uint64_t fault_pc_ = 0;
};

}  // namespace gcore::tools::vmm
