// The vmcore files that gcore-vmm writes, before the programs that open vmcores. Its built-in guest is no Linux: each
// program is to get as far with it as it gets with such a guest at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <stdexcept>

#include "reader/dump/dump.h"
#include "tests/dump/dump_files.h"
#include "tests/oracle/kdumpfile.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

constexpr ExitStatus kDone{0, 0}, kFailed{1, 0};
constexpr size_t kCpus = 4, kReads = 50;
constexpr uint64_t kImage = 0xffffffff80000000, kImageLoaded = 0x200000;  // tools/gcore-vmm/guest/layout.h
constexpr uint64_t kHigh = 0x100000000;

std::string hex(uint64_t number) {
  char digits[19];
  std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(number));
  return digits;
}

uint64_t word(const std::string& bytes, size_t at) {
  uint64_t value;
  if (at + sizeof value > bytes.size()) throw std::runtime_error("a note is too short");
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Variant {
  const char *name, *arch, *compression;
  std::vector<std::string> unpack;  // before the file's path

  friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }
};

const std::vector<Variant> kVariants{
    {"X86", "x86_64", "none", {}},
    {"X86Zstd", "x86_64", "zstd", {"zstd", "-q", "-d"}},
    {"X86Gzip", "x86_64", "gzip", {"gzip", "-d"}},
    {"Aarch64Zstd", "aarch64", "zstd", {"zstd", "-q", "-d"}},
    {"Aarch64", "aarch64", "none", {}},
};

class VmmVmcore : public testing::TestWithParam<Variant> {
 protected:
  static bool is_x86() { return std::string(GetParam().arch) == "x86_64"; }
  static std::string guest_elf() {
    return build_dir() + "/share/gcore/builtin-guest" + (is_x86() ? "" : "-aarch64") + ".elf";
  }
  /// Where the guest's RAM starts.
  static uint64_t ram() { return is_x86() ? 0 : 0x40000000; }

  /// Has a guest with four vCPUs and RAM below and above 4 GiB dumped.
  std::string dump(const std::string& dialect, const Variant& variant) {
    const std::string config = folder_.write(
        "vm.conf", std::string("system ") + dialect + "\narch " + variant.arch + "\ncpu\ncpu\ncpu\ncpu\nram " +
                       hex(ram()) + ",16M\nram " + hex(kHigh) + ",8M\ncmdline heartbeat=5\ndump " + folder_.path());
    Process vmm({program("gcore-vmm"), config, "--dialect", dialect, "--compress", variant.compression});
    for (size_t cpu = 0; cpu < kCpus; ++cpu)
      if (!vmm.wait_for_line(Process::Stream::out, "^cpu 0*" + std::to_string(cpu) + ": heartbeat"))
        throw std::runtime_error("no heartbeat: " + vmm.out() + vmm.err());
    vmm.signal(SIGUSR2);
    const auto line = vmm.wait_for_line(Process::Stream::err, "dump written: ");
    if (!line) throw std::runtime_error("no dump: " + vmm.err());
    const size_t start = line->find('/');
    std::string path = line->substr(start, line->find(" (") - start);
    if (!variant.unpack.empty()) {
      auto argv = variant.unpack;
      argv.push_back(path);
      if (run(argv).status != kDone) throw std::runtime_error("cannot unpack " + path);
      path.resize(path.rfind('.'));
    }
    return path;
  }

  void open(const std::string& path) {
    path_ = path;
    core_ = std::make_unique<CoreFile>(path);
  }

  /// What the guest's ELF file has at an address of the kernel's text.
  std::string text(uint64_t address, size_t size) {
    const std::string file = read_file(guest_elf());
    for (size_t at = word(file, 32), i = 0; i < static_cast<unsigned char>(file[56]); ++i, at += 56)
      if (address >= word(file, at + 16) && address + size <= word(file, at + 16) + word(file, at + 32))
        return file.substr(word(file, at + 8) + (address - word(file, at + 16)), size);
    throw std::runtime_error("the guest's ELF file has nothing at " + hex(address));
  }

