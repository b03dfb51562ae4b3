#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace gcore::tests {

/// gcore-serve on a dump, listening on a port of the loopback interface that it picked itself.
class ServeProcess {
 public:
  /// Returns once clients can connect; throws with what gcore-serve said when that does not come.
  explicit ServeProcess(const std::string& dump, const std::vector<std::string>& options = {});

  uint16_t port() const { return port_; }
  /// What gdb's `target remote` wants.
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  Process& process() { return process_; }

 private:
  Process process_;
  uint16_t port_ = 0;
};

}  // namespace gcore::tests
