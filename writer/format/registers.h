// The registers of a vCPU by name: what a VMM hands to the writer and what the reader hands out.
//
// Every register is one value of at most 64 bits; a wider one stands in two halves, NAME.lo and NAME.hi. Names are
// lower case, as the architecture manuals and GDB have them. Which of them is in the CPU register set of the qnx
// dialect
// ("core", in that order and at those offsets) and which is an extra register is part of the format: see qnx_note.h.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "writer/format/elf.h"

namespace gcore::format {

struct RegisterInfo {
  std::string_view name;
  uint8_t bytes;        // the width that means something: 2, 4 or 8
  int16_t core_offset;  // offset in the CPU register set of the qnx dialect, or -1 for an extra register
};

/// All registers that this project knows of a machine: the core ones first, in the order of the CPU register set, then
/// the extra ones in the order in which they are written. The index of a register in this list is its slot in
/// RegisterFile.
std::span<const RegisterInfo> registers(Machine machine);

/// Bytes of the CPU register set: x86_64 160, aarch64 272, x86 52.
size_t cpu_register_set_size(Machine machine);

/// The slot of a register, or nothing when this machine has none of that name.
std::optional<size_t> find_register(Machine machine, std::string_view name);

/// The most registers that any machine has; a static bound, so that a RegisterFile needs no allocation.
inline constexpr size_t kMaxRegisters = 192;

/// The registers of one vCPU. A register that was never set is absent, which is not the same as 0. No allocation.
class RegisterFile {
 public:
  explicit RegisterFile(Machine machine) : machine_(machine) {}

  Machine machine() const { return machine_; }

  /// Sets a register. False when the machine has none of that name; nothing is changed then. A name that is misspelt is
  /// a register that the dump lacks, so look at it, or use put().
  [[nodiscard]] bool set(std::string_view name, uint64_t value);
  /// Sets a register that the machine has for certain: any other name is a programmer's error, which an assert tells.
  void put(std::string_view name, uint64_t value);
  std::optional<uint64_t> get(std::string_view name) const;

  void set_slot(size_t slot, uint64_t value) {
    values_[slot] = value;
    present_[slot] = true;
  }
  std::optional<uint64_t> get_slot(size_t slot) const {
    return present_[slot] ? std::optional(values_[slot]) : std::nullopt;
  }
  void clear() { present_.reset(); }

 private:
  Machine machine_;
  std::array<uint64_t, kMaxRegisters> values_{};
  std::bitset<kMaxRegisters> present_;
};

}  // namespace gcore::format
