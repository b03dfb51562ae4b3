// What each mode of gcore-inspect prints: of the sample as golden files, and what is special in words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/inspect/sample.h"
#include "tests/support/foreign_files.h"
#include "tests/support/kdump_builder.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

struct Golden {
  const char* file;
  std::vector<std::string> arguments;
  int status = 0;
};
void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.file; }

class Mode : public testing::TestWithParam<Golden> {};

TEST_P(Mode, PrintsTheGoldenFile) {
  std::vector<std::string> arguments = GetParam().arguments;
  arguments.insert(arguments.begin(), "sample.gcore");
  const Completed done = Inspect()(arguments);
  EXPECT_EQ(done.status, (ExitStatus{GetParam().status, 0})) << done.err;
  EXPECT_EQ(done.out, golden(std::string(GetParam().file) + ".txt", done.out));
}

INSTANTIATE_TEST_SUITE_P(Sample, Mode,
                         testing::Values(Golden{"summary", {}}, Golden{"segments", {"--segments"}},
                                         Golden{"registers", {"--registers"}},
                                         Golden{"registers_all", {"--registers", "all"}},
                                         Golden{"translate_4k", {"--translate", "0x400010"}},
                                         Golden{"translate_2m", {"--translate", "6300212"}},
                                         Golden{"translate_1g", {"--translate", "0xffff800000008010", "--vcpu", "0"}},
                                         Golden{"translate_not_present", {"--translate", "0x700000123"}, 1},
                                         Golden{"translate_outside", {"--translate", "0x402000"}},
                                         Golden{"map", {"--map"}}, Golden{"stats", {"--stats"}},
                                         Golden{"verify", {"--verify"}}),
                         [](const auto& test) { return std::string(test.param.file); });

TEST(Translate, SaysWhyThereIsNoAnswer) {
  const Inspect inspect;
  EXPECT_THAT(inspect({"sample.gcore", "--translate", "0x8000000000000000"}).err, HasSubstr("not a canonical address"));
  const Completed hole = inspect({"sample.gcore", "--translate", "0x700000123"});
  EXPECT_EQ(hole.err, "gcore-inspect: translate 0x700000123: PDPTE at 0x20e0 is 0x0: not present\n");
}

TEST(Read, SaysHowManyZerosTheFileLacks) {
  const Inspect inspect;
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).memory(0x100000, "abcd", 16);
  const Completed physical = inspect.with(dump, {"--read", "0x100002:10", "--phys"});
  EXPECT_EQ(physical.status, (ExitStatus{0, 0}));
  EXPECT_EQ(physical.err,
            "gcore-inspect: 8 of 10 bytes are zeros that the file does not have (p_filesz < p_memsz): see "
            "--segments\n");
  EXPECT_THAT(inspect.with(dump, {"--read", "0xffff800000100003:2"}).err, HasSubstr(": 1 of 2 bytes are zeros"));
  EXPECT_THAT(inspect.with(dump, {"--segments"}).out, HasSubstr("zeros from 0x100004\n"));
  EXPECT_THAT(inspect.with(dump, {"--translate", "0xffff800000100004"}).out,
              HasSubstr("a zero that the file does not store (p_filesz < p_memsz)\n"));
  EXPECT_EQ(inspect.with(dump, {"--read", "0x100000:4", "--phys"}).err, "");
}

TEST(Read, DecimalAndHexadecimalAreTheSame) {
  const Inspect inspect;
  const Completed hex = inspect({"sample.gcore", "--read", "0x400000:0x16"});
  EXPECT_EQ(hex.out,
            "0x0000000000400000  74 68 65 20 71 75 69 63  6b 20 62 72 6f 77 6e 20  |the quick brown |\n"
            "0x0000000000400010  66 6f 78 01 ff 00                                 |fox...|\n");
  EXPECT_EQ(inspect({"sample.gcore", "--read", "4194304:22"}).out, hex.out);
  EXPECT_EQ(inspect({"sample.gcore", "--read", "0xffff800000008000:22", "--raw"}).out,
            inspect({"sample.gcore", "--read", "0x8000:22", "--phys", "--raw"}).out);
}

