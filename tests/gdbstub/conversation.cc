#include "tests/gdbstub/conversation.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace gcore::tests {

std::string packet(std::string_view payload) {
  unsigned sum = 0;
  for (const char c : payload) sum += static_cast<unsigned char>(c);
  char tail[4];
  std::snprintf(tail, sizeof tail, "#%02x", sum & 0xff);
  return "$" + std::string(payload) + tail;
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += digits;
  }
  return out;
}

std::string unhex(std::string_view digits) {
  std::string out;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  return out;
}

std::vector<std::string> decode(std::string_view stream, std::string& outside) {
  std::vector<std::string> packets;
  for (size_t at = 0; at < stream.size();) {
    if (stream[at] != '$') {
      outside += stream[at++];
      continue;
    }
    const size_t end = stream.find('#', at);
    if (end == std::string_view::npos || end + 2 >= stream.size()) {
      ADD_FAILURE() << "a packet that does not end: " << stream.substr(at, 100);
      return packets;
    }
    const std::string_view body = stream.substr(at + 1, end - at - 1);
    EXPECT_EQ(packet(body), stream.substr(at, end + 3 - at)) << "checksum";
    std::string expanded;
    for (size_t i = 0; i < body.size(); ++i) {
      if (body[i] == '*' && i + 1 < body.size() && !expanded.empty()) {
        EXPECT_GE(body[i + 1], ' ');
        expanded.append(static_cast<size_t>(body[++i] - 29), expanded.back());
      } else {
        expanded += body[i];
      }
    }
    std::string plain;
    for (size_t i = 0; i < expanded.size(); ++i)
      plain += expanded[i] == '}' && i + 1 < expanded.size() ? static_cast<char>(expanded[++i] ^ 0x20) : expanded[i];
    packets.push_back(plain);
    at = end + 3;
  }
  return packets;
}

std::string Conversation::raw(std::string_view bytes) {
  session.receive(bytes);
  std::string out;
  do {
    while (session.step()) {
    }
    out += session.output();
    const bool stuck = session.output().size() >= gdbstub::Session::kOutputLimit;
    session.output().clear();
    if (!stuck) break;
  } while (true);
  return out;
}

std::string Conversation::ask(std::string_view payload) {
  std::string outside;
  const auto packets = decode(raw(packet(payload)), outside);
  EXPECT_EQ(outside, acknowledgements ? "+" : "") << payload;
  console.clear();
  std::vector<std::string> replies;
  for (const std::string& each : packets) {
    const bool text = each.size() > 1 && each[0] == 'O' && each != "OK";
    text ? console += unhex(std::string_view(each).substr(1)) : (replies.push_back(each), console);
  }
  EXPECT_EQ(replies.size(), 1u) << payload;
  return replies.empty() ? "(no reply)" : replies.back();
}

std::string Conversation::monitor(std::string_view command) {
  EXPECT_EQ(ask("qRcmd," + hex(command)), "OK") << command;
  return console;
}

}  // namespace gcore::tests
