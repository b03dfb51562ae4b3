// --backtrace and --symbols, on a stack made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/inspect/sample.h"

namespace gcore::tests {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

// Where the functions of guest.c are linked to, and where the sample maps code and data.
constexpr uint64_t kLeaf = 0x400100, kMiddle = 0x400200, kOuter = 0x400300, kFreed = 0x600100, kStack = 0x401000,
                   kStackPhysical = 0xa000;

/// The sample with one vCPU, which has just been called: the return address is on top of the stack.
DumpBuilder dump_with_stack(const std::vector<uint64_t>& stack, uint64_t rbp = 0, uint64_t pc = kLeaf) {
  Bytes memory;
  memory.text(sample_memory());
  for (size_t i = 0; i < stack.size(); ++i) memory.put(kStackPhysical + 8 * i, stack[i], 8);
  QnxNote note = sample_note();
  note.faulting_cpu = 0;
  note.cpus.erase(note.cpus.begin());
  note.cpus[0].registers["rip"] = pc;
  note.cpus[0].registers["rsp"] = kStack;
  note.cpus[0].registers["rbp"] = rbp;
  DumpBuilder dump;
  dump.note(note.build()).memory(0, memory.str());
  return dump;
}

TEST(Backtrace, FollowsUnwindTables) {
  // Behind the first instruction of each caller: there, too, the frame is the return address alone.
  const Completed done =
      Inspect().with(dump_with_stack({kMiddle + 1, kOuter + 1, 0}), {"--symbols", GCORE_INSPECT_GUEST, "--backtrace"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_THAT(done.out, ContainsRegex("#0 +0x0000000000400100  leaf at .*guest.c:5\n"
                                      "  #1 +0x0000000000400201  middle at .*guest.c:6\n"
                                      "  #2 +0x0000000000400301  outer at .*guest.c:7\n$"));
}

TEST(Backtrace, FollowsFramePointersWithoutSymbols) {
  // Two frames: saved frame pointer, return address.
  const Completed done = Inspect().with(dump_with_stack({0, kStack + 0x20, 0x400040, 0, 0, 0x400080, 0}, kStack + 8),
                                        {"--backtrace", "--vcpu", "0"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_THAT(done.out, ContainsRegex("#0 +0x0000000000400100  \\?\\?\n"
                                      "  #1 +0x0000000000400040  \\?\\?\n"
                                      "  #2 +0x0000000000400080  \\?\\?\n$"));
}

// Linux frees the functions through which vCPU 0 came to its idle loop.
TEST(Backtrace, GoesOnThroughCodeThatWasFreed) {
  const DumpBuilder dump = dump_with_stack({kMiddle + 1, kOuter + 1, kFreed + 1, 0});
  EXPECT_THAT(Inspect().with(dump, {"--symbols", GCORE_INSPECT_GUEST, "--backtrace"}).out,
              ContainsRegex("#3 +0x0000000000600101  freed at .*guest.c:8\n$"));
}

TEST(Backtrace, SaysThatAStrippedFileHasNoNames) {
  const Inspect inspect;
  const std::string bare = inspect.folder().path("bare.elf");
  ASSERT_EQ(run({"strip", "-o", bare, GCORE_INSPECT_GUEST}).status, (ExitStatus{0, 0}));
  const Completed done = inspect.with(dump_with_stack({kMiddle + 1, kOuter + 1, 0}),
                                      {"--symbols", "bare.elf", "--kaslr-offset", "none", "--backtrace"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0}));
  EXPECT_EQ(done.err, "gcore-inspect: bare.elf has neither symbols nor debug information: it was stripped of them\n");
  EXPECT_THAT(done.out, HasSubstr("#2 "));  // its unwind tables are still there
}

TEST(Backtrace, SaysWhereTheWayIsLost) {
  const Inspect inspect;
  EXPECT_THAT(inspect.with(dump_with_stack({}, 0x700000000), {"--backtrace"}).out,
              HasSubstr("no further: the stack at 0x700000000 cannot be read"));
  EXPECT_THAT(inspect.with(dump_with_stack({0, 0x401800, 0x401900}, kStack + 8), {"--backtrace"}).out,
              HasSubstr("no further: the return address 0x401900 is not in executable memory"));
}

// What a kernel is built with today: the register holds anything.
TEST(Backtrace, SaysThatThereAreNoFramePointers) {
  const Inspect inspect;
  for (const auto& [rbp, text] : {std::pair{uint64_t{0}, "0x0"}, {uint64_t{5}, "0x5"}, {kStack - 0x800, "0x400800"}}) {
    const std::string why =
        std::string("no unwind table covers this pc, and rbp (") + text + ") is no frame pointer: give --symbols";
    EXPECT_THAT(inspect.with(dump_with_stack({0, 0}, rbp), {"--backtrace"}).out, HasSubstr("no further: " + why));
    EXPECT_THAT(inspect.with(dump_with_stack({0, 0}, rbp), {"--json"}).out, HasSubstr("\"note\": \"" + why));
  }
  EXPECT_THAT(inspect.with(dump_with_stack({0}, 0, 0x400010), {"--backtrace", "--symbols", GCORE_INSPECT_GUEST}).out,
              HasSubstr("no further: no unwind table of --symbols covers this pc"));
}

TEST(Backtrace, EndsOnChainsThatDoNot) {
  const Inspect inspect;
  // A frame that is its own caller, and two that call each other.
  for (const auto& stack : {std::vector<uint64_t>{0, kStack + 8, kLeaf}, {0, kStack + 24, kLeaf, kStack + 8, kLeaf}}) {
    const Completed done = inspect.with(dump_with_stack(stack, kStack + 8), {"--backtrace"});
    EXPECT_EQ(done.status, (ExitStatus{0, 0}));
    EXPECT_THAT(done.out, HasSubstr("no further"));
  }
}

TEST(Symbols, NameAddressesInOtherModes) {
  const Inspect inspect;
  const DumpBuilder dump = dump_with_stack({}, 0, kMiddle + 1);
  const std::vector<std::string> symbols = {"--symbols", GCORE_INSPECT_GUEST};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), symbols.begin(), symbols.end());
    return inspect.with(dump, more).out;
  };
  EXPECT_THAT(with({}), ContainsRegex("middle\\+0x1 at .*guest.c:6"));
  EXPECT_THAT(with({"--registers"}), ContainsRegex("in middle\\+0x1 at .*guest.c:6"));
  EXPECT_THAT(with({"--translate", "0x400300"}), ContainsRegex("0x0000000000400300  outer at .*guest.c:7"));
}

TEST(Symbols, ThatNameNoProgramCounterAreDoubted) {
  EXPECT_THAT(Inspect()({"sample.gcore", "--symbols", GCORE_INSPECT_GUEST}).err,
              HasSubstr("no symbol is at the program counter of any vCPU"));
  EXPECT_EQ(Inspect().with(dump_with_stack({}), {"--symbols", GCORE_INSPECT_GUEST}).err, "");
}

TEST(Symbols, AKernelForABootLoaderHasNone) {
  const Inspect inspect;
  inspect.folder().write("bzImage", Bytes().text("MZ").pad_to(0x202).text("HdrS").pad_to(4096).str());
  inspect.folder().write("Image", Bytes().text("MZ").pad_to(0x38).text("ARM\x64").pad_to(4096).str());
  ASSERT_EQ(run({"gzip", "--keep", inspect.folder().path("Image")}).status, (ExitStatus{0, 0}));
  for (const char* file : {"bzImage", "Image", "Image.gz"}) {
    const Completed done = inspect({"sample.gcore", "--symbols", file});
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_THAT(done.err, testing::AllOf(HasSubstr(file), HasSubstr("vmlinux with debug information")));
  }
}

TEST(Symbols, WrongFilesAreToldByName) {
  const Inspect inspect;
  inspect.folder().write("text", "no ELF");
  DumpBuilder arm;
  arm.machine = kEmAarch64;
  arm.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {}))).memory(0, "m");
  for (const Completed& done :
       {inspect({"sample.gcore", "--symbols", "absent.elf"}), inspect({"sample.gcore", "--symbols", "text"}),
        inspect.with(arm, {"--symbols", GCORE_INSPECT_GUEST})}) {
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_EQ(done.out, "");
    EXPECT_THAT(done.err, ContainsRegex("^gcore-inspect: read symbols: .*(absent.elf|text|guest.elf): .*\n$"));
  }
}

}  // namespace
}  // namespace gcore::tests
