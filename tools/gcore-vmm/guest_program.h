// Loading a guest program (an ELF executable) into guest memory. boot.h has the contract.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "tools/gcore-vmm/config.h"
#include "tools/gcore-vmm/memory.h"
#include "writer/format/elf.h"

namespace gcore::tools::vmm {

/// The built-in guest of an architecture: the bytes of an ELF file inside this program. Empty when it has none.
std::span<const std::byte> builtin_guest(format::Machine machine);

/// Writes what the boot state of boot.h needs in RAM. Before the first vCPU starts.
std::expected<void, std::string> prepare_boot_area(format::Machine machine, const std::string& cmdline,
                                                   EngineKind engine, GuestMemory& memory);

/// Copies the PT_LOADs of an ELF executable to their guest-physical addresses and returns its entry point. Any bytes
/// are tolerated; the error says what is wrong with them.
std::expected<uint64_t, std::string> load_program(std::span<const std::byte> elf, format::Machine machine,
                                                  GuestMemory& memory);

/// The same for a file.
std::expected<uint64_t, std::string> load_program_file(const std::string& path, format::Machine machine,
                                                       GuestMemory& memory);

}  // namespace gcore::tools::vmm