  /// Addresses in the dump's memory, with the start of the image as it was loaded and the ends of RAM among them.
  std::vector<uint64_t> addresses() const {
    std::vector<uint64_t> all{ram() + kImageLoaded};
    for (const auto& [start, end] : core_->coverage()) all.insert(all.end(), {start, end - 8});
    const auto [start, end] = *core_->coverage().begin();
    std::mt19937_64 random(11);
    while (all.size() < kReads) all.push_back(start + random() % (end - start) / 8 * 8);
    return all;
  }
  /// Addresses where the guest has no memory: below what is in the dump, where there is room, and above.
  std::vector<uint64_t> nowhere() const {
    std::vector<uint64_t> all{core_->coverage().rbegin()->second};
    if (const uint64_t start = core_->coverage().begin()->first) all.push_back(start / 2 / 4096 * 4096);
    return all;
  }

  /// vCPU's program counter, by its note.
  uint64_t pc(size_t cpu) const {
    size_t seen = 0;
    for (const CoreFile::Note& note : core_->notes())
      if (note.name == "CORE" && note.type == 1 && seen++ == cpu)
        return word(note.bytes, 112 + (is_x86() ? 16 : 32) * 8);
    throw std::runtime_error("no note of vCPU " + std::to_string(cpu));
  }

  void check_gdb();
  void check_libkdumpfile();
  void check_libkdumpfile_walks();
  void check_makedumpfile();
  void check_crash();
  void check_drgn();

  TempDir folder_;
  std::string path_;
  std::unique_ptr<CoreFile> core_;
};

void VmmVmcore::check_gdb() {
  // The order of the notes' registers, from 112 on.
  std::vector<std::string> names;
  if (is_x86()) {
    names = {"r15", "r14", "r13", "r12", "rbp",    "rbx", "r11", "r10",     "r9",      "r8", "rax", "rcx", "rdx", "rsi",
             "rdi", "",    "rip", "cs",  "eflags", "rsp", "ss",  "fs_base", "gs_base", "ds", "es",  "fs",  "gs"};
  } else {
    for (int i = 0; i < 31; ++i) names.push_back("x" + std::to_string(i));
    names.insert(names.end(), {"sp", "pc", "cpsr"});
  }
  std::vector<std::string> commands, expected;
  size_t cpu = 0;
  for (const CoreFile::Note& note : core_->notes()) {
    if (note.name != "CORE" || note.type != 1) continue;
    commands.push_back("thread " + std::to_string(++cpu));
    expected.emplace_back();
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      commands.push_back("output/x $" + names[i]);
      expected.push_back(hex(word(note.bytes, 112 + 8 * i)));
    }
  }
  ASSERT_EQ(cpu, kCpus);
  for (const uint64_t address : addresses()) {
    commands.push_back("output/x *(unsigned long *)" + hex(address));
    expected.push_back(hex(word(core_->read(address, 8), 0)));
  }
  // By the guest's symbols, what each vCPU was at: the third one's role is a program in user mode.
  for (size_t i = 0; i < kCpus; ++i) {
    commands.push_back("thread " + std::to_string(i + 1));
    expected.emplace_back();
    commands.push_back("info symbol $pc");
    expected.emplace_back();
  }
  const GdbResult result = run_gdb(commands, {guest_elf(), "-c", path_}, 60s, is_x86() ? "gdb" : "gdb-multiarch");
  ASSERT_EQ(result.of.size(), commands.size()) << result.output;
  for (size_t i = 0; i < commands.size(); ++i) {
    if (expected[i].empty()) continue;
    EXPECT_EQ(result.of[i], expected[i]) << commands[i];
  }
  for (size_t i = 0; i < kCpus; ++i) {
    const std::string& symbol = result.of[commands.size() - 2 * kCpus + 2 * i + 1];
    EXPECT_THAT(symbol, HasSubstr(i == 2 ? "in section .user" : "in section .text")) << result.of[commands.size() - 1];
  }
}

