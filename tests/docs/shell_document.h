// A document as one shell session: its `sh` and `console` blocks are typed one after the other, in one folder and one
// bash, as a reader would.
//
//   sh        commands, each of which has to succeed
//   console   "$ command", then what it prints, whole: "..." in a line stands for anything, a line of "..." for any
//   lines.
//             Exit statuses do not matter, so that mistakes can be shown
//   gdb       commands for a gdb that is connected to vm.gcore
//
// A block in another language whose first line is a comment that is a file name ("// my-vmm.cc", "# CMakeLists.txt") is
// saved under that name.
#pragma once

#include <string>
#include <vector>

#include "tests/docs/markdown.h"

namespace gcore::tests {

/// A command of a console block and what has to come of it.
struct ConsoleStep {
  std::string command;   ///< may have several lines, when they end in a backslash
  std::string expected;  ///< lines
};

std::vector<ConsoleStep> console_steps(const std::string& text);

/// Does OUTPUT fit EXPECTED with its "..."? Blanks at the end of lines and empty lines at the end do not count.
bool output_fits(const std::string& expected, const std::string& output);

/// Runs the blocks in FOLDER, with the built programs first in PATH. Test failures name NAME and the block's line.
/// Processes that the document left behind are ended (those in the background, and those of *.pid files).
void run_blocks(const std::string& name, const std::vector<Block>& blocks, const std::string& folder);

}  // namespace gcore::tests
