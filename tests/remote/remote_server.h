// server.py, which serves a folder as well, or as badly, as a test says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {

class RemoteServer {
 public:
  explicit RemoteServer(std::vector<std::string> options = {});

  const TempDir& folder() const { return folder_; }
  std::string port() const { return port_; }
  /// "http://127.0.0.1:PORT/NAME", or with something between // and the host.
  std::string url(const std::string& name, const std::string& user = "") const;

  /// Forgets rules and requests, and removes the files.
  void reset();

  /// In place of those before: a list in JSON, as server.py's head says.
  void rules(const std::string& json);
  void go() { command(R"({"go": true})"); }
  /// The requests since the last call, as JSON on one line.
  std::string log() { return command(R"({"log": true})"); }
  /// How many requests there were since the last call of one of the two.
  size_t requests();
  std::string uploads() { return command(R"({"state": true})"); }

 private:
  std::string command(const std::string& json);

  TempDir folder_;
  std::optional<Process> process_;
  std::string port_;
};

/// The environment of somebody with these keys and no other, for programs. `more`: NAME=VALUE, in place of what has the
/// same name.
std::vector<std::string> aws_environment(const RemoteServer& server, const std::string& id, const std::string& secret,
                                         const std::vector<std::string>& more = {});

inline constexpr char kKeyId[] = "AKIATESTTESTTEST", kSecret[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYSECRETKEY";

}  // namespace gcore::tests
