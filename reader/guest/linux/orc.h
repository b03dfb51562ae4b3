// ORC, the unwind tables that an x86_64 Linux kernel and its modules carry: for each stretch of code, where the
// caller's stack pointer, frame pointer and return address are. Facts: arch/x86/include/asm/orc_types.h and
// arch/x86/kernel/unwind_orc.c of Linux.
//
// A table is two arrays of equal length: addresses (s32, each relative to its own place, ascending) and entries of six
// bytes: s16 sp_offset, s16 bp_offset, u16 bits. The bits came in four formats:
//
//   | kernels      | 3:0    | 7:4    | 8 and up                 | types |
//   |--------------|--------|--------|--------------------------|------------------------------------------------------|
//   | v1 to 6.2    | sp_reg | bp_reg | type:2, end:1            | CALL 0, REGS 1, REGS_PARTIAL 2 | | v2 6.3       |
//   sp_reg | bp_reg | type:2, signal:1, end:1  | the same                                             | | v3 6.4 - 7.0
//   | sp_reg | bp_reg | type:3, signal:1         | UNDEFINED 0, END_OF_STACK 1, CALL 2, REGS 3, PARTIAL 4 | | v4 7.1 |
//   sp_reg | bp_reg | the same as v3           | the same; registers have other numbers               |
//
// From 6.3.10 on 20 bytes between __start_orc_header and __stop_orc_header name the format. Distributions backport it,
// also without the header (RHEL's later 5.14), so that without one the entries themselves decide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "reader/address.h"
#include "reader/error.h"
#include "reader/guest/linux/kernel_memory.h"

namespace gcore::reader::linux_guest {

enum class OrcFormat : uint8_t { v1, v2, v3, v4 };

/// How the names of what indirect calls go through begin (arch/x86/lib/retpoline.S): a call whose return address is
/// changed then. The tables say nothing of them, or that nobody called them.
inline constexpr std::string_view kIndirectThunk = "__x86_indirect_";

/// What an entry says, in one form for all formats.
struct OrcRule {
  enum class Type : uint8_t {
    undefined,     // nothing is known of this code
    end_of_stack,  // nobody called it
    call,          // the return address is at CFA - 8
    regs,          // a struct pt_regs is at the CFA
    regs_partial,  // what the CPU pushed for an interrupt is at the CFA: rip, cs, rflags, rsp, ss
    unknown,       // a number that no format has
  };
  enum class Base : uint8_t {
    undefined,  // of sp: no rule; of bp: its value is unchanged
    prev_sp,    // of bp: saved at CFA + offset
    ax,
    dx,
    di,
    bp,
    sp,
    r10,
    r13,
    bp_indirect,  // what is stored at bp + offset
    sp_indirect,  // what is stored at sp, plus offset
    unknown,
  };
  Type type = Type::undefined;
  Base sp = Base::undefined, bp = Base::undefined;
  int16_t sp_offset = 0, bp_offset = 0;
  bool signal = false;  // the frame's pc is where the CPU was, not a return address

  friend bool operator==(const OrcRule&, const OrcRule&) = default;
};

inline constexpr size_t kOrcEntryBytes = 6, kOrcHeaderBytes = 20;

OrcRule decode_orc(std::span<const std::byte, kOrcEntryBytes> entry, OrcFormat format);

/// By the bytes of .orc_header; nothing for one that is not known.
std::optional<OrcFormat> orc_format_of_header(std::span<const std::byte> header);

/// By the entries themselves: nearly all code is in functions that are called, so that the most frequent type is CALL,
/// whose number the formats differ in, and only v2 has the bit 11 with that number. Nothing where no type prevails.
std::optional<OrcFormat> orc_format_of_entries(std::span<const std::byte> entries);

/// The table of the kernel or of one module.
class OrcTable {
 public:
  /// `ips`: the array of addresses; `entries`: the array of entries; `count`: of either. Without a `format` the entries
  /// decide. Error: malformed (too many, not ascending), not_present (memory that is not there).
  static Expected<OrcTable> read(const KernelMemory& memory, VirtAddr ips, VirtAddr entries, uint64_t count,
                                 std::optional<OrcFormat> format);

  /// The rule for the instruction at this address; nothing before the first entry. The last one holds for all that
  /// follows: whoever asks knows where the code ends.
  std::optional<OrcRule> find(VirtAddr pc) const;

  /// For whoever goes over all of it: entries by index, ascending.
  size_t size() const { return ips_.size(); }
  VirtAddr address(size_t index) const;
  OrcRule rule(size_t index) const;
  OrcFormat format() const { return format_; }

 private:
  OrcTable(VirtAddr base, OrcFormat format) : base_(base), format_(format) {}

  VirtAddr base_;  // of the array of addresses
  OrcFormat format_;
  std::vector<int32_t> ips_;
  std::vector<std::byte> entries_;
};

}  // namespace gcore::reader::linux_guest