TEST(Read, RawIsTheBytes) {
  const Inspect inspect;
  EXPECT_EQ(inspect({"sample.gcore", "--read", "0:64K", "--phys", "--raw"}).out, sample_memory());
  EXPECT_EQ(inspect({"sample.gcore", "--read", "0x200000:4M", "--phys", "--raw"}).out, std::string(4 << 20, '\0'));
  const Completed none = inspect({"sample.gcore", "--read", "0:0", "--phys"});
  EXPECT_EQ(none.status, (ExitStatus{2, 0}));
  EXPECT_THAT(none.err, HasSubstr("LEN has to be 1 or more"));
}

TEST(Read, RepeatedRowsAreAStar) {
  EXPECT_EQ(Inspect()({"sample.gcore", "--read", "0xaff0:0x1010", "--phys"}).out,
            "0x000000000000aff0  ab ab ab ab ab ab ab ab  ab ab ab ab ab ab ab ab  |................|\n"
            "0x000000000000b000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n"
            "0x000000000000c000\n");
}

TEST(Read, PrintsWhatIsThereAndSaysWhereItEnds) {
  const Inspect inspect;
  const Completed across = inspect({"sample.gcore", "--read", "0x401ff8:16", "--raw"});
  EXPECT_EQ(across.status, (ExitStatus{1, 0}));
  EXPECT_EQ(across.out, std::string(8, '\xab'));
  EXPECT_THAT(across.err,
              AllOf(HasSubstr("read virtual 0x402000"), HasSubstr("0xfee00000"), HasSubstr("8 of 16 bytes")));
  const Completed physical = inspect({"sample.gcore", "--read", "0xfff8:16", "--phys"});
  EXPECT_EQ(physical.status, (ExitStatus{1, 0}));
  EXPECT_THAT(physical.err, AllOf(HasSubstr("read guest-physical 0x10000"), HasSubstr("in no segment")));
}

TEST(Find, PrintsGuestPhysicalAddresses) {
  const Inspect inspect;
  EXPECT_EQ(inspect({"sample.gcore", "--find", "quick"}).out, "0x0000000000008004\n");
  EXPECT_EQ(inspect({"sample.gcore", "--find", "0x01ff"}).out, "0x0000000000008013\n");
  // Overlapping ones, and one at the end of a run of them.
  EXPECT_EQ(inspect({"sample.gcore", "--find", "0xabab00"}).out, "0x000000000000affe\n");
  const Completed none = inspect({"sample.gcore", "--find", "nowhere"});
  EXPECT_EQ(none.status, (ExitStatus{1, 0}));
  EXPECT_EQ(none.out, "");
  EXPECT_THAT(none.err, HasSubstr("not found in 4.1 MiB"));
}

TEST(Find, SeesAcrossSegmentsThatAdjoinAndNotAcrossGaps) {
  DumpBuilder dump;
  dump.note(sample_note().build());
  dump.memory(0x10000, std::string(0xffd, 'x') + "nee").memory(0x11000, "dle" + std::string(0xffd, 'x'));
  dump.memory(0x20000, std::string(0xffd, 'x') + "nee").memory(0x22000, "dle" + std::string(0xffd, 'x'));
  dump.hole(0x40000, 0x2000).memory(0x42000, "tail" + std::string(0xffc, 'y'));
  const Inspect inspect;
  EXPECT_EQ(inspect.with(dump, {"--find", "needle"}).out, "0x0000000000010ffd\n");
  EXPECT_EQ(inspect.with(dump, {"--find", "0x00007461696c"}).out, "0x0000000000041ffe\n");
}

TEST(Map, FindsUserPagesInTheKernelsHalf) {
  Bytes memory;
  memory.text(sample_memory());
  memory.put(0x1000 + 256 * 8, 0x6007, 8).put(0x6000, 0x87, 8);
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, memory.str());
  const std::string out = Inspect().with(dump, {"--map"}).out;
  EXPECT_THAT(out,
              ContainsRegex("0xffff800000000000-.* rwxu .*writable and executable, user page in the kernel half\n"));
  EXPECT_THAT(out, HasSubstr("! user pages in the kernel half: 1 range, 1.0 GiB, the first at 0xffff800000000000\n"));
  EXPECT_THAT(Inspect().with(dump, {"--json"}).out, HasSubstr("\"kind\": \"user_in_kernel_half\""));
}

