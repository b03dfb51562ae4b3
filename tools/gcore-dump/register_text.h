// Registers from the text of QEMU's human monitor, for what its dump notes lack.
#pragma once

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

/// CR8 (the upper half of the task priority) from `info lapic`.
std::optional<uint64_t> parse_cr8(std::string_view text);

}  // namespace gcore::tools::qemu
