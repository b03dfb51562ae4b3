// Registers from the text of QEMU's human monitor, for what its dump notes lack.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "writer/format/registers.h"

namespace gcore::tools::qemu {

/// `info registers -a` of a QEMU for x86 (target/i386/cpu-dump.c): "CPU#0" lines, and below each what that vCPU has,
/// 32- or 64-bit. Returns what was found, by vCPU index, under the names of format::registers(Machine::x86_64): the
/// general registers, segments, control and debug registers, EFER, and the x87 and SSE state with `ftag` spelled out to
/// 16 bits.
std::map<size_t, format::RegisterFile> parse_x86_registers(std::string_view text);

/// The x87 registers as QEMU has them: by their physical number.
struct FpuState {
  std::array<std::optional<uint64_t>, 8> mantissa;
  std::array<uint64_t, 8> exponent{};
  std::optional<uint64_t> abridged_tags;  // bit n: physical register n is in use
};
/// Sets st0 to st7 and ftag, by the top of the stack that fstat, which must be set, has.
void set_fpu(const FpuState& fpu, format::RegisterFile& registers);

/// CR8 (the upper half of the task priority) from `info lapic`.
std::optional<uint64_t> parse_cr8(std::string_view text);

}  // namespace gcore::tools::qemu
