#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/process.h"

namespace gcore::tests {

/// A small client of the GDB remote protocol, for tests that need thousands of answers or exact packets.
///
/// Every request has a hard deadline and throws std::runtime_error when no answer comes, the peer goes away or a
/// checksum is wrong. Replies are given with run-length encoding and escapes undone.
class RspClient {
 public:
  /// Connects; throws when nobody listens.
  static RspClient tcp(const std::string& host, uint16_t port);
  static RspClient unix_socket(const std::string& path);

  RspClient(RspClient&& other) noexcept;
  RspClient& operator=(RspClient&&) = delete;
  ~RspClient();

  std::chrono::milliseconds timeout = 20s;

  /// Sends one packet and returns the reply that follows. Console output (O packets) on the way is put into console.
  std::string request(std::string_view payload);
  /// The same without the wait.
  void send(std::string_view payload);
  std::string receive();
  /// Bytes as they are, for malformed packets.
  void send_raw(std::string_view bytes);
  /// Everything until the peer closes the connection or the deadline passes.
  std::string receive_until_closed();

  /// qSupported and, if the stub offers it, no-acknowledgement mode.
  void handshake();

  /// Thread ids as the stub spells them, in its order.
  std::vector<std::string> threads();
  /// Selects the thread (Hg) of later requests.
  void select(const std::string& thread);

  /// Memory by `m`: the leading bytes that can be read, asking again for the rest of a short answer.
  std::vector<uint8_t> read(uint64_t address, size_t size);

  /// Registers of the selected thread by name, as hex digits in target byte order; "x..." where unavailable. Those that
  /// the target description has but `g` does not carry are asked for by `p`.
  std::map<std::string, std::string> registers();

  /// The target description with its includes.
  std::string target_xml(const std::string& annex = "target.xml");

  std::string console;

 private:
  explicit RspClient(int fd) : fd_(fd) {}
  char next();

  int fd_;
  bool acknowledge_ = true;
  std::string buffer_;
  size_t position_ = 0;
};

/// Bytes as lower-case hex digits and back (an odd or bad digit ends it).
std::string to_hex(std::string_view bytes);
std::string from_hex(std::string_view digits);

}  // namespace gcore::tests
