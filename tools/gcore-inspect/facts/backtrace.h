// Who called whom on a vCPU.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

struct Frame {
  uint64_t pc = 0;
  std::vector<SourceFrame> functions{};  // of --symbols: inlined ones first; empty when none is known
  std::string place{};                   // as a Linux guest itself has it: "schedule+0x3c/0xa0 [module]"; may be empty
  bool is_guess = false;                 // found by looking through the stack
};

struct Backtrace {
  std::vector<Frame> frames;          // innermost first; empty when the dump does not have the program counter
  std::string why{};                  // a sentence: why it goes no further; "" at the outermost frame
  std::optional<uint64_t> user_pc{};  // the kernel was entered from user mode, there
};

/// Of a Linux guest by what the kernel itself has for it (tables, frame records, names). Else by the unwind tables of
/// --symbols where they cover the pc, else by the chain of frame pointers. Ends on any memory.
Backtrace backtrace(const Job& job, const reader::Cpu& cpu);

/// Of registers that a CPU has, or had: by the unwind tables of --symbols, else by frame pointers, in this space.
Backtrace backtrace(const Job& job, const format::RegisterFile& registers, const reader::AddressSpace& space);

/// Each line of it, innermost frame first: "#0   0xffffffff81000000  function at file.c:12".
std::vector<std::string> lines_of(const Backtrace& trace);

/// "function at file.c:12", "function (inlined) at file.c:12"; "??" for no function.
std::string function_text(const SourceFrame& frame);

}  // namespace gcore::tools::inspect
