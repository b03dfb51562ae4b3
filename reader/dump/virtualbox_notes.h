// The notes of VirtualBox's cores (`VBoxManage debugvm dumpvmcore`), turned into vCPUs. Private to the reader.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/dump/elf_notes.h"

namespace gcore::reader {

/// Whether the notes are VirtualBox's: one named VBCORE, which describes the file, and a VBCPU for each vCPU. The sizes
/// of their names do not count the NUL.
bool are_virtualbox_notes(std::span<const ElfNote> notes);

/// x86_64. VBCPU is a DBGFCORECPU (VirtualBox: include/VBox/vmm/dbgfcorefmt.h), little-endian: 18 general registers,
/// six segments, CR0, CR2, CR3, CR4, DR0 to DR7, GDTR, IDTR, LDTR, TR, SYSENTER's, MSRs, XCR0 and XCR1, and last 8,192
/// bytes as XSAVE leaves them. Versions 0x10004 to 0x10006 of the format, which differ in what stands before these.
std::vector<Cpu> read_virtualbox_notes(std::span<const ElfNote> notes, std::vector<std::string>& warnings);

}  // namespace gcore::reader
