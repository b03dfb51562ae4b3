// Who called whom on a vCPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/gcore-inspect/facts/symbols.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

struct Frame {
  uint64_t pc = 0;
  std::vector<SourceFrame> functions;  // inlined ones first; empty when no symbol is known
};

struct Backtrace {
  std::vector<Frame> frames;  // innermost first; empty when the dump does not have the program counter
  std::string why;            // a sentence: why it goes no further; "" at the outermost frame
};

/// By the unwind tables of --symbols where they cover the pc, else by the chain of frame pointers. Ends on any memory.
Backtrace backtrace(const Job& job, const reader::Cpu& cpu);

/// "function at file.c:12", "function (inlined) at file.c:12"; "??" for no function.
std::string function_text(const SourceFrame& frame);

}  // namespace gcore::tools::inspect