TEST(Map, ToldWhatTheDumpLacksFromWhatItHas) {
  // The page at 0x8000 was left out, and the file ends before that at 0xa000.
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory().substr(0, 0x8000));
  dump.header({.address = 0x8000, .memory_size = 0x1000});
  dump.memory(0x200000, std::string(0x1000, 'x'), 0x200000).memory(0xa000, std::string(0x1000, '\xab'));
  dump.cut(dump.build().size() - 0x1000);
  const Inspect inspect;
  EXPECT_THAT(inspect.with(dump, {"--map"}).out,
              AllOf(ContainsRegex("0x0000000000400000-.*  not in the dump\n"),
                    ContainsRegex("0x0000000000401000-.*  not in the dump\n"),
                    ContainsRegex("0x0000000000600000-.* 0x0000000000200000\n"),  // zeros that the file need not store
                    ContainsRegex("0xffff800000000000-.*  partly in the dump")));
  const std::string json = inspect.with(dump, {"--json"}).out;
  EXPECT_THAT(json.substr(json.find(R"("address": "0x400000")"), 100), HasSubstr(R"("in_dump": "none")"));
}

// As Linux does for the stacks of ESPFIX. One that is not at that distance is not of them.
TEST(Map, FoldsMemoryThatIsMappedAgainAndAgain) {
  Bytes memory;
  memory.text(sample_memory());
  for (const uint64_t page : {16, 24, 40, 56, 72}) memory.put(0x4000 + 8 * page, 0xd005, 8);
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, memory.str());
  const Inspect inspect;
  const std::string map = inspect.with(dump, {"--map"}).out;
  EXPECT_THAT(map, HasSubstr("0x0000000000410000-0x0000000000410fff     4.0 KiB  r-xu    4K  0x000000000000d000\n"
                             "0x0000000000418000-0x0000000000448fff    16.0 KiB  r-xu    4K  0x000000000000d000  "
                             "4 times 4.0 KiB, every 64.0 KiB\n"));
  EXPECT_THAT(map, HasSubstr("\n10 ranges, "));
  const std::string json = inspect.with(dump, {"--json"}).out;
  EXPECT_THAT(json.substr(json.find(R"("address": "0x418000")"), 450),
              ContainsRegex("\"count\": 4,.*\n.*\"in_dump\": \"all\"(.*\n)*.*\"size\": 4096,.*\n.*\"stride\": 65536"));
  EXPECT_THAT(json.substr(json.find(R"("address": "0x410000")"), 400), HasSubstr(R"("stride": null)"));
}

/// The sample's root, named by hand.
TEST(Root, IsTakenInPlaceOfTheVcpus) {
  const Inspect inspect;
  QnxNote note = sample_note();
  for (auto& cpu : note.cpus) cpu.registers["cr3"] = 0x5000;  // a table of zeros
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory());
  EXPECT_EQ(inspect.with(dump, {"--read", "0x400000:4"}).status, (ExitStatus{1, 0}));
  for (const char* root : {"0x1000", "cr3=4096"}) {
    EXPECT_EQ(inspect.with(dump, {"--read", "0x400004:5", "--raw", "--root", root}).out, "quick");
    EXPECT_THAT(inspect.with(dump, {"--translate", "0x400000", "--root", root}).out,
                AllOf(HasSubstr("root 0x1000 from the request"), HasSubstr("physical  0x0000000000008000")));
    EXPECT_THAT(inspect.with(dump, {"--map", "--root", root}).out, HasSubstr("0x0000000000400000-"));
  }
  const Completed wrong = inspect.with(dump, {"--map", "--root", "ttbr1=0x1000"});
  EXPECT_EQ(wrong.status, (ExitStatus{2, 0}));
  EXPECT_THAT(wrong.err, HasSubstr("'ttbr1' is no root table of this machine"));
  EXPECT_THAT(inspect.with(dump, {"--json", "--root", "1"}).err,
              HasSubstr("--root needs --translate, --read or --map"));
  EXPECT_THAT(inspect.with(dump, {"--read", "0:1", "--phys", "--root", "1"}).err,
              HasSubstr("--root and --phys cannot be given together"));
}

