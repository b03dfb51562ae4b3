// A dump of two x86_64 vCPUs, small enough to be written in a moment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/dump_builder.h"

namespace gcore::tests {

/// Physical memory 0..2 MiB: page tables from 0x1000 on, 32 NOPs and 32 HLTs at 0x8000, "needle in RAM" at 0x9000.
/// Virtual: physical 0 stands at 0xffffffff80000000 (kernel), physical 0x8000 at 0x400000 (user), and at 0x401000
/// physical 0x40000000, which the dump lacks. vCPU 0 was in user mode at 0x400010; vCPU 1, which faulted, in the kernel
/// at 0xffffffff80008000.
std::string small_memory();
QnxNote small_note();
std::string write_small_dump(const std::string& folder);

/// An ELF executable of the guest with one symbol, `guest_loop` at 0xffffffff80008000.
std::string write_small_symbols(const std::string& folder);

/// An ELF executable of CODE at ADDRESS, which must be a multiple of 8 bytes, with a symbol for each function.
struct Function {
  std::string name;
  uint64_t offset, size;
};
void write_symbols(const std::string& path, uint16_t machine, uint64_t address, const std::string& code,
                   const std::vector<Function>& functions);

}  // namespace gcore::tests
