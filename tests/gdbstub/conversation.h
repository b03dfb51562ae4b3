// A debugger's side of a session, byte by byte: it shares no framing code with the stub.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gdbstub/protocol/session.h"

namespace gcore::tests {

/// "$payload#cc" without escaping.
std::string packet(std::string_view payload);
std::string hex(std::string_view bytes);
std::string unhex(std::string_view digits);

class Conversation {
 public:
  explicit Conversation(const gdbstub::Target& target, gdbstub::SessionOptions options = {})
      : session(target, std::move(options)) {}

  /// Sends bytes as they are, lets the session work until it needs more, and returns what it sent, as it is.
  std::string raw(std::string_view bytes);
  /// Sends one packet and returns the one reply: decoded, console text apart. Fails the test when there is not exactly
  /// one, when it is not acknowledged, or when a checksum is wrong.
  std::string ask(std::string_view payload);
  /// `monitor COMMAND`: the text.
  std::string monitor(std::string_view command);

  gdbstub::Session session;
  std::string console;           // text of the last ask
  bool acknowledgements = true;  // what the client believes
};

/// Takes a stream of packets apart. Bytes outside packets (acknowledgements) go to `outside`.
std::vector<std::string> decode(std::string_view stream, std::string& outside);

}  // namespace gcore::tests
