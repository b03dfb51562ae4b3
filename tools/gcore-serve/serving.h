// What gcore-serve and kdserver have in common.
#pragma once

#include "reader/dump.h"
#include "tools/common/program.h"

namespace gcore::tools {

/// SIGINT and SIGTERM, as a descriptor that becomes readable, which the caller closes; -1 with errno. Also has SIGPIPE
/// ignored, since clients leave when they like.
int stop_signals();

/// What is odd about the dump, such as that it is cut off, a line each on standard error: who debugs it should not have
/// to ask.
void say_warnings(const Program& program, const reader::Dump& dump);

/// GDB looks at the standard error of its child before every character that it reads, which makes it 13 times slower
/// while that is open. Call this when all has been said that is to be said.
void leave_standard_error();

}  // namespace gcore::tools
