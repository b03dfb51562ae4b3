// What gcore-serve and kdserver have in common.
#pragma once

#include <memory>
#include <string>

#include "reader/dump/dump.h"
#include "tools/common/program.h"

namespace gcore::tools {

/// SIGINT and SIGTERM, as a descriptor that becomes readable, which the caller closes; -1 with errno. Also has SIGPIPE
/// ignored, since clients leave when they like.
int stop_signals();

/// open_dump() for a client on standard input and output, who asks its first question while a large gzip file is gone
/// through: GDB gives up after 8 seconds without an acknowledgement, so it gets one each second.
reader::Expected<std::unique_ptr<reader::Dump>> open_for_client(const Program& program, const std::string& path);

/// What is odd about the dump, such as that it is cut off, a line each on standard error: who debugs it should not have
/// to ask.
void say_warnings(const Program& program, const reader::Dump& dump);

/// GDB looks at the standard error of its child before every character that it reads, which makes it 13 times slower
/// while that is open. Call this when all has been said that is to be said.
void leave_standard_error();

}  // namespace gcore::tools
