// The remote serial protocol's envelope: framing, checksum, escaping, run-length encoding. No I/O, no meaning.
//
//   $PAYLOAD#CC   CC: the sum of the bytes between $ and #, modulo 256, in hex
//   }C            stands for the byte C xor 0x20, where the byte itself would be one of # $ } *
//   C*n           after a byte C: n - 29 more of C (n is a character); only the server sends these
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace gcore::gdbstub {

/// The longest payload that a client may send: what qSupported announces as PacketSize.
inline constexpr size_t kMaxPayload = 0x20020;

uint8_t checksum(std::string_view body);

enum class RunLength : bool { off, on };

/// The payload as a whole packet. Any bytes are allowed in it: those that need it are escaped.
std::string frame(std::string_view payload, RunLength run_length);

/// Memory as a whole packet: two hex digits a byte, run-length encoded. The same as frame() of append_hex(), but for
/// runs of digits that begin or end within a byte, and many times as fast: most memory is zeros.
std::string frame_hex(std::span<const std::byte> bytes);

/// Undoes escaping. An escape character at the end stands for nothing and is dropped.
std::string unescape(std::string_view escaped);

/// Hex, two lower-case digits a byte.
std::string to_hex(std::string_view bytes);
void append_hex(std::string& to, std::span<const std::byte> bytes);
/// A number in hex without leading zeros.
std::string hex_number(uint64_t value);
/// Bytes from hex; nothing when a digit is wrong or one is missing.
std::optional<std::string> from_hex(std::string_view hex);
/// A number of 1 to 16 hex digits, all of `hex`.
std::optional<uint64_t> parse_hex(std::string_view hex);

/// Takes bytes in pieces of any size and hands out what they mean. Memory is bounded by kMaxPayload and what was fed
/// last.
class PacketReader {
 public:
  enum class Kind {
    packet,    // a payload, still escaped
    damaged,   // the same, but the checksum is wrong
    too_long,  // a packet whose payload was longer than kMaxPayload and has been dropped
    ack,
    nak,
    interrupt,  // the byte 0x03 outside a packet
  };
  struct Event {
    Kind kind;
    std::string payload;
  };

  void feed(std::string_view bytes);
  /// The next event in what was fed, or nothing before more is fed.
  std::optional<Event> next();
  /// Bytes that were fed and that next() has not looked at.
  size_t unread() const { return input_.size() - position_; }
  /// Whether the packet that next() handed out last, with this payload, comes once more, directly after it.
  bool is_repeated(std::string_view payload) const;

 private:
  enum class State { outside, body, first_digit, second_digit };

  std::optional<Event> outside(char c);
  void take_body();
  Event finish(char second);

  std::string input_;
  size_t position_ = 0;
  State state_ = State::outside;
  std::string body_;
  bool overflowed_ = false;
  char first_digit_ = 0;
};

}  // namespace gcore::gdbstub
