// What a dump says of itself in its section .gcore.info: a JSON object that only gcore's writer makes. docs/format.md
// has its schema. Everything in it may be absent or wrong: such a field is left at its default, and is a warning.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/address.h"

namespace gcore::reader {

struct Cpu;

/// All texts are UTF-8 as they stand in the file: they may hold anything, control characters too. An empty text and an
/// absent number mean that the dump does not say.
struct DumpInfo {
  bool present = false;  // there is a section, and it was understood; otherwise all the rest has its default
  std::string error;     // there is one, and it was not: why. "it is not JSON: ..."

  std::string program, writer;              // the VMM and the library that wrote the dump, each with its version
  std::string machine;                      // "x86_64", ...: format::machine_name(); empty when it does not say
  std::vector<std::string> source_defects;  // what was wrong with the dump that this one was converted from
  std::string vm, host;                     // names
  std::optional<uint64_t> requested_ns;     // when the dump was asked for: nanoseconds since 1970, UTC
  std::string reason_kind, reason_detail;   // "signal", "SIGUSR2"; kinds: api, signal, watchdog, panic
  std::optional<uint64_t> pause_ns;         // how long the guest was paused, nanoseconds
  std::string consistency;  // "paused", "snapshot": all memory is of one moment; "torn": it is not, warned of
  bool complete = true;     // false: a partial dump, whose segments end where the writer stopped

  /// How many 4 KiB pages of guest memory went which way (writer::PageCounts).
  struct Pages {
    uint64_t written = 0, zero = 0, absent = 0, missing = 0;
  };
  std::optional<Pages> pages;

  std::optional<uint64_t> vcpu_count;  // of the guest: those in the dump and those left out
  bool has_thread_ids = false;         // pr_pid of NT_PRSTATUS are the guest's threads; vCPUs are in order, from 0
  std::vector<uint32_t> left_out;  // vCPUs (Cpu::number) that the VMM could not read, and of which there is no record

  /// Registers that a vCPU's record has room for, though the VMM did not know them. Dump::cpus() lacks them already.
  struct Unavailable {
    uint32_t cpu = 0, last = 0;  // Cpu::number, both are in it
    std::vector<std::string> registers;
  };
  std::vector<Unavailable> unavailable;

  /// Guest memory that the writer could not read: zeros in the file, Missing::unreadable in Dump::read(). Ascending,
  /// neither overlapping nor adjoining.
  struct Range {
    PhysAddr first, last;  // both are in it
  };
  std::vector<Range> missing;
  uint64_t missing_ranges = 0;  // how many there were; more than in `missing` when the section had no room for all
};

/// Parses the section's text ("" when there is none). Linear in its size; what is larger than any writer makes it, or
/// nested deeply, is refused. Oddities are appended to `warnings`.
DumpInfo parse_info(std::string_view json, std::vector<std::string>& warnings);

/// Takes the registers that are listed as unavailable out of the vCPUs, with what was derived from them.
void drop_unavailable(const DumpInfo& info, std::span<Cpu> cpus);

}  // namespace gcore::reader
