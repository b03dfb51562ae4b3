// The tests that need a KVM that runs small guests: on this machine's, or else on that of an emulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>

#include "tests/docs/markdown.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/regex.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

constexpr auto kLimit = std::chrono::minutes(14);

std::string guest_tests() { return build_dir() + "/tests/bin/kvm_guest_tests"; }

/// This machine's own KVM runs a guest of two instructions.
bool this_machine_runs_guests() {
  static const bool runs = run({guest_tests(), "--gtest_filter=KvmProbe.*"}, kLimit).status == ExitStatus{0, 0};
  return runs;
}

class Kvm : public testing::Test {
 protected:
  /// All that tests/kvm/nested does in an emulated machine, which is booted once for all of these tests. The script
  /// says what it checks.
  static const Completed& emulated() {
    static const TempDir dir;
    static const Completed done =
        run({source_dir() + "/tests/kvm/nested", "--bin", build_dir() + "/bin", "--keep", dir.path()}, kLimit);
    return done;
  }
  static void expect_of_emulated(const std::string& word) {
    std::printf("KVM of an emulated machine\n");
    EXPECT_EQ(emulated().status, (ExitStatus{0, 0})) << emulated().out << emulated().err;
    EXPECT_THAT(emulated().out, HasSubstr(word)) << emulated().err;
  }
};

TEST_F(Kvm, TheHelperReadsWhatTheKernelHas) {
  if (!this_machine_runs_guests()) return expect_of_emulated("the helper: [  PASSED  ]");
  std::printf("KVM of this machine\n");
  const Completed done = run({guest_tests()}, kLimit);
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("[  PASSED  ]")) << done.err;
}

// Every register of a guest of ours, dumped by gcore-vmm. This machine's KVM may run small guests and not this one,
// which has AVX and more.
TEST_F(Kvm, EveryRegisterOfAKnownGuestIsInItsDump) {
  if (this_machine_runs_guests()) {
    TempDir dir;
    const std::string config =
        dir.write("vm.conf", "system registers\nengine kvm\ncpu\ncpu\nram 16M\nload " + build_dir() +
                                 "/tests/kvm/registers-x86_64.elf\ndump " + dir.path() + "\n");
    Process vmm({program("gcore-vmm"), config});
    // Either vCPU 1 says that it is ready, or one of them says why it stopped.
    if (vmm.wait_for_line(Process::Stream::out, "cpu 1 ready", 20s)) {
      std::printf("KVM of this machine\n");
      vmm.signal(SIGUSR2);
      const auto line = vmm.wait_for_line(Process::Stream::err, "dump written: ");
      ASSERT_TRUE(line) << vmm.err();
      const std::string path = regex_replace(*line, Regex("^.*dump written: (.*) \\(.*$"), "$1");
      const Completed compared = run({build_dir() + "/tests/bin/registers_check", path});
      EXPECT_EQ(compared.status, (ExitStatus{0, 0})) << compared.out;
      return;
    }
    EXPECT_THAT(vmm.err(), HasSubstr("stopped: ")) << "neither ready nor stopped";
  }
  expect_of_emulated(", 0 wrong");
}

// Debian's kernel, several vCPUs, in gcore-vmm: what its own drivers of watchdog and pvpanic bring about.
TEST_F(Kvm, LinuxIsDumpedOnSignalWatchdogAndPanic) { expect_of_emulated("dumps of sigusr2 watchdog panic: whole"); }

/// The block of docs/embedding.md whose first line names this file.
std::string example(const std::string& file) {
  for (const Block& block : blocks_of(read_file(source_dir() + "/docs/embedding.md")))
    if (block.first_line() == "// " + file) return block.text;
  ADD_FAILURE() << "docs/embedding.md has no " << file;
  return {};
}

struct Example {
  const char* file;
  std::vector<std::string> compiler;
  bool takes_signals;
};

// Where KVM is missing each of them has to say so and end.
TEST_F(Kvm, TheVmmsOfTheDocumentationDumpTheirGuests) {
  const std::string library = build_dir() + "/writer/libgcore_writer.a", root = source_dir();
  const Example examples[] = {
      {"kvm-vmm.cc", {"g++", "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I" + root}, true},
      {"kvm-vmm.c",
       {"gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I" + root + "/writer", "-I" + root + "/writer/kvm"},
       true},
      {"kvm_vmm.rs", {"rustc", "--edition", "2021", "-D", "warnings"}, false},
  };
  for (const Example& each : examples) {
    SCOPED_TRACE(each.file);
    TempDir dir;
    const std::string source = dir.write(each.file, example(each.file)), vmm_path = dir.path("vmm");
    std::vector<std::string> command = each.compiler;
    command.insert(command.end(), {source, "-o", vmm_path});
    for (const std::string argument : {library.c_str(), "-lzstd", "-lz", "-lstdc++", "-lpthread"}) {
      if (each.compiler[0] == "rustc") command.emplace_back("-C");
      command.push_back((each.compiler[0] == "rustc" ? "link-arg=" : "") + argument);
    }
    const Completed compiled = run(command, kLimit);
    ASSERT_EQ(compiled.status, (ExitStatus{0, 0})) << compiled.err;

    Process vmm({vmm_path, dir.path()});
    if (!this_machine_runs_guests()) {
      EXPECT_NE(vmm.wait(), (ExitStatus{0, 0}));
      continue;
    }
    if (each.takes_signals) {
      ASSERT_TRUE(vmm.wait_for_line(Process::Stream::out, "ready")) << vmm.err();
      for (int i = 0; i < 2; ++i) {
        vmm.signal(SIGUSR2);
        ASSERT_TRUE(vmm.wait_for_line(Process::Stream::out, "dump written: ")) << vmm.out() << vmm.err();
      }
      vmm.signal(SIGTERM);
    }
    EXPECT_EQ(vmm.wait(), (ExitStatus{0, 0})) << vmm.err();
    size_t dumps = 0;
    for (const std::string& name : dir.entries()) {
      if (!name.ends_with(".gcore")) continue;
      ++dumps;
      const Completed shown = run({program("gcore-inspect"), dir.path(name), "--registers", "0"});
      EXPECT_EQ(shown.status, (ExitStatus{0, 0})) << shown.err;
      EXPECT_THAT(shown.out, testing::ContainsRegex("cr0 +0x0000000060000010")) << shown.out;
      EXPECT_EQ(run({program("gcore-inspect"), dir.path(name), "--verify"}).status, (ExitStatus{0, 0}));
    }
    EXPECT_EQ(dumps, each.takes_signals ? 2U : 1U);
  }
}

}  // namespace
}  // namespace gcore::tests
