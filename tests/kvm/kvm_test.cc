// What needs a KVM that runs guests: this machine's, and that of an emulated machine.
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

// On this machine's own KVM, where that runs small guests at all: an emulated one is what LinuxAndOurOwnGuests has, and
// it may be slower and less of a processor than this one.
TEST(Kvm, TheHelperReadsWhatThisMachinesKernelHas) {
  if (!this_machine_runs_guests()) {
    std::printf("this machine has no KVM that runs guests\n");
    return;
  }
  const Completed helper = run({guest_tests()}, kLimit);
  EXPECT_EQ(helper.status, (ExitStatus{0, 0})) << helper.out << helper.err;
  EXPECT_THAT(helper.out, HasSubstr("[  PASSED  ]")) << helper.err;
}

// Every register of a guest of ours, dumped by gcore-vmm. This machine's KVM may run small guests and not this one,
// which has AVX and more: then it has to say why.
TEST(Kvm, EveryRegisterOfAKnownGuestOnThisMachineIsInItsDump) {
  if (!this_machine_runs_guests()) {
    std::printf("this machine has no KVM that runs guests\n");
    return;
  }
  TempDir dir;
  const std::string config =
      dir.write("vm.conf", "system registers\nengine kvm\ncpu\ncpu\nram 16M\nload " + build_dir() +
                               "/tests/kvm/registers-x86_64.elf\ndump " + dir.path() + "\n");
  Process vmm({program("gcore-vmm"), config});
  // Either vCPU 1 says that it is ready, or one of them says why it stopped.
  if (!vmm.wait_for_line(Process::Stream::out, "cpu 1 ready", 20s)) {
    EXPECT_THAT(vmm.err(), HasSubstr("stopped: ")) << "neither ready nor stopped";
    return;
  }
  vmm.signal(SIGUSR2);
  const auto line = vmm.wait_for_line(Process::Stream::err, "dump written: ");
  ASSERT_TRUE(line) << vmm.err();
  const std::string path = regex_replace(*line, Regex("^.*dump written: (.*) \\(.*$"), "$1");
  const Completed compared = run({build_dir() + "/tests/bin/registers_check", path});
  EXPECT_EQ(compared.status, (ExitStatus{0, 0})) << compared.out;
}

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

std::vector<Example> all_examples() {
  const std::string root = source_dir();
  return {
      {"kvm-vmm.cc", {"g++", "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I" + root}, true},
      {"kvm-vmm.c",
       {"gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I" + root + "/writer", "-I" + root + "/writer/kvm"},
       true},
      {"kvm_vmm.rs", {"rustc", "--edition", "2021", "-D", "warnings"}, false},
  };
}

/// Compiles it to a program of its own name.
Completed compile(const Example& each, const std::string& source, const std::string& program) {
  const std::string library = build_dir() + "/writer/libgcore_writer.a";
  std::vector<std::string> command = each.compiler;
  command.insert(command.end(), {source, "-o", program});
  for (const std::string argument : {library.c_str(), "-lzstd", "-lz", "-lstdc++", "-lpthread"}) {
    if (each.compiler[0] == "rustc") command.emplace_back("-C");
    command.push_back((each.compiler[0] == "rustc" ? "link-arg=" : "") + argument);
  }
  return run(command, kLimit);
}

// The script says what it checks, in which KVM. Debian's kernel, several vCPUs, in gcore-vmm: dumps on SIGUSR2, and
// what its own drivers of watchdog and pvpanic bring about; guests of ours; the helper. (Without --brief it boots
// Linux once more, and dumps that while it is paused.)
TEST(Kvm, LinuxAndOurOwnGuestsAreDumped) {
  TempDir dir, examples;
  for (const Example& each : all_examples()) {
    const Completed compiled = compile(each, dir.write(each.file, example(each.file)), examples.path(each.file));
    ASSERT_EQ(compiled.status, (ExitStatus{0, 0})) << compiled.err;
  }
  const Completed done = run({source_dir() + "/tests/kvm/nested", "--bin", build_dir() + "/bin", "--keep", dir.path(),
                              "--examples", examples.path(), "--brief"},
                             kLimit);
  std::printf("%s", done.out.c_str());
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out << done.err;
  for (const char* line : {"[  PASSED  ]", " registers of 2 vCPUs, 0 wrong", "2 vCPUs, all of one moment",
                           "dumps of kvm-vmm.c kvm-vmm.cc kvm_vmm.rs: whole",
                           "dumps of watchdog live panic: whole", "crash: bt -a, log and ps work"})
    EXPECT_THAT(done.out, HasSubstr(line)) << done.err;
}

// What only aarch64 compiles; tests/long/kvm-aarch64 runs it.
TEST(Kvm, TheSourcesOfAarch64Compile) {
  for (const char* source : {"writer/kvm/aarch64.cc", "writer/kvm/kvm.cc", "writer/kvm/gcore_kvm.cc",
                             "tools/gcore-vmm/kvm/aarch64.cc", "tools/gcore-vmm/kvm/engine.cc"}) {
    const Completed done = run({"aarch64-linux-gnu-g++", "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                                "-I" + source_dir(), source_dir() + "/" + source},
                               kLimit);
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  }
}

// Where KVM is missing each of them has to say so and end.
TEST(Kvm, TheVmmsOfTheDocumentationDumpTheirGuests) {
  for (const Example& each : all_examples()) {
    SCOPED_TRACE(each.file);
    TempDir dir;
    const std::string source = dir.write(each.file, example(each.file)), vmm_path = dir.path("vmm");
    const Completed compiled = compile(each, source, vmm_path);
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
