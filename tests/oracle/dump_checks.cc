#include "tests/oracle/dump_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>

#include "reader/guest/guest.h"
#include "tests/dump/dump_files.h"
#include "tests/support/gdb_session.h"
#include "tests/support/paths.h"
#include "tests/support/regex.h"
#include "tests/support/vcpu_states.h"

namespace gcore::tests {
namespace {

using testing::HasSubstr;

constexpr ExitStatus kDone{0, 0};
constexpr size_t kReadsInCrash = 100;

std::string hex(uint64_t number) {
  char digits[19];
  std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(number));
  return digits;
}

/// SYMBOL(name) of VMCOREINFO.
uint64_t symbol(const StoppedGuest& guest, const std::string& name) {
  const std::string text(guest.vmcore().vmcoreinfo()), key = "SYMBOL(" + name + ")=";
  const size_t at = text.find(key);
  if (at == std::string::npos) throw std::runtime_error("VMCOREINFO has no " + key);
  return std::stoull(text.substr(at + key.size(), 16), nullptr, 16);
}

/// Those of a file's notes that both sides have: QEMU adds a note for aarch64's SVE registers, of another type.
std::vector<CoreFile::Note> common_notes(const CoreFile& file) {
  std::vector<CoreFile::Note> notes;
  for (const CoreFile::Note& note : file.notes())
    if ((note.name == "CORE" && note.type <= 2) || note.name == "QEMU") notes.push_back(note);
  return notes;
}

/// Target byte order to a number.
uint64_t little_endian(const std::string& digits) {
  std::string bytes = from_hex(digits);
  std::ranges::reverse(bytes);
  return std::stoull(to_hex(bytes), nullptr, 16);
}

std::vector<std::string> general_registers(bool x86) {
  if (x86)
    return {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp",    "rsp", "r8", "r9",      "r10",
            "r11", "r12", "r13", "r14", "r15", "rip", "eflags", "cs",  "ss", "fs_base", "gs_base"};
  std::vector<std::string> names{"sp", "pc", "cpsr"};
  for (int i = 0; i < 31; ++i) names.push_back("x" + std::to_string(i));
  return names;
}

/// Every guest-physical byte, and every note that both may have. `coverage`: the same memory, too; a kdump-compressed
/// file rounds it.
void expect_same(const CoreFile& ours, const CoreFile& theirs, bool coverage = true) {
  if (coverage) {
    EXPECT_EQ(ours.coverage(), theirs.coverage());
  }
  EXPECT_EQ(first_difference(theirs, ours), "");
  auto our_notes = common_notes(ours), their_notes = common_notes(theirs);
  ASSERT_EQ(our_notes.size(), their_notes.size());
  for (size_t i = 0; i < our_notes.size(); ++i) {
    EXPECT_EQ(our_notes[i].name, their_notes[i].name);
    EXPECT_EQ(our_notes[i].type, their_notes[i].type);
    EXPECT_EQ(to_hex(our_notes[i].bytes), to_hex(their_notes[i].bytes)) << "note " << i;
  }
}

/// drgn reads the kernel's banner by a kernel-virtual address.
void expect_drgn_reads(StoppedGuest& guest, const std::string& path) {
  const std::string script = guest.folder().write("banner.py", R"(import drgn, re, sys
start, end, step = int(sys.argv[1], 16), int(sys.argv[2], 16), 1 << 20
for address in range(start, end, step):
    try:
        found = re.search(rb"Linux version [^ ]*", prog.read(address, step))
    except drgn.FaultError:
        continue
    if found:
        print(found[0].decode())
        break
print(prog.read(int(sys.argv[3], 16), 5).decode())
)");
  const Completed done = run({"drgn", "-q", "--no-default-symbols", "-c", path, script, hex(symbol(guest, "_stext")),
                              hex(symbol(guest, "swapper_pg_dir")), hex(symbol(guest, "init_uts_ns"))});
  EXPECT_THAT(done.out, testing::ContainsRegex("Linux version 6.*\nLinux\n")) << done.err;
}

}  // namespace

