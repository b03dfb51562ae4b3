#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "reader/dump/dump.h"
#include "tests/convert/convert.h"
#include "tests/support/dump_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Two vCPUs with every kind of register, three segments, one of them a hole.
DumpBuilder qnx_dump() {
  QnxNote note;
  note.sig_num = 11;
  note.faulting_cpu = 1;
  note.extra_names = {"cr0", "cr2",     "cr3",     "cr4",         "efer", "gs_base", "kernel_gs_base",
                      "dr7", "xmm0.lo", "xmm0.hi", "own_register"};
  for (uint32_t i = 0; i < 2; ++i)
    note.cpus.push_back({.pgtbl = 0x5000,
                         .number = i,
                         .process = "proc/boot/procnto",
                         .registers = {{"rip", 0xffff800000001000 + i},
                                       {"rsp", 0x7000 + i},
                                       {"rax", 1},
                                       {"cs", 0x10},
                                       {"rflags", 0x246},
                                       {"cr0", 0x80000011},
                                       {"cr3", 0x5000},
                                       {"cr4", 0x20},
                                       {"efer", 0xd01},
                                       {"gs_base", 0xffff000000000000},
                                       {"dr7", 0x400},
                                       {"kernel_gs_base", 7},
                                       {"xmm0.lo", 5},
                                       {"xmm0.hi", 6},
                                       {"own_register", 9}}});
  DumpBuilder builder;
  builder.note(note.build());
  builder.memory(0, std::string(4096, 'a') + std::string(8192, '\0') + std::string(4096, 'b'));
  builder.hole(0x100000, 64 << 20);
  builder.memory(0x100000000, std::string(8192, 'c'));
  return builder;
}

class Convert : public testing::Test {
 protected:
  std::string write(const DumpBuilder& builder, const std::string& name = "in.gcore") {
    builder.write(folder_.path(name));
    return folder_.path(name);
  }
  std::string out(const std::string& name = "out") { return folder_.path(name); }
  TempDir folder_;
};

void expect_memory_of_qnx_dump(const reader::Dump& dump) {
  EXPECT_EQ(bytes_at(dump, 0, 16384), std::string(4096, 'a') + std::string(8192, '\0') + std::string(4096, 'b'));
  EXPECT_EQ(bytes_at(dump, 0x100000 + (32 << 20), 64), std::string(64, '\0'));
  EXPECT_EQ(bytes_at(dump, 0x100000000, 8192), std::string(8192, 'c'));
  EXPECT_EQ(dump.memory_bytes(), 16384 + (uint64_t{64} << 20) + 8192);
}

TEST_F(Convert, KeepsMemoryAndRegistersThereAndBack) {
  const std::string in = write(qnx_dump());
  const Completed there = convert({in, out("vmcore")});
  EXPECT_EQ(there.status, kDone) << there.err;
  EXPECT_EQ(there.out, "");
  const auto vmcore = open_dump(out("vmcore"));
  EXPECT_EQ(vmcore->dialect(), reader::Dialect::vmcore);
  expect_memory_of_qnx_dump(*vmcore);
  const Completed back = convert({out("vmcore"), out("back")});
  EXPECT_EQ(back.status, kDone) << back.err;
  const auto qnx = open_dump(out("back"));
  EXPECT_EQ(qnx->dialect(), reader::Dialect::qnx);
  expect_memory_of_qnx_dump(*qnx);
  ASSERT_EQ(qnx->cpus().size(), 2u);
  const auto before = open_dump(in);
  for (size_t cpu = 0; cpu < 2; ++cpu)
    for (const char* name :
         {"rip", "rsp", "rax", "rbx", "cs", "rflags", "cr0", "cr2", "cr3", "cr4", "gs_base", "kernel_gs_base"})
      EXPECT_EQ(qnx->cpus()[cpu].registers.get(name), before->cpus()[cpu].registers.get(name)) << name;
}