TEST(Stats, LooksAtPagesThatEndInAnotherExtent) {
  // Pages at 0x1000 and 0x2000: the first from its middle on, the second up to its middle, then a hole up to 0x3000.
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0x1800, std::string(0x1000, 'x')).hole(0x2800, 0x800);
  const std::string out = Inspect().with(dump, {"--stats"}).out;
  EXPECT_THAT(out, ContainsRegex("distinct +1 "));
  EXPECT_THAT(out, ContainsRegex("partial +0 +2.0 KiB"));
  EXPECT_THAT(Inspect().with(dump, {"--stats", "--json"}).out, HasSubstr("\"partial_bytes\": 2048"));
}

TEST(Stats, CountsEachPageOnce) {
  const std::string page(4096, 'p'), other(4096, 'q'), zero(4096, '\0');
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, page + other + page + zero + page).memory(0x100000, page, 3 * 4096);
  const Completed done = Inspect().with(dump, {"--stats"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_THAT(done.out, ContainsRegex("zero +3 "));
  EXPECT_THAT(done.out, ContainsRegex("duplicate +3 "));
  EXPECT_THAT(done.out, ContainsRegex("distinct +2 "));
  EXPECT_THAT(done.out, ContainsRegex("all +8 "));
}

/// A dump whose last segment's second half is missing.
DumpBuilder truncated() {
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).memory(0x100000, std::string(0x2000, 't'));
  dump.cut(dump.build().size() - 0x1000);
  return dump;
}

TEST(Truncated, SummaryAndVerifySaySo) {
  const Inspect inspect;
  const Completed summary = inspect.with(truncated(), {});
  EXPECT_EQ(summary.status, (ExitStatus{0, 0})) << summary.err;
  EXPECT_THAT(summary.out, AllOf(HasSubstr("missing, 4.0 KiB"), HasSubstr("0x0000000000101000-0x0000000000101fff")));
  const Completed verify = inspect.with(truncated(), {"--verify"});
  EXPECT_EQ(verify.status, (ExitStatus{1, 0}));
  EXPECT_GE(std::ranges::count(verify.out, '\n'), 1);
  EXPECT_THAT(verify.err, ContainsRegex("verify own.gcore: [0-9]+ defect"));
  EXPECT_THAT(inspect.with(truncated(), {"--stats"}).out, ContainsRegex("missing +1 "));
}

TEST(Truncated, EveryModeSaysWhereTheFileEnds) {
  const Inspect inspect;
  const std::string where = "the file is truncated at " + std::to_string(truncated().build().size());
  EXPECT_THAT(inspect.with(truncated(), {}).out, HasSubstr("0x0000000000101fff     4.0 KiB  " + where + "\n"));
  EXPECT_THAT(inspect.with(truncated(), {"--verify"}).out,
              HasSubstr(where + " (the first one: program header 2: 4096 of"));
  EXPECT_EQ(inspect.with(truncated(), {"--read", "0x101000:1", "--phys"}).err,
            "gcore-inspect: read guest-physical 0x101000: " + where + " (0 of 1 bytes read)\n");
  EXPECT_THAT(inspect.with(truncated(), {"--read", "0xffff800000101000:1"}).err,
              HasSubstr("maps to physical 0x101000, which cannot be read: " + where));
  EXPECT_THAT(inspect.with(truncated(), {"--translate", "0xffff800000101000", "--vcpu", "0"}).out,
              HasSubstr("in file   not in the dump: " + where));
  EXPECT_THAT(inspect.with(truncated(), {"--json"}).out, HasSubstr("\"why\": \"" + where + "\""));
  EXPECT_THAT(inspect.with(truncated(), {"--segments"}).out,
              ContainsRegex("101fff +8.0 KiB +4.0 KiB  0x0*11000  rwx  the file lacks 4.0 KiB of it\n"));
  // The root of every address space is behind the end.
  DumpBuilder tables;
  tables.note(sample_note().build()).memory(0, sample_memory()).cut(0x1800);
  EXPECT_THAT(inspect.with(tables, {"--translate", "0x400000"}).err,
              HasSubstr("PML4E at 0x1000 cannot be read: the file is truncated at 6144"));
}