void check_against_qemus_dump(StoppedGuest& guest) {
  const std::string path = guest.folder().path("oracle");
  guest.guest().dump_guest_memory(path);
  {
    const CoreFile ours(guest.vmcore_path()), theirs(path);
    // x86_64: NT_PRSTATUS and QEMU of each vCPU; aarch64: NT_PRSTATUS and NT_PRFPREG.
    EXPECT_EQ(common_notes(theirs).size(), 2 * guest.cpus());
    expect_same(ours, theirs);
    EXPECT_EQ(ours.notes().back().name, "VMCOREINFO");
    if (guest.memory_mib() > 2048) {
      EXPECT_GT(ours.coverage().rbegin()->second, uint64_t{1} << 32);
    }
  }
  std::filesystem::remove(path);
}

void check_converted(StoppedGuest& guest) {
  if (guest.memory_mib() > 1024) return;
  const std::string elf = guest.folder().path("elf"), kdump = guest.folder().path("kdump");
  guest.guest().dump_guest_memory(elf);
  guest.guest().qmp().execute(
      "dump-guest-memory",
      R"({"paging": false, "format": "kdump-zlib", "protocol": )" + Qmp::quote("file:" + kdump) + "}", 180s);
  const CoreFile expected(guest.vmcore_path());
  for (const std::string& from : {elf, kdump, guest.qnx_path()}) {
    SCOPED_TRACE(from);
    const std::string out = guest.folder().path("converted");
    const Completed done = run({program("gcore-convert"), from, out, "--dialect", "vmcore"}, 120s);
    ASSERT_EQ(done.status, kDone) << done.err;
    {
      const CoreFile converted(out);
      expect_same(converted, expected, from != kdump);
      EXPECT_EQ(converted.notes().back().name, "VMCOREINFO");
      EXPECT_EQ(converted.notes().back().bytes, expected.notes().back().bytes);
    }
    expect_drgn_reads(guest, out);
    std::filesystem::remove(out);
  }
  std::filesystem::remove(elf);
  std::filesystem::remove(kdump);
}

void check_vcpu_states(StoppedGuest& guest) {
  const auto expected = vcpu_states_by_qemu(guest.guest(), guest.cpus());
  EXPECT_THAT(expected, testing::Contains(testing::StartsWith("user, ")));
  const std::string registers = guest.guest().qmp().human("info registers");
  RegexMatch cr4;
  std::string paging = "aarch64, ";
  if (regex_search(registers, cr4, Regex("CR4=([0-9a-f]+)")))
    paging = (std::stoul(cr4[1], nullptr, 16) & 1 << 12) != 0 ? "x86_64, 5-level" : "x86_64, 4-level";
  for (const std::string& path : {guest.qnx_path(), guest.vmcore_path()}) {
    InspectedVcpus inspected = vcpu_states_by_inspect(path);
    if (!guest.is_x86())  // QEMU does not say which of those is halted or waits for an event
      for (std::string& state : inspected.states)
        for (const char* waits : {", halted", ", waiting for an event"})
          if (const size_t at = state.find(waits); at != std::string::npos) state.resize(at);
    auto states = expected;
    if (guest.is_vhe_host() && path == guest.qnx_path())  // the other dialect has no hcr_el2, which says that it is one
      std::ranges::replace(states, std::string("hypervisor, EL2"), std::string("kernel, EL2 (VHE)"));
    EXPECT_EQ(inspected.states, states) << path;
    EXPECT_THAT(inspected.paging, testing::Each(HasSubstr(paging))) << path;
    // A vCPU in a process whose page tables lack the kernel: where that is found is said. (One in the kernel may have
    // these tables, too: on its way in or out.)
    if (!guest.isolates_page_tables() || (!guest.is_x86() && path == guest.vmcore_path())) continue;
    for (size_t cpu = 0; cpu < inspected.states.size(); ++cpu) {
      if (!expected[cpu].starts_with("user")) continue;
      EXPECT_THAT(inspected.paging[cpu], testing::EndsWith("(page-table isolation)"));
    }
  }
}

