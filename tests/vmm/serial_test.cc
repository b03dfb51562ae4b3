// The serial port as a driver sees it: PC16550D's registers, by their numbers.
#include "tools/gcore-vmm/serial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace gcore::tools::vmm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class SerialTest : public testing::Test {
 protected:
  std::vector<bool> levels_;
  Serial8250 port_{[this](bool level) { levels_.push_back(level); }};
};

TEST_F(SerialTest, WhatIsWrittenGoesOut) {
  EXPECT_EQ(port_.read(5), 0x60);  // empty, nothing received
  EXPECT_EQ(port_.write(0, 'x'), 'x');
  EXPECT_EQ(port_.read(5), 0x60);
  EXPECT_THAT(levels_, IsEmpty());  // no interrupt is enabled
}

TEST_F(SerialTest, TheDivisorIsNotTheDataRegister) {
  port_.write(3, 0x83);
  EXPECT_EQ(port_.write(0, 1), std::nullopt);
  EXPECT_EQ(port_.write(1, 2), std::nullopt);
  EXPECT_EQ(port_.read(0), 1);
  EXPECT_EQ(port_.read(1), 2);
  port_.write(3, 3);
  EXPECT_EQ(port_.read(1), 0);
  EXPECT_EQ(port_.write(0, 'a'), 'a');
}

TEST_F(SerialTest, ReceivedBytesInterruptUntilTheyAreRead) {
  port_.write(1, 1);
  EXPECT_TRUE(port_.receive("ab"));
  EXPECT_EQ(port_.read(2) & 0xf, 4);
  EXPECT_EQ(port_.read(5), 0x61);
  EXPECT_EQ(port_.read(0), 'a');
  EXPECT_EQ(port_.read(0), 'b');
  EXPECT_EQ(port_.read(5), 0x60);
  EXPECT_EQ(port_.read(2) & 0xf, 1);
  EXPECT_THAT(levels_, ElementsAre(true, false));
}

TEST_F(SerialTest, AnEmptyTransmitterInterruptsOnceAndAgainAfterAByte) {
  port_.write(1, 2);
  EXPECT_EQ(port_.read(2) & 0xf, 2);
  EXPECT_EQ(port_.read(2) & 0xf, 1);
  port_.write(0, 'x');
  EXPECT_EQ(port_.read(2) & 0xf, 2);
  EXPECT_THAT(levels_, ElementsAre(true, false, true, false));
}

TEST_F(SerialTest, DriversTakeItForA16550A) {
  port_.write(2, 1);
  EXPECT_EQ(port_.read(2), 0xc1);
  port_.write(1, 0xff);
  EXPECT_EQ(port_.read(1), 0xf);
  port_.write(7, 0x5a);
  EXPECT_EQ(port_.read(7), 0x5a);
  // The loop: OUT2 and RTS come back as DCD and CTS; bytes come back too.
  port_.write(4, 0x1a);
  EXPECT_EQ(port_.read(6) & 0xf0, 0x90);
  EXPECT_EQ(port_.write(0, 'l'), std::nullopt);
  EXPECT_EQ(port_.read(0), 'l');
}

TEST_F(SerialTest, WhoTypesMoreThanTheGuestReadsWaits) {
  auto typed = std::async(std::launch::async, [this] { return port_.receive(std::string(5000, 'x')); });
  for (int i = 0; i < 5000;) {
    if ((port_.read(5) & 1) == 0) continue;
    EXPECT_EQ(port_.read(0), 'x');
    ++i;
  }
  EXPECT_TRUE(typed.get());
  auto stuck = std::async(std::launch::async, [this] { return port_.receive(std::string(5000, 'y')); });
  port_.close();
  EXPECT_FALSE(stuck.get());
  EXPECT_FALSE(port_.receive("z"));
}

}  // namespace
}  // namespace gcore::tools::vmm
