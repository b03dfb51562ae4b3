// The notes of the vmcore dialect, turned into vCPUs. Private to the reader. See writer/format/vmcore_notes.h.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/dump/elf_notes.h"

namespace gcore::reader {

struct VmcoreNotes {
  std::vector<Cpu> cpus;
  std::string vmcoreinfo;
  std::vector<OtherNotes> other;  // at most 64 kinds
  /// The notes are those of a process's core: NT_AUXV or NT_PRPSINFO, and nothing that a machine's dump has.
  bool of_process = false;
};

/// Takes the notes of all PT_NOTE segments, in file order. NT_PRSTATUS starts a vCPU, also one that is too small, which
/// gives it no registers; a NT_PRFPREG belongs to the vCPU before it, and the n-th QEMU note to the n-th vCPU. Where
/// the QEMU note and NT_PRSTATUS have the same register, the latter counts, except for fs_base and gs_base, which only
/// the former has reliably. What is none of these is counted. `info` says whether pr_pid numbers vCPUs.
VmcoreNotes read_vmcore_notes(std::span<const ElfNote> notes, format::Machine machine, format::ByteOrder order,
                              const DumpInfo& info, std::vector<std::string>& warnings);

}  // namespace gcore::reader