TEST_F(Convert, NamesWhatTheOtherDialectHasNoPlaceFor) {
  const Completed done = convert({write(qnx_dump()), out(), "--dialect", "vmcore"});
  EXPECT_EQ(done.status, kDone);
  for (const char* lost : {"registers", "efer", "dr7", "xmm0", "own_register", "signal number 11", "procnto", "vCPU 1"})
    EXPECT_THAT(done.err, HasSubstr(lost));
  for (const char* kept : {"rip", "cr3", "kernel_gs_base"}) EXPECT_THAT(done.err, Not(HasSubstr(kept)));
}

TEST_F(Convert, LosesNothingInTheSameDialect) {
  DumpBuilder builder = qnx_dump();
  const Completed done = convert({write(builder), out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, Not(HasSubstr("efer")));
  const auto before = open_dump(folder_.path("in.gcore")), after = open_dump(out());
  EXPECT_EQ(after->signal(), 11);
  EXPECT_EQ(after->faulting_cpu(), 1u);
  EXPECT_EQ(after->cpus()[1].process_name, "proc/boot/procnto");
  for (size_t slot = 0; slot < format::registers(format::Machine::x86_64).size(); ++slot)
    EXPECT_EQ(after->cpus()[0].registers.get_slot(slot), before->cpus()[0].registers.get_slot(slot)) << slot;
}

TEST_F(Convert, KeepsHoles) {
  ASSERT_EQ(convert({write(qnx_dump()), out()}).status, kDone);
  struct stat facts;
  ASSERT_EQ(stat(out().c_str(), &facts), 0);
  EXPECT_GT(facts.st_size, 64 << 20);
  EXPECT_LT(facts.st_blocks * 512, 1 << 20);
}

TEST_F(Convert, CarriesVmcoreinfoOrSaysSo) {
  DumpBuilder builder;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0x1234}})) +
               elf_note("QEMU", 0, qemu_note({{"cr3", 0x9000}})) + elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n"));
  builder.memory(0, std::string(4096, 'x')).memory(0x10000, std::string(4096, 'y'));
  const std::string in = write(builder);
  EXPECT_EQ(convert({in, out("same"), "--dialect", "vmcore"}).err, "");
  EXPECT_EQ(open_dump(out("same"))->vmcoreinfo(), "OSRELEASE=6.1\n");
  const Completed other = convert({in, out("other"), "--dialect", "qnx"});
  EXPECT_EQ(other.status, kDone);
  if (open_dump(out("other"))->vmcoreinfo().empty()) {
    EXPECT_THAT(other.err, HasSubstr("VMCOREINFO"));
  }
  EXPECT_EQ(open_dump(out("other"))->cpus()[0].registers.get("cr3"), 0x9000u);
}

TEST_F(Convert, ReadsAndWritesCompressedDumps) {
  const std::string in = write(qnx_dump());
  for (const char* compression : {"gzip", "zstd"}) {
    const std::string small = out(compression), again = out(std::string(compression) + "-again");
    ASSERT_EQ(convert({in, small, "--compress", compression}).status, kDone);
    const auto dump = open_dump(small);
    EXPECT_EQ(dump->compression(), compression);
    EXPECT_EQ(dump->dialect(), reader::Dialect::qnx);  // only to be compressed
    ASSERT_EQ(convert({small, again, "--dialect", "qnx"}).status, kDone);
    expect_memory_of_qnx_dump(*open_dump(again));
  }
}

TEST_F(Convert, ReadsStandardInput) {
  DumpBuilder builder;
  QnxNote note;
  note.cpus.resize(1);
  builder.note(note.build()).memory(0, std::string(4096, 'x'));
  ASSERT_EQ(convert({"-", out(), "--dialect", "qnx"}, builder.build()).status, kDone);
  EXPECT_EQ(bytes_at(*open_dump(out()), 0, 4096), std::string(4096, 'x'));
}

