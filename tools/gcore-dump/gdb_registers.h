// Registers of an aarch64 guest's vCPUs from QEMU's gdb stub: the system registers, which QEMU's dump notes lack.
//
// The stub's target description names every register it has (QEMU: "org.qemu.gdb.arm.sys.regs", names as in QEMU's own
// tables); those that format::registers() knows are read, the others are not. Only reading packets are sent, and no
// detach (which would let the guest run).
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "tools/gcore-dump/qmp.h"
#include "writer/format/registers.h"

namespace gcore::tools::qemu {

/// One register of a target description.
struct StubRegister {
  std::string name;     // as the description has it
  unsigned number = 0;  // for the packet `p`
  unsigned bits = 64;
};

/// The <reg> elements of a description, its numbers going on from `first`. Also returns the files that it includes, in
/// order: registers of an included file are numbered after those of the files before it.
struct Description {
  std::vector<StubRegister> registers;
  std::vector<std::string> includes;
};
Description parse_description(std::string_view xml, unsigned first);

/// The name that format::registers(machine) has for a register of QEMU's description: "TTBR0_EL1" and "CPACR" are
/// "ttbr0_el1" and "cpacr_el1". Empty when there is none.
std::string our_register_name(format::Machine machine, std::string_view name);

/// Speaks to a stub over a connected stream socket (borrowed) and reads those registers of vCPU 0, 1, ... cpu_count - 1
/// that are of 64 bits or less and not among the core registers. The error is a clause.
std::expected<std::vector<format::RegisterFile>, std::string> read_stub_registers(int socket, format::Machine machine,
                                                                                  size_t cpu_count,
                                                                                  std::chrono::milliseconds timeout);

/// Has QEMU start its stub on a socket pair and reads from it as above; stops the stub again. A stub that QEMU serves
/// already (-gdb) is used if nobody is connected to it; one that is in use is left alone, and is the error. The guest
/// must be paused: a connection to the stub stops it.
std::expected<std::vector<format::RegisterFile>, std::string> read_stub_registers(Qmp& qmp, format::Machine machine,
                                                                                  size_t cpu_count);

}  // namespace gcore::tools::qemu
