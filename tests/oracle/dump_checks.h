#pragma once

#include "tests/oracle/stopped_guest.h"

namespace gcore::tests {

/// gcore-dump's vmcore against QEMU's own dump of the same moment: each guest-physical byte, NT_PRSTATUS and QEMU note.
void check_against_qemus_dump(StoppedGuest& guest);
/// What gcore-convert makes of QEMU's ELF and kdump-zlib dumps, and of gcore-dump's qnx dialect: the same file,
/// VMCOREINFO included. (Small guests only: it takes time.)
void check_converted(StoppedGuest& guest);
/// gcore-inspect says of both dialects what QEMU says that each vCPU is doing, and how it translates addresses.
void check_vcpu_states(StoppedGuest& guest);
/// gdb on that file shows, of every vCPU, what QEMU's stub shows; and the kernel's data by their own addresses.
void check_in_gdb(StoppedGuest& guest);
/// drgn opens it and reads the kernel's banner by a kernel-virtual address.
void check_in_drgn(StoppedGuest& guest);
/// makedumpfile reads the kernel's messages from it and makes a file of its own. (x86_64: it reads what it runs on.)
void check_in_makedumpfile(StoppedGuest& guest);
/// crash --minimal reads the kernel's banner and memory. (x86_64: like makedumpfile.)
void check_in_crash(StoppedGuest& guest);

}  // namespace gcore::tests
