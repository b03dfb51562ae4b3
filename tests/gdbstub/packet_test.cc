#include "gdbstub/protocol/packet.h"

#include <gtest/gtest.h>

#include "tests/gdbstub/conversation.h"

namespace gcore::tests {
namespace {

using namespace gdbstub;

std::string framed(std::string_view payload, RunLength run_length = RunLength::on) {
  return frame(payload, run_length);
}

TEST(Packet, FramesWithChecksum) {
  EXPECT_EQ(framed(""), "$#00");
  EXPECT_EQ(framed("OK"), "$OK#9a");
}

TEST(Packet, EscapesWhatWouldEndOrStartAPacket) {
  const std::string all = framed("a#b$c}d*e", RunLength::off);
  EXPECT_EQ(all.substr(0, all.size() - 3),
            "$a}\x03"
            "b}\x04"
            "c}]d}\ne");
}

TEST(Packet, RunsOfFourAndMoreAreEncoded) {
  EXPECT_EQ(framed("0000").substr(0, 4), "$0* ");  // 3 more = ' '
  EXPECT_EQ(framed("000").substr(0, 4), "$000");
  EXPECT_EQ(framed("0000", RunLength::off).substr(0, 5), "$0000");
}

TEST(Packet, EveryRunLengthAndByteSurvives) {
  for (size_t length = 0; length < 300; ++length) {
    for (const char c : {'0', 'x', '\0', '}', '*', '#', '$', '\x03'}) {
      const std::string payload = "a" + std::string(length, c) + "b";
      const std::string wire = framed(payload);
      // The count must not look like a packet's start or end, or like an acknowledgement.
      for (size_t i = 1; i + 4 < wire.size(); ++i)
        EXPECT_FALSE(wire[i] == '*' && std::string_view("#$+-").find(wire[i + 1]) != std::string_view::npos) << length;
      std::string outside;
      EXPECT_EQ(decode(wire, outside), std::vector{payload}) << length << " of " << int{c};
    }
  }
}

TEST(Packet, MemoryIsHexWithRuns) {
  for (size_t length = 1; length < 300; ++length) {
    for (const int value : {0x00, 0x12, 0x21, 0x11, 0xff, 0xa0}) {
      std::string memory = "\x01" + std::string(length, static_cast<char>(value)) + std::string("\x10\x00\x23", 3);
      for (const size_t cut : {0, 1, 3}) {
        const std::string part = memory.substr(0, memory.size() - cut);
        const std::string wire = frame_hex(std::as_bytes(std::span(part)));
        std::string outside;
        EXPECT_EQ(decode(wire, outside), std::vector{hex(part)}) << length << " of " << value;
        for (const char* look_alike : {"*#", "*$", "*+", "*-"})
          EXPECT_EQ(wire.substr(0, wire.size() - 3).find(look_alike), std::string::npos);
      }
    }
  }
  EXPECT_LT(frame_hex(std::vector<std::byte>(65536)).size(), 4100u);
  EXPECT_EQ(frame_hex({}), "$#00");
}

TEST(Packet, ZerosShrinkALot) { EXPECT_LT(framed(std::string(65536, '0')).size(), 2100u); }

TEST(Packet, UnescapeDropsALonelyEscape) {
  EXPECT_EQ(unescape("a}\x03"
                     "b"),
            "a#b");
  EXPECT_EQ(unescape("a}"), "a");
}

TEST(Packet, Hex) {
  EXPECT_EQ(hex_number(0), "0");
  EXPECT_EQ(hex_number(UINT64_MAX), "ffffffffffffffff");
  EXPECT_EQ(parse_hex("fF"), 255u);
  EXPECT_EQ(parse_hex(""), std::nullopt);
  EXPECT_EQ(parse_hex("0x1"), std::nullopt);
  EXPECT_EQ(parse_hex("-1"), std::nullopt);
  EXPECT_EQ(parse_hex("11111111111111111"), std::nullopt);
  EXPECT_EQ(from_hex("414"), std::nullopt);
  EXPECT_EQ(from_hex("4g"), std::nullopt);
  EXPECT_EQ(from_hex("4142"), "AB");
}

std::vector<PacketReader::Event> read_all(std::string_view bytes, size_t piece) {
  PacketReader reader;
  std::vector<PacketReader::Event> events;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    reader.feed(bytes.substr(at, piece));
    while (auto event = reader.next()) events.push_back(std::move(*event));
  }
  return events;
}

TEST(PacketReader, PiecesOfAnySizeMeanTheSame) {
  const std::string stream = "+$g#67-\x03noise$m0,4#fd$bad#00";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    const auto events = read_all(stream, piece);
    ASSERT_EQ(events.size(), 6u) << piece;
    using enum PacketReader::Kind;
    EXPECT_EQ(events[0].kind, ack);
    EXPECT_EQ(events[1].kind, packet);
    EXPECT_EQ(events[1].payload, "g");
    EXPECT_EQ(events[2].kind, nak);
    EXPECT_EQ(events[3].kind, interrupt);
    EXPECT_EQ(events[4].payload, "m0,4");
    EXPECT_EQ(events[5].kind, damaged);
    EXPECT_EQ(events[5].payload, "bad");
  }
}

TEST(PacketReader, ADollarStartsOver) {
  const auto events = read_all("$cut o$g#67", 3);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].payload, "g");
}

TEST(PacketReader, ChecksumDigitsMustBeHex) {
  const auto events = read_all("$g#zz", 64);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, PacketReader::Kind::damaged);
}

TEST(PacketReader, TheLongestPayloadIsTakenAndOneMoreByteIsNot) {
  for (const size_t extra : {0, 1}) {
    const std::string body(kMaxPayload + extra, 'a');
    const auto events = read_all(tests::packet(body) + "$g#67", 5000);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, extra == 0 ? PacketReader::Kind::packet : PacketReader::Kind::too_long);
    EXPECT_EQ(events[1].payload, "g");
  }
}

TEST(PacketReader, AnEndlessPacketTakesNoMemory) {
  PacketReader reader;
  reader.feed("$");
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 1024; ++i) {
    reader.feed(piece);
    ASSERT_FALSE(reader.next().has_value());
    ASSERT_EQ(reader.unread(), 0u);
  }
  reader.feed("#00");
  const auto event = reader.next();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, PacketReader::Kind::too_long);
}

}  // namespace
}  // namespace gcore::tests
