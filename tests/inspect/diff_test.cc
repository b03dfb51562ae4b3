// --diff: registers and pages that differ, told apart from those that nothing can be said of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llvm/Support/JSON.h>

#include <algorithm>

#include "tests/inspect/guest_vm.h"
#include "tests/inspect/sample.h"

namespace gcore::tests {
namespace {

namespace json = llvm::json;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

constexpr size_t kPage = 4096;

DumpBuilder with_memory(const std::string& memory, const QnxNote& note = sample_note()) {
  DumpBuilder dump;
  dump.note(note.build()).memory(0, memory);
  return dump;
}

struct Diff {
  TempDir folder;
  Diff(const DumpBuilder& a, const DumpBuilder& b) {
    a.write(folder.path("a"));
    b.write(folder.path("b"));
  }
  Completed operator()(std::vector<std::string> more = {}) const {
    std::vector<std::string> argv{program("gcore-inspect"), "a", "--diff", "b"};
    argv.insert(argv.end(), more.begin(), more.end());
    Process::Options options;
    options.directory = folder.path();
    return run(argv, 60s, {}, options);
  }
  json::Object parsed() const {
    const Completed done = (*this)({"--json"});
    EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
    auto value = json::parse(done.out);
    EXPECT_TRUE(static_cast<bool>(value)) << done.out;
    return value ? std::move(*value->getAsObject()) : json::Object{};
  }
};

int64_t pages(const json::Object& diff, const char* kind) {
  return diff.getObject("memory")->getObject("pages")->getInteger(kind).value_or(-1);
}

/// "address pages kind" of each range.
std::vector<std::string> ranges(const json::Object& diff) {
  std::vector<std::string> all;
  for (const json::Value& value : *diff.getObject("memory")->getArray("ranges")) {
    const json::Object& range = *value.getAsObject();
    all.push_back(range.getString("address")->str() + " " + std::to_string(*range.getInteger("pages")) + " " +
                  range.getString("kind")->str());
  }
  return all;
}

TEST(Diff, OfADumpWithItselfIsNothing) {
  const Diff diff(sample_dump(), sample_dump());
  const Completed text = diff({"--exit-code"});
  EXPECT_EQ(text.status, (ExitStatus{0, 0})) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("registers: all are equal"), HasSubstr("No difference.")));
  const json::Object parsed = diff.parsed();
  EXPECT_EQ(parsed.getBoolean("identical"), true);
  EXPECT_EQ(pages(parsed, "equal"), 16 + 1024);
  EXPECT_EQ(ranges(parsed), std::vector<std::string>{});
}

TEST(Diff, FindsPagesAndBytes) {
  std::string before(16 * kPage, 'x'), after = before;
  after[0] = 'y';
  after[3 * kPage + 7] = after[4 * kPage] = after[4 * kPage + 1] = '\0';
  after[16 * kPage - 1] = 'z';
  const Diff diff(with_memory(before), with_memory(after));
  const json::Object parsed = diff.parsed();
  EXPECT_EQ(ranges(parsed), (std::vector<std::string>{"0x0 1 differs", "0x3000 2 differs", "0xf000 1 differs"}));
  EXPECT_EQ(parsed.getObject("memory")->getInteger("bytes_differ"), 5);
  EXPECT_EQ(pages(parsed, "equal"), 12);
  EXPECT_EQ(parsed.getBoolean("identical"), false);
  EXPECT_THAT(diff().out, AllOf(ContainsRegex("0x0000000000003000-0x0000000000004fff +2 +3 +differs"),
                                HasSubstr("3 ranges, 4 pages of 16 differ")));
  const Completed code = diff({"--exit-code"});
  EXPECT_EQ(code.status, (ExitStatus{1, 0}));
  EXPECT_EQ(code.err, "gcore-inspect: compare a with b: they differ\n");
  EXPECT_EQ(diff().status, (ExitStatus{0, 0}));
}

