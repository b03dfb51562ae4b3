// What differs between the architectures that the emulator runs. Stateless: all state is in the engine of a vCPU.
//
// TO ADD AN ARCHITECTURE: implement this class, its boot state and devices (boot.h), a built-in guest, and
// Config::arch.
#pragma once

#include <unicorn/unicorn.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "tools/gcore-vmm/memory.h"
#include "tools/gcore-vmm/vcpu.h"
#include "writer/format/registers.h"

namespace gcore::tools::vmm {

/// The page that holds a virtual address, as the guest's own tables have it now.
struct Page {
  uint64_t virtual_address = 0, physical_address = 0;  // of its first byte
  uint64_t size = 0;
};

class Arch {
 public:
  virtual ~Arch() = default;

  virtual format::Machine machine() const = 0;
  virtual std::expected<uc_engine*, std::string> open() const = 0;
  virtual bool boot(uc_engine* engine, const BootState& state) const = 0;

  virtual uint64_t pc(uc_engine* engine) const = 0;
  virtual void set_pc(uc_engine* engine, uint64_t pc) const = 0;
  /// The engine has returned without being asked to: did the vCPU execute an instruction that waits for an interrupt?
  enum class Wait : uint8_t { none, until_tick, forever };
  virtual Wait waiting(uc_engine* engine, const GuestMemory& memory) const = 0;

  /// Nothing where the guest's tables map nothing. Rights are not looked at: the engine does that.
  virtual std::optional<Page> translate(uc_engine* engine, uint64_t address, const GuestMemory& memory) const = 0;
  /// One phrase about an exception that the engine reports: "page fault at 0x1000".
  virtual std::string exception(uc_engine* engine, uint32_t number) const = 0;

  /// Every register that the engine knows, and no other.
  virtual void read_registers(uc_engine* engine, format::RegisterFile& registers) const = 0;
};

const Arch& x86_64_arch();
const Arch& aarch64_arch();
inline const Arch& arch_of(format::Machine machine) {
  return machine == format::Machine::aarch64 ? aarch64_arch() : x86_64_arch();
}

/// A register of at most 64 bits, zero-extended.
inline uint64_t read_register(uc_engine* engine, int id) {
  uint64_t value = 0;
  uc_reg_read(engine, id, &value);
  return value;
}
inline bool write_register(uc_engine* engine, int id, uint64_t value) {
  return uc_reg_write(engine, id, &value) == UC_ERR_OK;
}

}  // namespace gcore::tools::vmm
