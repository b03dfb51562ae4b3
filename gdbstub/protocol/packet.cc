#include "gdbstub/protocol/packet.h"

#include <algorithm>
#include <array>

namespace gcore::gdbstub {
namespace {

constexpr char kInterrupt = 0x03;
constexpr size_t kLongestRun = 98;  // a character and 97 more: '~' is the last count that is printable

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool needs_escape(char c) { return c == '#' || c == '$' || c == '}' || c == '*'; }

/// The count characters # and $ would end or start a packet, + and - look like acknowledgements to careless clients.
bool usable_count(size_t more) {
  const auto c = static_cast<char>(more + 29);
  return c != '#' && c != '$' && c != '+' && c != '-';
}

constexpr char kDigits[] = "0123456789abcdef";

}  // namespace

uint8_t checksum(std::string_view body) {
  uint8_t sum = 0;
  for (const char c : body) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  return sum;
}

std::string frame(std::string_view payload, RunLength run_length) {
  std::string out;
  out.reserve(payload.size() + 8);
  out += '$';
  for (size_t i = 0; i < payload.size();) {
    const char c = payload[i];
    // Escaped bytes are not run-length encoded: clients differ in whether they expand or unescape first.
    if (needs_escape(c)) {
      out += '}';
      out += static_cast<char>(c ^ 0x20);
      ++i;
      continue;
    }
    size_t run = 1;
    if (run_length == RunLength::on)
      while (run < kLongestRun && i + run < payload.size() && payload[i + run] == c) ++run;
    while (run > 3 && !usable_count(run - 1)) --run;
    if (run > 3) {
      out += c;
      out += '*';
      out += static_cast<char>(run - 1 + 29);
    } else {
      out.append(run, c);
    }
    i += run;
  }
  const uint8_t sum = checksum(std::string_view(out).substr(1));
  out += '#';
  out += kDigits[sum >> 4];
  out += kDigits[sum & 15];
  return out;
}

std::string frame_hex(std::span<const std::byte> bytes) {
  constexpr size_t kLongestBytes = kLongestRun / 2;
  static constexpr auto kPairs = [] {
    std::array<std::array<char, 2>, 256> pairs{};
    for (size_t i = 0; i < 256; ++i) pairs[i] = {kDigits[i >> 4], kDigits[i & 15]};
    return pairs;
  }();
  std::string out;
  out.resize_and_overwrite(2 * bytes.size() + 4, [bytes](char* begin, size_t) {
    char* to = begin;
    *to++ = '$';
    uint8_t sum = 0;
    const auto put = [&to, &sum](char c) {
      *to++ = c;
      sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
    };
    for (size_t i = 0; i < bytes.size();) {
      const auto value = static_cast<uint8_t>(bytes[i]);
      const char digit_of = kPairs[value][0];
      if (digit_of == kPairs[value][1] && i + 1 < bytes.size() && bytes[i + 1] == bytes[i]) {
        size_t run = 2;
        while (run < kLongestBytes && i + run < bytes.size() && bytes[i + run] == bytes[i]) ++run;
        while (!usable_count(2 * run - 1)) --run;
        if (run > 1) {
          put(digit_of);
          put('*');
          put(static_cast<char>(2 * run - 1 + 29));
          i += run;
          continue;
        }
      }
      put(kPairs[value][0]);
      put(kPairs[value][1]);
      ++i;
    }
    *to++ = '#';
    *to++ = kDigits[sum >> 4];
    *to++ = kDigits[sum & 15];
    return static_cast<size_t>(to - begin);
  });
  return out;
}

std::string unescape(std::string_view escaped) {
  std::string out;
  out.reserve(escaped.size());
  for (size_t i = 0; i < escaped.size(); ++i) {
    if (escaped[i] != '}') {
      out += escaped[i];
    } else if (i + 1 < escaped.size()) {
      out += static_cast<char>(escaped[++i] ^ 0x20);
    }
  }
  return out;
}

void append_hex(std::string& to, std::span<const std::byte> bytes) {
  const size_t start = to.size();
  to.resize(start + bytes.size() * 2);
  char* out = to.data() + start;
  for (const std::byte b : bytes) {
    const auto value = static_cast<uint8_t>(b);
    *out++ = kDigits[value >> 4];
    *out++ = kDigits[value & 15];
  }
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  append_hex(out, std::as_bytes(std::span(bytes)));
  return out;
}

std::string hex_number(uint64_t value) {
  std::string out;
  do {
    out += kDigits[value & 15];
    value >>= 4;
  } while (value != 0);
  std::ranges::reverse(out);
  return out;
}

std::optional<std::string> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit(hex[i]), low = digit(hex[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

std::optional<uint64_t> parse_hex(std::string_view hex) {
  if (hex.empty() || hex.size() > 16) return std::nullopt;
  uint64_t value = 0;
  for (const char c : hex) {
    const int d = digit(c);
    if (d < 0) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(d);
  }
  return value;
}

bool PacketReader::is_repeated(std::string_view payload) const {
  const std::string_view rest = std::string_view(input_).substr(position_);
  return state_ == State::outside && rest.starts_with('$') && rest.substr(1).starts_with(payload) &&
         rest.substr(1 + payload.size()).starts_with('#');
}

void PacketReader::feed(std::string_view bytes) {
  input_.erase(0, position_);
  position_ = 0;
  input_ += bytes;
}

std::optional<PacketReader::Event> PacketReader::next() {
  while (position_ < input_.size()) {
    if (state_ == State::body) {
      take_body();
      continue;
    }
    const char c = input_[position_++];
    switch (state_) {
      case State::outside:
        if (auto event = outside(c)) return event;
        break;
      case State::first_digit:
        first_digit_ = c;
        state_ = State::second_digit;
        break;
      case State::second_digit:
        return finish(c);
      case State::body:
        break;
    }
  }
  return std::nullopt;
}

std::optional<PacketReader::Event> PacketReader::outside(char c) {
  switch (c) {
    case '+':
      return Event{Kind::ack, {}};
    case '-':
      return Event{Kind::nak, {}};
    case kInterrupt:
      return Event{Kind::interrupt, {}};
    case '$':
      body_.clear();
      overflowed_ = false;
      state_ = State::body;
      return std::nullopt;
    default:
      return std::nullopt;  // noise on the line
  }
}

/// Takes what is left of the input up to the end of the body. A `$` inside starts over: the packet before it was cut
/// off.
void PacketReader::take_body() {
  const size_t end = std::min(input_.find_first_of("#$", position_), input_.size());
  const size_t room = overflowed_ ? 0 : kMaxPayload - body_.size();
  if (end - position_ > room) {
    overflowed_ = true;
    std::string().swap(body_);
  } else {
    body_.append(input_, position_, end - position_);
  }
  position_ = end;
  if (end == input_.size()) return;
  if (input_[position_++] == '#') {
    state_ = State::first_digit;
  } else {
    body_.clear();
    overflowed_ = false;
  }
}

PacketReader::Event PacketReader::finish(char second) {
  state_ = State::outside;
  if (overflowed_) return {Kind::too_long, {}};
  const bool good =
      digit(first_digit_) >= 0 && digit(second) >= 0 && (digit(first_digit_) << 4 | digit(second)) == checksum(body_);
  return {good ? Kind::packet : Kind::damaged, std::move(body_)};
}

}  // namespace gcore::gdbstub
