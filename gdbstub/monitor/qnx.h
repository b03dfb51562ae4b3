// Processes and threads of a QNX kernel, for `monitor pid`. Internal to the stub.
//
// The structures are those that a kernel describes to its debuggers: system page, kdebug_info, kdebug_private,
// kdump_private, process vector. Offsets inside processes and threads are data in kdebug_private. The layout is public
// for 32-bit kernels; that of 64-bit ones is an assumption, tested against nothing real. Nothing is believed unchecked:
// each read may fail, counts are bounded, and no list is followed that might be circular.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "gdbstub/target.h"

namespace gcore::gdbstub {

struct QnxProcess {
  uint32_t pid = 0;
  std::string name;      // empty when it cannot be read
  uint64_t address = 0;  // kernel-virtual, of the process structure
};

struct QnxThread {
  QnxProcess process;
  uint64_t root = 0;                    // guest-physical, of the process's root table
  std::vector<std::byte> register_set;  // as Target::decode_registers takes it
};

/// Looks through the kernel addresses of the vCPU. The error is one sentence.
std::expected<std::vector<QnxProcess>, std::string> qnx_processes(const Target& target, size_t cpu);
std::expected<QnxThread, std::string> qnx_thread(const Target& target, size_t cpu, uint64_t pid, uint64_t tid);

}  // namespace gcore::gdbstub