/// A file of two segments that zstd makes one frame of, which holds more than can be unpacked at once.
TEST(Verify, ATemporaryFileIsANotice) {
  const Inspect inspect;
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).memory(0x1000000, std::string(40 << 20, 'x'));
  dump.write(inspect.folder().path("large"));
  const Completed packed =
      run({"zstd", "-q", "-1", inspect.folder().path("large"), "-o", inspect.folder().path("large.zst")}, 60s);
  ASSERT_EQ(packed.status, (ExitStatus{0, 0})) << packed.err;
  const Completed done = inspect({"large.zst", "--verify"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.out;
  const std::string notice =
      "the zstd data has no place to start from in more than 32 MiB; it was unpacked into a temporary file\n";
  EXPECT_EQ(done.err, "gcore-inspect: " + notice);
  EXPECT_THAT(done.out, HasSubstr("no defect found"));
  EXPECT_THAT(inspect({"large.zst"}).out, AllOf(HasSubstr("  note      " + notice), Not(HasSubstr("warning"))));
}

TEST(Segments, OfAProgramHeaderThatShowsMemoryAgain) {
  const Inspect inspect;
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory());
  dump.header({.offset = 0x3000,
               .virtual_address = 0xffffffff81000000,
               .address = 0x2000,
               .file_size = 0x1000,
               .memory_size = 0x1000});
  const std::string out = inspect.with(dump, {"--segments"}).out;
  EXPECT_THAT(out,
              HasSubstr("   2  0x0000000000002000-0x0000000000002fff     4.0 KiB     4.0 KiB  0x0000000000003000  rwx  "
                        "virtual 0xffffffff81000000  the memory of segment 1 again\n"));
  EXPECT_THAT(out,
              HasSubstr("\n1 segment, 64.0 KiB of memory; 1 program header shows again some of it by other virtual"));
}

TEST(Kdump, HasNoFileOffsets) {
  const Inspect inspect;
  KdumpBuilder builder{.notes = elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0x1000}})) +
                                elf_note("QEMU", 0, qemu_note({{"cr0", 0}, {"cr3", 0x1000}}))};
  const std::string bytes = builder.build();
  inspect.folder().write("kdump", bytes);
  const Completed summary = inspect({"kdump"});
  EXPECT_THAT(summary.out,
              HasSubstr(" (" + std::to_string(bytes.size()) + " bytes), vmcore dialect, kdump-compressed\n"));
  EXPECT_THAT(summary.out, HasSubstr("x86_64, 1 vCPU, 16.0 KiB of memory\n"));
  EXPECT_THAT(inspect({"kdump", "--segments"}).out,
              ContainsRegex("\n   0  0x0*1000-0x0*2fff +8.0 KiB +8.0 KiB  - +---\n"));
  EXPECT_THAT(inspect({"kdump", "--translate", "0x1000"}).out,
              HasSubstr("in file   in a compressed page, in segment 0\n"));
  EXPECT_THAT(inspect({"kdump", "--json"}).out, HasSubstr("\"offset\": null"));

  // QEMU leaves the name of the guest's system empty, makedumpfile does not.
  EXPECT_THAT(summary.out, HasSubstr("by        QEMU's dump-guest-memory, by the file's layout\n"));
  builder.system = "Linux";
  inspect.folder().write("makedumpfile", builder.build());
  EXPECT_THAT(inspect({"makedumpfile"}).out, HasSubstr("by        a writer that does not name itself"));

  inspect.folder().write("cut", bytes.substr(0, bytes.size() - 10));
  const Completed verify = inspect({"cut", "--verify"});
  EXPECT_EQ(verify.status, (ExitStatus{1, 0}));
  EXPECT_EQ(verify.out, "the file is truncated at " + std::to_string(bytes.size() - 10) +
                            ": it has 2 of the 3 pages that its kdump header promises\n");
  EXPECT_THAT(inspect({"cut", "--json"}).out, HasSubstr("\"truncated\": true"));
}

