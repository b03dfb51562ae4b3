// The tests that need a KVM that runs small guests: on this machine's, or else on that of an emulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace gcore::tests {
namespace {

constexpr auto kLimit = std::chrono::minutes(10);

/// This machine's own KVM runs a guest of two instructions.
bool this_machine_runs_guests(const std::string& tests) {
  return run({tests, "--gtest_filter=KvmProbe.*"}, kLimit).status == ExitStatus{0, 0};
}

TEST(Kvm, TheHelperReadsWhatTheKernelHas) {
  const std::string tests = build_dir() + "/tests/bin/kvm_guest_tests";
  const bool here = this_machine_runs_guests(tests);
  std::printf("KVM of %s\n", here ? "this machine" : "an emulated machine");
  const Completed done =
      here ? run({tests}, kLimit)
           : run({source_dir() + "/tests/kvm/nested", "--bin", build_dir() + "/bin", "--run", tests}, kLimit);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out << done.err;
  EXPECT_THAT(done.out, testing::HasSubstr("[  PASSED  ]")) << done.err;
}

}  // namespace
}  // namespace gcore::tests
