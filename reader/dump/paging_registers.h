// Which registers of a vCPU say how it translates addresses.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "reader/dump/dump.h"
#include "reader/translate/paging.h"

namespace gcore::reader {

/// A register under either name that the dump may have for it.
std::optional<uint64_t> register_of(const Cpu& cpu, std::string_view name);

/// Those that the vCPU has go over what is known without them (of TCR_EL1); the others are absent.
void take_registers(const Cpu& cpu, translate::X86Registers& registers);
void take_registers(const Cpu& cpu, translate::Aarch64Registers& registers);

}  // namespace gcore::reader