/// Files without a byte, under the names of the libraries, are what the dynamic linker finds first.
TEST(LoadedLibraries, WithoutOneItIsToldWhatToInstall) {
  struct Case {
    std::string dump, why;
  };
  const Inspect inspect;
  Process::Options without;
  without.environment = {"LD_LIBRARY_PATH=" + inspect.folder().path("empty")};
  std::filesystem::create_directory(inspect.folder().path("empty"));
  for (int version = 1; version < 30; ++version)
    inspect.folder().write("empty/libkdumpfile.so." + std::to_string(version), "");
  for (const char* name : {"liblzma.so.5", "libbz2.so.1.0", "liblzo2.so.2", "libsnappy.so.1"})
    inspect.folder().write(std::string("empty/") + name, "");
  const std::string compressed = "it is compressed with ",
                    debian = ", which unpacks that, is not installed \\(Debian: ";
  for (const auto& [dump, why] : std::initializer_list<Case>{
           {KdumpBuilder{}.build(),
            "it is a kdump-compressed dump, and libkdumpfile.so.[0-9]+, which reads these, is not installed "
            "\\(Debian: libkdumpfile[0-9]+\\)"},
           {libvirt_header(2), compressed + "bzip2, and libbz2.so.1.0" + debian +
                                   "libbz2-1.0\\): unpack what follows libvirt's header, [^\n]* \\| bzip2 -dc "},
           {libvirt_header(3), compressed + "xz, and liblzma.so.5" + debian +
                                   "liblzma5\\): unpack what follows libvirt's header, [^\n]* \\| xz -dc "},
           {libvirt_header(4), compressed + "lzop, and liblzo2.so.2" + debian +
                                   "liblzo2-2\\): unpack what follows libvirt's header, [^\n]* \\| lzop -dc "},
           {avml_range(0x1000, 4096, repeated_chunk('a')),
            "it is an AVML image of version 2, compressed with snappy, and libsnappy.so.1" + debian +
                "libsnappy1v5\\); unpack it: avml-convert "}}) {
    inspect.folder().write("dump", dump);
    const Completed done = run({program("gcore-inspect"), inspect.folder().path("dump")}, 60s, {}, without);
    EXPECT_EQ(done.status, (ExitStatus{1, 0}));
    EXPECT_THAT(done.err, ContainsRegex("^gcore-inspect: cannot open [^\n]*: [^\n]*" + why + "[^\n]*\n$"));
  }
  const Completed sample = run({program("gcore-inspect"), inspect.folder().path("sample.gcore")}, 60s, {}, without);
  EXPECT_EQ(sample.status, (ExitStatus{0, 0})) << sample.err;
}

TEST(Verify, EachDefectIsALine) {
  const Inspect inspect;
  DumpBuilder dump;
  QnxNote note = sample_note();
  note.cpus[1].pgtbl = 0x7777000;
  dump.note(note.build()).memory(0, sample_memory()).section(".gcore.info", "{\"complete\": nonsense");
  const Completed done = inspect.with(dump, {"--verify"});
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_THAT(done.out, AllOf(HasSubstr("vCPU 1: its page table at 0x7777000 is in no segment\n"),
                              HasSubstr("section .gcore.info is ignored: it is not JSON")));
  EXPECT_THAT(done.err, HasSubstr("2 defects"));
}

TEST(Verify, TheOrderOfSegmentsIsARemark) {
  const Inspect inspect;
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0x100000, "later").memory(0, sample_memory()).memory(0x200000, "last");
  const Completed done = inspect.with(dump, {"--verify"});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  const std::string remark =
      "the segments are not in the order of their addresses in the file (the first such place: program header 1 at "
      "0x100000, 2 at 0x0)\n";
  EXPECT_EQ(done.err, "gcore-inspect: " + remark);
  EXPECT_THAT(inspect.with(dump, {"--segments"}).out, HasSubstr(remark));
  EXPECT_THAT(inspect({"sample.gcore", "--segments"}).out, Not(HasSubstr("the order")));
}