TEST(Diff, AHoleAndStoredZerosAreEqual) {
  DumpBuilder hole;
  hole.note(sample_note().build()).hole(0, 8 * kPage);
  EXPECT_EQ(Diff(hole, with_memory(std::string(8 * kPage, '\0'))).parsed().getBoolean("identical"), true);
  EXPECT_EQ(ranges(Diff(hole, with_memory(std::string(7 * kPage, '\0') + std::string(kPage, 'x'))).parsed()),
            (std::vector<std::string>{"0x7000 1 differs"}));
}

TEST(Diff, TellsWhatIsMissingFromWhatDiffers) {
  DumpBuilder a, b;
  const std::string page(kPage, 'p');
  // 0: both. 0x10000: A only. 0x20000: B only. 0x30000: A left it out. 0x40000: B is cut in the middle.
  a.note(sample_note().build()).memory(0, page).memory(0x10000, page);
  a.header({.address = 0x30000, .memory_size = 2 * kPage}).memory(0x40000, page + page);
  b.note(sample_note().build()).memory(0, page).memory(0x20000, page).memory(0x30000, page + page);
  b.memory(0x40000, page + page);
  b.cut(b.build().size() - kPage);
  const Diff diff(a, b);
  EXPECT_EQ(ranges(diff.parsed()), (std::vector<std::string>{"0x10000 1 only_a", "0x20000 1 only_b",
                                                             "0x30000 2 missing_a", "0x41000 1 missing_b"}));
  EXPECT_EQ(pages(diff.parsed(), "equal"), 2);
  EXPECT_THAT(diff().out,
              AllOf(HasSubstr("only A has memory"), HasSubstr("only B has memory"), HasSubstr("missing in A"),
                    HasSubstr("missing in B"), HasSubstr("0 pages of 2 differ")));
}

TEST(Diff, ComparesPagesThatEndEarlyOrStartLate) {
  DumpBuilder a, b;
  a.note(sample_note().build()).memory(0x1100, std::string(0x800, 'q'));
  b.note(sample_note().build()).memory(0x1100, std::string(0x7ff, 'q') + "r");
  EXPECT_EQ(ranges(Diff(a, b).parsed()), (std::vector<std::string>{"0x1000 1 differs"}));
  EXPECT_EQ(Diff(a, a).parsed().getBoolean("identical"), true);
}

// Of a page that is there in part, nothing can be said of the rest: that does not make it differ.
TEST(Diff, ComparesWhatBothHaveOfAPage) {
  DumpBuilder whole, cut;
  whole.note(sample_note().build()).memory(0, std::string(2 * kPage, 'x'));
  cut.note(sample_note().build()).memory(0, std::string(2 * kPage, 'x'));
  cut.cut(cut.build().size() - kPage / 2);
  EXPECT_EQ(ranges(Diff(whole, cut).parsed()), (std::vector<std::string>{"0x1000 1 missing_b"}));
  EXPECT_EQ(ranges(Diff(cut, whole).parsed()), (std::vector<std::string>{"0x1000 1 missing_a"}));
  EXPECT_EQ(ranges(Diff(cut, cut).parsed()), (std::vector<std::string>{"0x1000 1 missing_both"}));
  const Diff other(with_memory(std::string(kPage, 'x') + "y" + std::string(kPage - 1, 'x')), cut);
  EXPECT_EQ(ranges(other.parsed()), (std::vector<std::string>{"0x1000 1 differs"}));
  EXPECT_EQ(other.parsed().getObject("memory")->getInteger("bytes_differ"), 1);
}

TEST(Diff, PrintsNoTrailingBlanks) {
  const Diff diff(sample_dump(), with_memory(std::string(kPage, 'x')));
  EXPECT_THAT(diff().out, testing::Not(HasSubstr(" \n")));
}