void check_in_gdb(StoppedGuest& guest) {
  const auto names = general_registers(guest.is_x86());
  std::vector<std::string> commands{"x/s " + hex(symbol(guest, "init_uts_ns"))};
  std::vector<uint64_t> expected;
  const auto threads = guest.stub().threads();
  ASSERT_EQ(threads.size(), guest.cpus());
  for (size_t cpu = 0; cpu < guest.cpus(); ++cpu) {
    guest.stub().select(threads[cpu]);
    auto values = guest.stub().registers();
    commands.push_back("thread " + std::to_string(cpu + 1));
    for (const std::string& name : names) {
      commands.push_back("output/x $" + name);
      expected.push_back(little_endian(values[name]));
    }
  }
  const GdbResult result =
      run_gdb(commands, {"-c", guest.vmcore_path()}, 60s, guest.is_x86() ? "gdb" : "gdb-multiarch");
  ASSERT_EQ(result.of.size(), commands.size()) << result.output;
  EXPECT_THAT(result.of[0], HasSubstr("\"Linux\""));
  for (size_t cpu = 0; cpu < guest.cpus(); ++cpu)
    for (size_t i = 0; i < names.size(); ++i)
      EXPECT_EQ(result.of[2 + cpu * (names.size() + 1) + i], hex(expected[cpu * names.size() + i]))
          << names[i] << " of vCPU " << cpu;
}

void check_in_drgn(StoppedGuest& guest) { expect_drgn_reads(guest, guest.vmcore_path()); }

void check_in_makedumpfile(StoppedGuest& guest) {
  if (!guest.is_x86()) return;
  const std::string messages = guest.folder().path("dmesg"), small = guest.folder().path("kdump");
  const Completed log = run({"makedumpfile", "--dump-dmesg", guest.vmcore_path(), messages});
  EXPECT_EQ(log.status, kDone) << log.out << log.err;
  EXPECT_THAT(read_file(messages), HasSubstr("Linux version"));
  // Without zero, free, cache and process pages: it has to find its way through the kernel's page structures for that.
  const Completed done = run({"makedumpfile", "-l", "-d", "31", guest.vmcore_path(), small}, 120s);
  EXPECT_EQ(done.status, kDone) << done.out << done.err;
  EXPECT_GT(std::filesystem::file_size(small), 1U << 20);
  std::filesystem::remove(small);
  // What is sound here is so there: an ELF file that has the kernel's image twice, and no section headers any more.
  const Completed elf = run({"makedumpfile", "-E", "-d", "31", guest.vmcore_path(), small}, 120s);
  EXPECT_EQ(elf.status, kDone) << elf.out << elf.err;
  const Completed verified = run({program("gcore-inspect"), "--verify", small}, 120s);
  EXPECT_EQ(verified.status, kDone) << verified.out;
  EXPECT_EQ(verified.err, "");
  std::filesystem::remove(small);
}

void check_in_crash(StoppedGuest& guest) {
  if (!guest.is_x86()) return;
  const std::string namelist = guest.folder().path("namelist");
  const Completed made =
      run({source_dir() + "/tests/oracle/make-namelist", program("gcore-inspect"), guest.vmcore_path(), namelist});
  ASSERT_EQ(made.status, kDone) << made.err;
  auto space = reader::Guest(guest.vmcore()).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  std::vector<uint64_t> addresses, values;
  std::string commands = "rd linux_banner 2\n";
  // In minimal mode crash knows the kernel's image and the direct map, not where vmalloc's areas are.
  const uint64_t start = symbol(guest, "_stext"), end = symbol(guest, "swapper_pg_dir");
  std::mt19937_64 random(5);
  while (addresses.size() < kReadsInCrash) {
    const uint64_t address = (start + random() % (end - start)) & ~uint64_t{7};
    uint64_t value = 0;
    if (space->read(reader::VirtAddr(address), std::as_writable_bytes(std::span(&value, 1))).bytes != 8) continue;
    addresses.push_back(address);
    values.push_back(value);
    commands += "rd -64 " + hex(address) + "\n";
  }
  const Completed done = run({"crash", "-s", "--minimal", "-i", guest.folder().write("commands", commands + "quit\n"),
                              namelist, guest.vmcore_path()});
  EXPECT_THAT(done.out, HasSubstr("Linux version 6")) << done.err;
  for (size_t i = 0; i < addresses.size(); ++i) {
    char line[40];
    std::snprintf(line, sizeof line, "%llx:  %016llx", static_cast<unsigned long long>(addresses[i]),
                  static_cast<unsigned long long>(values[i]));
    EXPECT_THAT(done.out, HasSubstr(line));
  }
}

}  // namespace gcore::tests