void VmmVmcore::check_libkdumpfile() {
  Kdumpfile library(path_, false);
  for (const uint64_t address : addresses()) EXPECT_EQ(library.read_physical(address, 8), core_->read(address, 8));
  EXPECT_EQ(library.read_physical(ram() + kImageLoaded, 256), text(kImage, 256));
  for (const uint64_t address : nowhere()) EXPECT_ANY_THROW(library.read_physical(address, 8)) << address;
}

/// libkdumpfile finds the kernel's text by walking the guest's tables.
void VmmVmcore::check_libkdumpfile_walks() {
  Kdumpfile library(path_, false);
  // aarch64's notes have no root. The guest makes the same tables at the same place each time.
  uint64_t root = 0;
  if (is_x86()) {
    root = word(core_->notes()[kCpus].bytes, 392 + 3 * 8);
  } else {
    const auto other = reader::Dump::open(dump("qnx", {"", "aarch64", "none", {}}));
    ASSERT_TRUE(other) << other.error().text;
    root = (*other)->cpus()[0].registers.get("ttbr1_el1").value_or(0) & 0xfffffffff000;
  }
  const Kdumpfile::Form form{!is_x86(), {12, 9, 9, 9, 9}};
  for (size_t cpu = 0; cpu < kCpus; ++cpu) {
    if (cpu == 2) continue;  // user mode
    const auto answer = library.walk(form, root, pc(cpu));
    ASSERT_EQ(answer.kind, Kdumpfile::Answer::Kind::mapped) << answer.error;
    const size_t size = std::min<uint64_t>(16, 4096 - pc(cpu) % 4096);
    EXPECT_EQ(library.read_physical(answer.physical, size), text(pc(cpu), size)) << "vCPU " << cpu;
  }
}

/// makedumpfile copies such a dump; for all else it wants a Linux kernel's VMCOREINFO.
void VmmVmcore::check_makedumpfile() {
  const std::string copy = folder_.path("copy");
  const Completed done = run({"makedumpfile", "-E", "-d", "0", path_, copy});
  ASSERT_EQ(done.status, kDone) << done.out << done.err;
  {
    const CoreFile copied(copy);
    EXPECT_EQ(copied.coverage(), core_->coverage());
    EXPECT_EQ(first_difference(*core_, copied), "");
    ASSERT_EQ(copied.notes().size(), core_->notes().size());
    for (size_t i = 0; i < copied.notes().size(); ++i) EXPECT_EQ(copied.notes()[i].bytes, core_->notes()[i].bytes);
  }
  const Completed log = run({"makedumpfile", "--dump-dmesg", path_, folder_.path("log")});
  EXPECT_EQ(log.status, kFailed);
  EXPECT_THAT(log.out + log.err, HasSubstr("Can't find some symbols for log_buf"));
}