TEST(Diff, FindsRegistersByVcpu) {
  QnxNote note = sample_note();
  note.cpus[1].registers["rip"] = 0x400020;
  note.cpus[1].process = "ls";
  note.cpus.push_back(note.cpus[0]);
  note.cpus[2].number = 7;
  const Diff diff(sample_dump(), with_memory(sample_memory(), note));
  const json::Object parsed = diff.parsed();
  ASSERT_EQ(parsed.getArray("cpus")->size(), 3u);
  const json::Object& user = *(*parsed.getArray("cpus"))[1].getAsObject();
  ASSERT_EQ(user.getArray("registers")->size(), 1u);
  const json::Object& rip = *(*user.getArray("registers"))[0].getAsObject();
  EXPECT_EQ(rip.getString("name"), "rip");
  EXPECT_EQ(rip.getString("a"), "0x400010");
  EXPECT_EQ(rip.getString("b"), "0x400020");
  EXPECT_EQ((*parsed.getArray("cpus"))[2].getAsObject()->getString("in"), "b");
  EXPECT_THAT(diff().out, AllOf(HasSubstr("A has 2 vCPUs, B has 3 vCPUs"), ContainsRegex(" 7 +only in B"),
                                ContainsRegex("1 +process +shell +ls"),
                                ContainsRegex("rip +0x0000000000400010 +0x0000000000400020"),
                                HasSubstr("A has 4.1 MiB of memory, B has 64.0 KiB")));
}

TEST(Diff, RefusesAnotherMachineAndBadFiles) {
  DumpBuilder arm;
  arm.machine = kEmAarch64;
  arm.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {}))).memory(0, "m");
  const Completed machines = Diff(sample_dump(), arm)();
  EXPECT_EQ(machines.status, (ExitStatus{1, 0}));
  EXPECT_EQ(machines.err,
            "gcore-inspect: compare a with b: the first is of an x86_64 machine, the second of an aarch64 one\n");
  const Inspect inspect;
  EXPECT_THAT(inspect({"sample.gcore", "--diff", "absent"}).err, HasSubstr("cannot open absent: No such file"));
  EXPECT_EQ(inspect({"-", "--diff", "-"}).status, (ExitStatus{2, 0}));
  EXPECT_EQ(inspect({"sample.gcore", "--exit-code"}).status, (ExitStatus{2, 0}));
}

TEST(Diff, ShowsProgressOnlyWhenAsked) {
  const Diff diff(sample_dump(), sample_dump());
  EXPECT_EQ(diff().err, "");
  EXPECT_THAT(diff({"--progress"}).err, ContainsRegex("^gcore-inspect: compare memory: 100 % of 64.0 KiB"));
  const Inspect inspect;
  ASSERT_EQ(run({"gzip", "--keep", inspect.folder().path("sample.gcore")}).status, (ExitStatus{0, 0}));
  EXPECT_THAT(inspect({"sample.gcore", "--diff", "sample.gcore.gz", "--progress"}).err,
              ContainsRegex("^gcore-inspect: opening sample.gcore.gz: 100 %"));
}

// The oracle is a comparison of what --read gives of both.
TEST(Diff, OfALiveGuestTakenTwice) {
  GuestVm vm;
  const std::string a = vm.dump("a.gcore"), b = vm.dump("b.gcore");
  const auto memory = [](const std::string& path) {
    return run({program("gcore-inspect"), path, "--read", "0:32M", "--phys", "--raw"}).out;
  };
  const std::string before = memory(a), after = memory(b);
  ASSERT_EQ(before.size(), size_t{32} << 20);
  ASSERT_EQ(after.size(), before.size());
  int64_t differing = 0;
  for (size_t at = 0; at < before.size(); at += kPage)
    if (before.compare(at, kPage, after, at, kPage) != 0) ++differing;
  const Completed done = run({program("gcore-inspect"), a, "--diff", b, "--json"});
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  auto parsed = json::parse(done.out);
  ASSERT_TRUE(static_cast<bool>(parsed));
  const json::Object& diff = *parsed->getAsObject();
  EXPECT_GT(differing, 0);
  EXPECT_EQ(pages(diff, "differs"), differing);
  EXPECT_EQ(pages(diff, "equal"), static_cast<int64_t>(before.size() / kPage) - differing);
  size_t registers = 0;
  for (const json::Value& cpu : *diff.getArray("cpus")) registers += cpu.getAsObject()->getArray("registers")->size();
  EXPECT_GT(registers, 0u);
}

}  // namespace
}  // namespace gcore::tests
