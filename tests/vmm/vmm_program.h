// gcore-vmm as its users run it, for tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

constexpr auto kOut = Process::Stream::out;
constexpr auto kErr = Process::Stream::err;
constexpr char kTwoCpus[] = "cpu\ncpu\nram 64M\ncmdline heartbeat=5\n";
constexpr char kWritten[] = "^gcore-vmm: dump written: .* \\([0-9]+ bytes, guest paused [0-9]+ ms\\)$";

class VmmProgram : public testing::Test {
 protected:
  std::string config(const std::string& text) { return dir_.write("vm.conf", text); }
  Process start(const std::string& text, std::vector<std::string> more = {}) {
    std::vector<std::string> argv{program("gcore-vmm"), config(text)};
    argv.insert(argv.end(), more.begin(), more.end());
    return Process(argv);
  }
  static bool heartbeat(Process& vmm, int cpu) {
    return vmm.wait_for_line(kOut, "cpu " + std::to_string(cpu) + ": heartbeat").has_value();
  }
  // All output that exists goes unread first, so that the lines are from after this call.
  static bool still_alive(Process& vmm) {
    for (int i = 0; i < 4; ++i)
      if (!heartbeat(vmm, 0) || !heartbeat(vmm, 1)) return false;
    return true;
  }
  std::vector<std::string> dumps() {
    std::vector<std::string> found;
    for (const std::string& name : dir_.entries())
      if (name.ends_with(".gcore")) found.push_back(name);
    return found;
  }

  TempDir dir_;
};

}  // namespace gcore::tests
