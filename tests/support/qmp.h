#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "tests/support/process.h"

namespace gcore::tests {

/// A client of QEMU's machine protocol. Failures and missed deadlines throw std::runtime_error with QEMU's own words.
class Qmp {
 public:
  /// Makes the UNIX socket at PATH, to which QEMU is then told to connect (-qmp unix:PATH): nothing has to be polled.
  explicit Qmp(const std::string& path);
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  /// Waits for QEMU's connection and greets it.
  void accept(std::chrono::milliseconds timeout = 30s);

  /// Runs a command; ARGUMENTS is a JSON object. Returns the answer's "return" as JSON text.
  std::string execute(std::string_view command, std::string_view arguments = "{}",
                      std::chrono::milliseconds timeout = 60s);

  /// A command of the human monitor, on a vCPU; its text with \n line ends.
  std::string human(std::string_view command_line, int cpu = 0);

  /// Waits for an event that arrived since the last call for the same name, or arrives.
  void wait_event(std::string_view name, std::chrono::milliseconds timeout = 60s);

  /// TEXT as a JSON string, quotation marks included.
  static std::string quote(std::string_view text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gcore::tests
