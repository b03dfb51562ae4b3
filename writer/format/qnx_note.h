// The `qnx` dialect's PT_NOTE segment, after the public header sys/kdump.h (QNX SDP 7.1).
//
// The segment is, without any ELF note header around it:
//
//     KdumpNote
//     names of the extra registers         extra_reg_name_size bytes: NUL-terminated strings, NUL-padded to 8
//     num_cpus times:
//       KdumpNoteCpu
//       the CPU register set               see cpu_register_set_size()
//       the extra registers' values        extra_reg_value_size bytes: 8 a register, in the order of the names
//
// regset_size = CPU register set + extra_reg_value_size.
//
// Assumption: sys/kdump.h does not say whether the two extra sizes count the whole block (as written here) or one
// entry. The segment's size tells a reader which of the two holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "writer/format/elf.h"
#include "writer/format/endian.h"

namespace gcore::format {

struct KdumpNote {
  uint8_t note_version;  // 0
  uint8_t sig_num;       // 0 when no fault led to the dump
  uint8_t sig_code;
  uint8_t fault_num;
  Le16 num_cpus;
  Le16 faulting_cpu;    // index of the vCPU that a debugger shows first
  Le32 regset_size;     // bytes of one CPU's registers, extra ones included
  Le32 cpu_info;        // x86: 1 = PAE paging is on. aarch64: the lower half of TCR_EL1 (assumption)
  Le32 procnto_segnum;  // indices among the program headers that are not PT_NOTE; 0 = unknown (older readers do not
  Le32 syspage_segnum;  // check the range, so never 0xffffffff)
  Le32 dumpinfo_segnum;
  Le32 cpu_info_hi;
  Le32 extra_reg_value_size;  // 7.x; a spare field, 0, before
  Le32 extra_reg_name_size;   // likewise
};
static_assert(sizeof(KdumpNote) == 40);
static_assert(offsetof(KdumpNote, faulting_cpu) == 6 && offsetof(KdumpNote, regset_size) == 8);
static_assert(offsetof(KdumpNote, procnto_segnum) == 16 && offsetof(KdumpNote, cpu_info_hi) == 28);
static_assert(offsetof(KdumpNote, extra_reg_name_size) == 36);

struct KdumpNoteCpu {
  Le64 pgtbl;  // guest-physical address of the root page table
  Le32 cpunum;
  Le32 spare[4];
  char process_name[100];  // NUL-terminated; of a longer name the tail is kept
};
static_assert(sizeof(KdumpNoteCpu) == 128);
static_assert(offsetof(KdumpNoteCpu, cpunum) == 8 && offsetof(KdumpNoteCpu, process_name) == 28);

inline constexpr size_t kKdumpNamePadding = 8;  // the block of names is padded to a multiple of this

}  // namespace gcore::format
