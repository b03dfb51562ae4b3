// gcore-inspect: one file a mode. Each mode gets an open dump, prints to standard output, and returns an exit status.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/guest/linux/symbols/symbol_file.h"
#include "reader/space/address_space.h"
#include "tools/common/program.h"

namespace gcore::tools::inspect {

class LinuxGuest;
class QnxGuest;
class Symbols;
struct PageCounts;

/// --root: a root table in place of the vCPU's own.
struct Root {
  uint64_t value;  // as the register would hold it
  reader::AddressSpace::Root which = reader::AddressSpace::Root::lower;
};

/// What every mode needs.
struct Job {
  const Program& program;
  const reader::Dump& dump;
  const reader::Guest& guest;
  const LinuxGuest& linux_guest;  // facts/linux_guest.h
  const QnxGuest& qnx_guest;      // facts/qnx_guest.h
  bool colour;                    // of standard output
  std::optional<size_t> cpu;      // --vcpu (or the N of --registers), which the dump has
  std::optional<Root> root;       // --root

  const Symbols* symbols;  // --symbols, or nullptr

  /// The vCPU whose address space is meant: --vcpu, else the faulting one, which is 0 when there was no fault.
  size_t chosen_cpu() const { return cpu.value_or(dump.faulting_cpu()); }
  /// That vCPU's address space, or what it is with --root.
  reader::Expected<reader::AddressSpace> chosen_space() const {
    return root ? guest.space_with_root(chosen_cpu(), root->value, root->which) : guest.space_of_cpu(chosen_cpu());
  }
};

int print_summary(const Job& job);
int print_registers(const Job& job, bool all);  // all: the FPU's and vector registers too
int print_segments(const Job& job);
int print_translation(const Job& job, reader::VirtAddr address);
int print_json(const Job& job);  // with --stats: what it prints too; with --why: only that
/// The line of --json=lines for a dump that cannot be read.
int print_json_error(const Program& program, const std::string& path, const std::string& why);
/// Of vCPUs, or of tasks: `tasks` is "all", "blocked" or a PID.
int print_backtrace(const Job& job, const std::optional<std::string>& tasks);
int print_tasks(const Job& job, std::optional<uint64_t> pid);
int print_messages(const Job& job);
int print_modules(const Job& job);
int print_why(const Job& job);  // what went wrong in a Linux guest
int write_html(const Job& job, const std::string& path);
int write_symbols(const Job& job, const std::string& path, const reader::linux_guest::SymbolFileOptions& options);
int print_map(const Job& job);
int print_stats(const Job& job);
int diff_dumps(const Job& job, const std::string& other);
PageCounts count_all_pages(const Job& job);  // what --stats prints: pages.h
int verify(const Job& job);
int find(const Job& job, std::string_view pattern);

struct ReadRequest {
  uint64_t address = 0, size = 0;
  bool physical = false, raw = false;
};
int read_memory(const Job& job, const ReadRequest& request);

// --- facts that several modes print: facts.cc ---

/// "qnx" or "vmcore".
const char* dialect_name(reader::Dialect dialect);

/// The program counter and stack pointer under the names that the machine has for them.
std::optional<uint64_t> program_counter(const reader::Cpu& cpu);
std::optional<uint64_t> stack_pointer(const reader::Cpu& cpu);

/// "kernel, CPL 0", "user, CPL 3", "kernel, EL1"; or "unknown".
std::string mode_name(const reader::Cpu& cpu);

/// The vCPU is the one that the dump's signal is about.
bool at_fault(const reader::Dump& dump, const reader::Cpu& cpu);

/// A register's flag bits that are set, as the manuals name them ("PG WP PE"); "" where no such bits are known.
std::string flag_names(format::Machine machine, std::string_view name, uint64_t value);

/// Every defect that the file's own headers show, one sentence each: the reader's warnings and more.
std::vector<std::string> defects(const reader::Dump& dump);

/// One sentence when the segments do not ascend in the program header table, which the reader does not mind; else "".
std::string order_remark(const reader::Dump& dump);

/// The parts of memory that the headers promise and the file does not have, or has as zeros because they could not be
/// read when the dump was taken.
struct Gap {
  reader::PhysAddr address;
  uint64_t size;
  std::string why;
};
std::vector<Gap> gaps(const reader::Dump& dump);

/// What a reader of the dump wants to know first: (name, value) in the order in which it is shown. headline.cc
std::vector<std::pair<std::string, std::string>> headline(const reader::Guest& guest);

/// A register that programs have, and not the CPU alone, as it has cr0.
bool is_of_program(const format::RegisterInfo& info);

/// Registers that belong together, as they are shown. registers.cc
struct RegisterRow {
  std::string name, value, flags;
};
struct RegisterGroup {
  std::string title;
  bool more = false;  // shown with `all` only
  std::vector<RegisterRow> rows;
};
/// `all`: the FPU's and vector registers too. Names of registers that the dump does not have are added to `absent`.
std::vector<RegisterGroup> register_groups(const reader::Cpu& cpu, bool all, std::vector<std::string>& absent);

/// "3 vCPUs", "1 vCPU".
std::string counted(uint64_t count, std::string_view one, std::string_view many);

/// A page size: "4K", "2M", "1G".
std::string page_size_name(uint64_t bytes);

/// What --symbols knows of an address: "function+0x12 at file.c:34"; "" when it knows nothing.
std::string symbol_name(const Job& job, std::optional<uint64_t> address);

/// "!", in yellow where the output is in colour.
std::string warning_mark(const Job& job);

/// The text in bold where the output is in colour.
std::string bold(const Job& job, std::string_view text);

}  // namespace gcore::tools::inspect