TEST_F(Convert, NeverOverwritesWithoutForce) {
  const std::string in = write(qnx_dump()), old = folder_.write("out", "precious");
  const Completed refused = convert({in, old});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(read_file(old), "precious");
  EXPECT_EQ(convert({in, old, "--force"}).status, kDone);
  expect_memory_of_qnx_dump(*open_dump(old));
  const Completed in_place = convert({old, old, "--force", "--dialect", "vmcore"});  // which loses nothing
  EXPECT_EQ(in_place.status, kDone) << in_place.err;
  expect_memory_of_qnx_dump(*open_dump(old));
  EXPECT_THAT(folder_.entries(), testing::ElementsAre("in.gcore", "out"));
}

TEST_F(Convert, LeavesNothingBehindWhenItFails) {
  const std::string text = folder_.write("text", "no dump");
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{folder_.path("none"), out()},
                                             {text, out()},
                                             {folder_.path(), out()},
                                             {write(qnx_dump()), folder_.path("no/out")},
                                             {folder_.path("in.gcore"), folder_.path()}}) {
    const Completed done = convert(arguments);
    EXPECT_EQ(done.status, kFailed) << arguments[0];
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  }
  EXPECT_THAT(folder_.entries(), testing::ElementsAre("in.gcore", "text"));
}