/// crash reads the memory, given symbols that look like a kernel's. One of another architecture it names.
void VmmVmcore::check_crash() {
  const std::string namelist = folder_.path("namelist");
  folder_.write("types.c", "struct task_struct { int pid; } task;\n");
  folder_.write("script", "SECTIONS { .text " + hex(kImage) + R"( : { BYTE(0) "_stext" = 0; "_text" = 0;
    "linux_banner" = 0x100; . = 0x2000; } .data )" +
                              hex(kImage + 0x2000) + R"( : { BYTE(0) "_sdata" = 0; "_end" = 0xfff;
    . = 0x1000; } /DISCARD/ : { *(.comment) *(.note*) *(.eh_frame) *(.bss) *(COMMON) } })");
  const Completed made = run(
      {"sh", "-c", "cd \"$0\" && gcc -g -c -fno-common types.c && ld -o namelist -T script types.o", folder_.path()});
  ASSERT_EQ(made.status, kDone) << made.err;
  std::string commands;
  for (const uint64_t address : addresses()) commands += "rd -p -64 " + hex(address) + "\n";
  for (const uint64_t address : nowhere()) commands += "rd -p -64 " + hex(address) + "\n";
  commands += "quit\n";
  const Completed done = run({"crash", "-s", "--minimal", "-i", folder_.write("commands", commands), namelist, path_});
  if (!is_x86()) {
    EXPECT_EQ(done.status, kFailed);
    EXPECT_THAT(done.out + done.err, HasSubstr("crash utility: X86_64"));
    EXPECT_THAT(done.out + done.err, HasSubstr(path_ + ": ARM64"));
    return;
  }
  EXPECT_EQ(done.status, kDone) << done.err;
  for (const uint64_t address : addresses()) {
    char line[40];
    std::snprintf(line, sizeof line, "%llx:  %016llx", static_cast<unsigned long long>(address),
                  static_cast<unsigned long long>(word(core_->read(address, 8), 0)));
    EXPECT_THAT(done.out, HasSubstr(line));
  }
  for (const uint64_t address : nowhere())
    EXPECT_THAT(done.out + done.err, HasSubstr("read error: physical address: " + hex(address).substr(2) + " "));
}

/// drgn opens x86_64 files with QEMU's notes for Linux only: of them it says what it says of QEMU's own.
void VmmVmcore::check_drgn() {
  const std::string script = folder_.write("read.py", R"(import sys
for address in sys.argv[1:]:
    print(prog.read(int(address, 16), 8, True).hex())
)");
  std::vector<std::string> argv{"drgn", "-q", "--no-default-symbols", "-c", path_, script};
  std::string expected;
  for (const uint64_t address : addresses()) {
    argv.push_back(hex(address));
    for (const unsigned char byte : core_->read(address, 8)) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", byte);
      expected += digits;
    }
    expected += '\n';
  }
  const Completed done = run(argv);
  if (is_x86()) {
    EXPECT_EQ(done.status, kFailed);
    EXPECT_THAT(done.err, HasSubstr("error: unrecognized QEMU memory dump; for Linux guests, run QEMU with"));
  } else {
    EXPECT_EQ(done.status, kDone) << done.err;
    EXPECT_EQ(done.out, expected);
  }
}

TEST_P(VmmVmcore, IsReadByEveryone) {
  open(dump("vmcore", GetParam()));
  EXPECT_EQ(core_->coverage(), (std::map<uint64_t, uint64_t>{{ram(), ram() + (16 << 20)}, {kHigh, kHigh + (8 << 20)}}));
  check_gdb();
  check_libkdumpfile();
  check_libkdumpfile_walks();
  check_makedumpfile();
  check_crash();
  check_drgn();
}

// A vmcore of one page: crash needs two PT_LOADs, makedumpfile whole pages.
class VmmVmcorePage : public VmmVmcore {};

TEST_P(VmmVmcorePage, IsReadByEveryone) {
  const uint64_t page = ram() + kImageLoaded;
  const std::string out = folder_.path("page");
  const Completed done = run(
      {program("gcore-convert"), dump("vmcore", GetParam()), out, "--dialect", "vmcore", "--range", hex(page) + ":4K"});
  ASSERT_EQ(done.status, kDone) << done.err;
  open(out);
  EXPECT_EQ(core_->coverage(), (std::map<uint64_t, uint64_t>{{page, page + 4096}}));
  check_gdb();
  check_libkdumpfile();
  check_makedumpfile();
  check_crash();
  check_drgn();
}

constexpr auto kName = [](const auto& test) { return test.param.name; };

INSTANTIATE_TEST_SUITE_P(Guest, VmmVmcore, testing::ValuesIn(kVariants), kName);
INSTANTIATE_TEST_SUITE_P(Guest, VmmVmcorePage, testing::Values(kVariants.front(), kVariants.back()), kName);

}  // namespace
}  // namespace gcore::tests
