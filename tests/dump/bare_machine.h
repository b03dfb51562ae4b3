#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/qmp.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

/// A QEMU that runs a few bytes of code as its firmware, or nothing: up in a fraction of a second. Not started (-S):
/// its vCPUs wait for start().
class BareMachine {
 public:
  /// `code` (16-bit, at most 16 bytes) stands at the reset vector of an x86_64 machine; empty: QEMU's own firmware.
  BareMachine(const std::string& qemu, const std::string& code, std::vector<std::string> arguments);

  void start();
  /// QEMU's "query-status" answer as JSON text.
  std::string status() { return qmp_->execute("query-status"); }
  bool runs() { return status().find("\"running\":true") != std::string::npos; }
  std::string socket() const { return folder_.path("qmp"); }
  const TempDir& folder() const { return folder_; }
  Qmp& qmp() { return *qmp_; }
  Process& process() { return *process_; }

 private:
  TempDir folder_;
  std::optional<Qmp> qmp_;
  std::optional<Process> process_;
};

}  // namespace gcore::tests
