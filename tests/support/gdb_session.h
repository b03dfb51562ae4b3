#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace gcore::tests {

/// What a gdb batch session said: standard output and standard error together, in order.
struct GdbResult {
  std::string output;
  std::vector<std::string> of;  ///< the output of each command, by its index; fewer when gdb ended before
  ExitStatus status;
  bool timed_out = false;
};

/// Runs `gdb -nx -batch` with the commands. One that fails does not stop the following ones. ARGUMENTS go to gdb before
/// them (a symbol file and the like); PROGRAM may be gdb-multiarch. Commands are single lines.
GdbResult run_gdb(const std::vector<std::string>& commands, const std::vector<std::string>& arguments = {},
                  std::chrono::milliseconds timeout = 60s, const std::string& program = "gdb");

}  // namespace gcore::tests
