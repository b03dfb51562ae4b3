// Which registers are of user mode.
#include <gtest/gtest.h>

#include "reader/guest/linux/unwind_machine.h"

namespace gcore::reader::linux_guest {
namespace {

TEST(UserMode, OfX86IsRing3ButForXensParavirtualizedKernels) {
  constexpr uint64_t kKernel = 0xffffffff81000100, kProgram = 0x401000, kVsyscall = 0xffffffffff600000;
  struct Case {
    uint64_t cs, rip;
    bool is_user;
  };
  for (const auto& [cs, rip, is_user] : {Case{0x10, kKernel, false},
                                         {0x33, kProgram, true},
                                         {0x23, kProgram, true},
                                         {0x33, kVsyscall, true},
                                         {0xe033, kProgram, true},
                                         {0xe033, kKernel, false},
                                         {0xe030, kKernel, false}}) {
    format::RegisterFile registers(format::Machine::x86_64);
    EXPECT_FALSE(is_user_mode(registers));
    registers.put("cs", cs);
    registers.put("rip", rip);
    EXPECT_EQ(is_user_mode(registers), is_user) << std::hex << cs << " " << rip;
  }
}

}  // namespace
}  // namespace gcore::reader::linux_guest