TEST(Verify, AFileThatIsNoDumpIsADefect) {
  const Inspect inspect;
  inspect.folder().write("text", "This is not a dump.\n");
  const Completed done = inspect({"text", "--verify"});
  EXPECT_EQ(done.status, (ExitStatus{1, 0}));
  EXPECT_EQ(std::ranges::count(done.out, '\n'), 1);
  EXPECT_EQ(std::ranges::count(done.err, '\n'), 1);
}

TEST(Summary, TellsWhatTheWriterCouldNotRead) {
  std::string info = sample_info();
  const auto replace = [&](const std::string& from, const std::string& to) {
    info.replace(info.find(from), from.size(), to);
  };
  replace("\"missing_ranges\": 0, \"missing\": []", "\"missing_ranges\": 1, \"missing\": [[\"0x3000\", \"0x2000\"]]");
  replace("\"complete\": true", "\"complete\": false");
  replace("\"left_out\": []", "\"left_out\": [3]");
  DumpBuilder dump;
  dump.note(sample_note().build()).memory(0, sample_memory()).section(".gcore.info", info);
  const std::string out = Inspect().with(dump, {}).out;
  EXPECT_THAT(out,
              ContainsRegex("0x0000000000003000-0x0000000000004fff +8.0 KiB  the dump's writer could not read it"));
  EXPECT_THAT(out, HasSubstr("the dump is partial"));
  EXPECT_THAT(out, HasSubstr("vCPU 3 is not in the dump"));
}

TEST(Summary, FitsAScreenHoweverManyVcpusAndRanges) {
  QnxNote note = sample_note();
  note.faulting_cpu = 150;
  for (uint32_t i = 2; i < 200; ++i) {
    note.cpus.push_back(note.cpus[0]);
    note.cpus.back().number = i;
  }
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory());
  for (uint64_t i = 0; i < 500; ++i) dump.hole(0x1000000 + i * 0x10000, 0x1000);
  const std::string out = Inspect().with(dump, {}).out;
  EXPECT_LT(std::ranges::count(out, '\n'), 50);
  EXPECT_THAT(out, AllOf(HasSubstr(">  150  "), HasSubstr("200 in all"), HasSubstr("489 more")));
}

TEST(Summary, TextOfTheDumpCannotCommandTheTerminal) {
  QnxNote note = sample_note();
  note.cpus[1].process = "evil\x1b]0;title\x07";
  DumpBuilder dump;
  dump.note(note.build()).memory(0, sample_memory()).section(".gcore.info", "{\"vm\": \"a\\u001b[31mb\"}");
  const Inspect inspect;
  for (const auto& mode : {std::vector<std::string>{}, {"--registers"}, {"--json"}})
    EXPECT_THAT(inspect.with(dump, mode).out, AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\x07"))));
}

TEST(Summary, KnowsAarch64AndTheVmcoreDialect) {
  DumpBuilder dump;
  dump.machine = kEmAarch64;
  dump.note(elf_note("CORE", 1,
                     prstatus(kEmAarch64, 1,
                              {{"elr", 0xffff800080001234}, {"sp", 0xffff800080fff000}, {"pstate", 0x600003c5}})) +
            elf_note("CORE", 1, prstatus(kEmAarch64, 2, {{"elr", 0x4000}, {"sp", 0x8000}, {"pstate", 0}})) +
            elf_note("VMCOREINFO", 0, "OSRELEASE=6.1.0-arm64\nPAGESIZE=4096\n"));
  dump.memory(0x40000000, std::string(0x1000, 'm'));
  const Inspect inspect;
  const Completed done = inspect.with(dump, {});
  EXPECT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  EXPECT_THAT(done.out,
              AllOf(HasSubstr("vmcore dialect"), HasSubstr("aarch64, 2 vCPUs"), HasSubstr("Linux 6.1.0-arm64"),
                    HasSubstr("kernel, EL1"), HasSubstr("user, EL0"), HasSubstr("0xffff800080001234")));
  EXPECT_THAT(inspect.with(dump, {"--registers", "0"}).out,
              AllOf(HasSubstr("pstate 0x00000000600003c5  Z C D A I F EL1h"), HasSubstr("not in the dump: sctlr_el1")));
}

}  // namespace
}  // namespace gcore::tests
