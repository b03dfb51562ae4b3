// What a guest said of its tasks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/support/linux_oracle.h"

namespace gcore::tests {

struct KnownTask {
  int pid = 0, tgid = 0, parent = 0;
  std::string name;
  char state = '?';
  uint64_t switches = 0;
  std::vector<std::string> stack{};  // "schedule_timeout+0x12/0x34 [module]", innermost first
  std::string syscall{};             // of /proc/PID/syscall
  bool has_memory = false;           // it is a process with memory of its own
  /// It is the process that asked, which may have ended since, or a child of it, which may have another parent since.
  bool asked = false, parent_asked = false;
};

/// All threads that were there when it was asked, by PID (of the thread).
std::map<int, KnownTask> known_tasks(const LinuxOracle& oracle);

std::vector<std::string> lines_of(const std::string& text);

}  // namespace gcore::tests
