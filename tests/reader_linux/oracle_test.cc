// The guests themselves: what they say is there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/reader_linux/guests.h"

namespace gcore::tests {
namespace {

class Oracle : public testing::TestWithParam<Guest> {};

TEST_P(Oracle, SaysWhatItKnowsOfItself) {
  const LinuxOracle& oracle = linux_oracle(GetParam().recipe());
  EXPECT_THAT(oracle.release(), testing::StartsWith(GetParam().series));
  EXPECT_THAT(oracle.said("/proc/kallsyms"), testing::HasSubstr(" T schedule\n"));
  EXPECT_THAT(oracle.said("/proc/modules"), testing::HasSubstr("qemu_fw_cfg "));
  EXPECT_THAT(oracle.said("sections"), testing::HasSubstr("qemu_fw_cfg .text 0x"));
  EXPECT_THAT(oracle.said("/proc/2/task/2/stack"), testing::HasSubstr("kthreadd+0x"));
  EXPECT_THAT(oracle.said("dmesg"), testing::HasSubstr("Linux version"));
}

INSTANTIATE_TEST_SUITE_P(Each, Oracle, testing::ValuesIn(guests_and_isolating()), guest_name);

}  // namespace
}  // namespace gcore::tests
