// Every vCPU's registers of a QEMU guest, as completely as QEMU gives them.
//
//     x86_64    QEMU's dump notes (general, segments, control registers, KERNEL_GS_BASE), `info registers` (EFER, debug
//               registers, x87 and SSE state; all of them when the guest is not in long mode, where QEMU writes 32-bit
//               notes) and `info lapic` (CR8)
//     aarch64   QEMU's dump notes (general and vector registers) and QEMU's gdb stub (system registers)
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "tools/gcore-dump/qmp.h"
#include "writer/format/registers.h"

namespace gcore::tools::qemu {

struct CpuStates {
  struct Cpu {
    size_t number;  // QEMU's cpu-index: there are gaps where no vCPU is plugged
    format::RegisterFile registers;
  };
  std::vector<Cpu> cpus;           // by number
  std::string vmcoreinfo;          // what the guest gave QEMU's vmcoreinfo device, "" when nothing
  std::vector<std::string> notes;  // what the user should know: registers that could not be had. One sentence each
};

/// The machine that QEMU emulates; refused where it has no vCPU, or none that a dump can be of.
QmpResult<format::Machine> query_machine(Qmp& qmp);

/// How many vCPUs there are now.
QmpResult<size_t> count_cpus(Qmp& qmp);

/// Reads all of it. The guest must be paused. `notes` is a dump that QEMU made in this pause; nullptr when there is
/// none yet: one of the page at `ram` is then taken.
std::expected<CpuStates, std::string> read_registers(Qmp& qmp, format::Machine machine, const reader::Dump* notes,
                                                     uint64_t ram);

}  // namespace gcore::tools::qemu
