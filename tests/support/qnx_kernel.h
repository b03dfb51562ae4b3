// The tables of a 64-bit QNX kernel for x86_64, made from the documented offsets: what it says to its debuggers of its
// processes and threads, and its message ring.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/dump_builder.h"

namespace gcore::tests {

struct QnxKernelBuilder {
  struct Thread {
    uint64_t id = 1, rip = 0, rsp = 0, rbp = 0;
  };
  struct Process {
    uint32_t pid = 0;
    std::string name{};
    uint64_t root = 0;  // guest-physical, below the end of memory
    std::vector<Thread> threads{};
  };

  uint64_t base = 0;  // the kernel has guest-physical memory P at base + P
  std::vector<Process> processes{};
  std::string messages{};  // "": there is no ring

  /// A dump of `memory`, which starts at guest-physical 0 and gets the kernel's tables at its end; of the segments that
  /// the note names, too.
  DumpBuilder dump(std::string memory, QnxNote note) const;

 private:
  std::string with_tables(std::string memory, uint64_t& kdebug_info) const;
};

}  // namespace gcore::tests