TEST_F(Convert, MakesWholePagesOfOddSegments) {
  DumpBuilder builder;
  QnxNote note;
  note.cpus.resize(1);
  builder.note(note.build()).memory(0x10, std::string(5000, 'x')).memory(0x1800, std::string(100, 'y'));
  builder.memory(0x8000, std::string(4096, 'z'), 8192);  // the second page is p_memsz alone
  const Completed done = convert({write(builder), out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, HasSubstr("not whole pages"));
  const auto dump = open_dump(out());
  EXPECT_EQ(bytes_at(*dump, 0, 0x2000), std::string(0x10, '\0') + std::string(5000, 'x') +
                                            std::string(0x1800 - 5016, '\0') + std::string(100, 'y') +
                                            std::string(0x800 - 100, '\0'));
  EXPECT_EQ(bytes_at(*dump, 0x8000, 0x2000), std::string(4096, 'z') + std::string(4096, '\0'));
}

/// Of the two pages at 4 GiB the second one.
void expect_page_missing(const reader::Dump& dump) {
  EXPECT_EQ(bytes_at(dump, 0x100000000, 8192), std::string(4096, 'c'));
  ASSERT_EQ(dump.info().missing.size(), 1u);
  EXPECT_EQ(dump.info().missing[0].first, reader::PhysAddr(0x100001000));
  EXPECT_EQ(dump.info().missing[0].last, reader::PhysAddr(0x100001fff));
}

TEST_F(Convert, SaysWhatATruncatedDumpLacks) {
  DumpBuilder builder = qnx_dump();
  const std::string whole = builder.build();
  builder.cut(whole.size() - 4096);
  const Completed done = convert({write(builder), out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kFailed) << "what is written is of a damaged dump";
  EXPECT_THAT(done.err, HasSubstr("1 page of memory is not in " + folder_.path("in.gcore") +
                                  ", which is cut off, and marked as missing in " + out() + "\n"));
  expect_page_missing(*open_dump(out()));
  EXPECT_THAT(open_dump(out())->info().program, HasSubstr("(from a dump that was cut off)"));
  // The same through a container, where the reader is asked and not the file.
  ASSERT_EQ(run({"gzip", folder_.path("in.gcore")}).status, kDone);
  ASSERT_EQ(convert({folder_.path("in.gcore.gz"), out("unpacked"), "--dialect", "qnx"}).status, kFailed);
  expect_page_missing(*open_dump(out("unpacked")));
}

TEST_F(Convert, RefusesWhatADialectCannotBe) {
  QnxNote note;
  note.machine = kEmX86;
  note.cpus.resize(1);
  DumpBuilder builder;
  builder.machine = kEmX86;
  builder.note(note.build()).memory(0, std::string(4096, 'x'));
  const Completed done = convert({write(builder), out(), "--dialect", "vmcore"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("32-bit"));
}

// When, why, and for how long a guest stood still: what a dump does not say, no conversion knows.
TEST_F(Convert, InventsNothing) {
  QnxNote note;
  note.sig_num = 11;
  note.cpus.resize(1);
  DumpBuilder builder;
  builder.note(note.build()).memory(0, std::string(8192, 'm'));
  ASSERT_EQ(convert({write(builder), out("vmcore"), "--dialect", "vmcore"}).status, kDone);
  ASSERT_EQ(convert({out("vmcore"), out("back"), "--dialect", "qnx"}).status, kDone);
  for (const char* name : {"vmcore", "back"}) {
    const auto dump = open_dump(out(name));
    const reader::DumpInfo& info = dump->info();
    EXPECT_TRUE(info.present);
    EXPECT_EQ(info.requested_ns, std::nullopt);
    EXPECT_EQ(info.pause_ns, std::nullopt);
    EXPECT_EQ(info.reason_kind + info.reason_detail, "");
    EXPECT_EQ(info.consistency, "");
    EXPECT_THAT(dump->warnings(), testing::IsEmpty());
  }
  EXPECT_THAT(open_dump(out("vmcore"))->info_json(), HasSubstr("\"signal\": 11"));
}

// In the register set of a 32-bit x86 CPU in kernel mode there is no esp but exx + 12.
TEST_F(Convert, KeepsTheStackPointerOfX86) {
  std::map<std::string, uint64_t> kernel{{"eip", 0xc0100000}, {"cs", 0x60}, {"esp", 0xc1234560}}, user = kernel;
  user["cs"] = 0x73;
  DumpBuilder builder;
  builder.machine = kEmX86;
  builder.elf32 = true;
  builder.note(elf_note("CORE", 1, prstatus(kEmX86, 1, kernel)) + elf_note("CORE", 1, prstatus(kEmX86, 2, user)));
  builder.memory(0, std::string(4096, 'x'));
  const Completed done = convert({write(builder), out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kDone);
  EXPECT_EQ(done.err, "");
  const auto dump = open_dump(out());
  ASSERT_EQ(dump->cpus().size(), 2u);
  for (const reader::Cpu& cpu : dump->cpus()) EXPECT_EQ(cpu.registers.get("esp"), 0xc1234560u) << cpu.index;
  EXPECT_EQ(dump->cpus()[1].registers.get("exx"), std::nullopt);
}

TEST_F(Convert, KeepsChosenRangesOnly) {
  const std::string in = write(qnx_dump());
  // Pages are kept whole; ranges may overlap, and reach beyond what there is.
  const Completed done = convert({in, out(), "--dialect", "qnx", "--range", "0x2fff:2", "--range", "0x3000:1",
                                  "--range", "0x100000:64K", "--range", "0x108000:64K", "--range", "0x100001000:1T"});
  EXPECT_EQ(done.status, kDone) << done.err;
  EXPECT_THAT(done.err, Not(HasSubstr("memory")));
  const auto dump = open_dump(out());
  EXPECT_EQ(dump->memory_bytes(), 8192u + 0x18000 + 4096);
  EXPECT_EQ(bytes_at(*dump, 0x2000, 8192), std::string(4096, '\0') + std::string(4096, 'b'));
  EXPECT_EQ(bytes_at(*dump, 0, 1), "");
  EXPECT_EQ(bytes_at(*dump, 0x117fff, 2), std::string(1, '\0'));
  EXPECT_EQ(bytes_at(*dump, 0x100000000, 1), "");
  EXPECT_EQ(bytes_at(*dump, 0x100001000, 8192), std::string(4096, 'c'));
  EXPECT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[1].registers.get("efer"), 0xd01u);

  const Completed nothing = convert({in, out("none"), "--range", "0x50000:4K"});
  EXPECT_EQ(nothing.status, kFailed);
  EXPECT_THAT(nothing.err, HasSubstr("no memory in the range"));
  for (const char* wrong : {"1", ":", "x:1", "1:", "0:0", "0xffffffffffffffff:2", "1:2:3", "-1:2"}) {
    const Completed refused = convert({in, out("none"), "--range", wrong});
    EXPECT_EQ(refused.status, kUsage) << wrong;
    EXPECT_THAT(refused.err, HasSubstr("--range is ADDRESS:SIZE")) << wrong;
  }
  EXPECT_THAT(folder_.entries(), testing::ElementsAre("in.gcore", "out"));
}

TEST_F(Convert, TellsHowFarItIs) {
  const Completed done = convert({write(qnx_dump()), out(), "--progress"});
  EXPECT_EQ(done.status, kDone);
  EXPECT_THAT(done.err, HasSubstr("gcore-convert: write out: 100 %"));
  ASSERT_EQ(convert({write(qnx_dump()), out("in.gz"), "--compress", "gzip"}).status, kDone);
  EXPECT_THAT(convert({out("in.gz"), out("again"), "--progress"}).err,
              testing::ContainsRegex("gcore-convert: opening .*in.gz: 100 %"));
}

class ConvertEndsEarly : public Convert {
 protected:
  /// A dump whose conversion with --compress takes seconds.
  std::string large_dump() {
    std::mt19937_64 random(3);
    std::string bytes(size_t{96} << 20, '\0');
    for (size_t at = 0; at < bytes.size(); at += 8) {
      const uint64_t word = random();
      std::memcpy(bytes.data() + at, &word, 8);
    }
    QnxNote note;
    note.cpus.resize(1);
    DumpBuilder builder;
    builder.note(note.build()).memory(0, std::move(bytes));
    return write(builder);
  }
};

/// Whether a thread of the process has begun to write a dump.
bool is_writing(pid_t process) {
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", error)) {
    std::ifstream comm(task.path() / "comm");
    if (std::string name; std::getline(comm, name) && name == "gcore-dump") return true;
  }
  return false;
}

TEST_F(ConvertEndsEarly, LeavesNothingBehindWhenASignalEndsIt) {
  const std::string in = large_dump();
  folder_.write("old", "precious");
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGKILL}) {
    Process process({program("gcore-convert"), in, out("old"), "--force", "--compress", "gzip"});
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!is_writing(process.pid()) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    ASSERT_TRUE(process.signal(number));
    EXPECT_EQ(process.wait(), (ExitStatus{-1, number})) << process.err();
    EXPECT_EQ(read_file(out("old")), "precious");
    EXPECT_THAT(folder_.entries(), testing::ElementsAre("in.gcore", "old")) << number;
  }
}

TEST_F(ConvertEndsEarly, LeavesNothingBehindWhenThereIsNoRoom) {
  const std::string in = large_dump();
  // A file may have 8 MiB here: as on a disk that gets full half-way.
  const Completed done = run(
      {"bash", "-c", "ulimit -f 8192; exec \"$@\"", "bash", program("gcore-convert"), in, out(), "--dialect", "qnx"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  EXPECT_THAT(done.err, HasSubstr("gcore-convert: convert "));
  EXPECT_THAT(folder_.entries(), testing::ElementsAre("in.gcore"));
}

TEST(ConvertUsage, IsChecked) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{},
                                                                                         {"in"},
                                                                                         {"a", "b", "c"},
                                                                                         {"a", "b", "--dialect", "elf"},
                                                                                         {"a", "b", "--compress", "xz"},
                                                                                         {"a", "b", "--pids", "all"},
                                                                                         {"a", "dir/"},
                                                                                         {"a", ""}})
    EXPECT_EQ(convert(arguments).status, kUsage);
}

}  // namespace
}  // namespace gcore::tests
