// The vmcore dialect by raw offsets: what crash, drgn, gdb and libkdumpfile insist on.
#include <gmock/gmock.h>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

writer::Options vmcore() {
  writer::Options options;
  options.dialect = writer::Dialect::vmcore;
  return options;
}

struct Note {
  std::string name;
  uint32_t type;
  uint64_t at, size;  // of the descriptor, in the file
};

std::vector<Note> notes_of(const DumpBytes& file) {
  std::vector<Note> notes;
  uint64_t at = file.p_offset(0);
  const uint64_t end = at + file.p_filesz(0);
  while (at + 12 <= end) {
    const uint32_t name_size = file.u32(at), size = file.u32(at + 4);
    const uint64_t descriptor = at + 12 + (name_size + 3) / 4 * 4;
    notes.push_back({file.text(at + 12, name_size - 1), file.u32(at + 8), descriptor, size});
    at = descriptor + (size + 3) / 4 * 4;
  }
  EXPECT_EQ(at, end);
  return notes;
}

TEST(Vmcore, X86NotesComeInOrderAndHaveTheirExactSizes) {
  TempDir directory;
  FakeGuest guest;
  guest.vmcoreinfo_text = "OSRELEASE=6.1\n";
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    const char* names[] = {"r15",      "r8",        "rax",     "rdi",     "rip", "cs",  "rflags", "rsp",
                           "ss",       "fs_base",   "gs_base", "gs",      "cr0", "cr3", "cr4",    "kernel_gs_base",
                           "gdt_base", "gdt_limit", "tr",      "tr_base", "rcx"};
    uint64_t value = 0x100 * (index + 1);
    for (const char* name : names) EXPECT_TRUE(registers.set(name, value++));
    return true;
  };
  const DumpBytes file = dump_bytes(guest, directory, vmcore());
  const auto notes = notes_of(file);
  ASSERT_EQ(notes.size(), 5U);
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    const uint64_t base = 0x100 * (cpu + 1);
    const Note &status = notes[cpu], &qemu = notes[2 + cpu];
    EXPECT_EQ(status.name, "CORE");
    EXPECT_EQ(status.type, 1U);
    ASSERT_EQ(status.size, 336U);
    EXPECT_EQ(file.u32(status.at + 32), cpu + 1) << "pr_pid";
    const uint64_t registers = status.at + 112;
    EXPECT_EQ(file.u64(registers), base) << "r15";
    EXPECT_EQ(file.u64(registers + 9 * 8), base + 1) << "r8";
    EXPECT_EQ(file.u64(registers + 10 * 8), base + 2) << "rax";
    EXPECT_EQ(file.u64(registers + 11 * 8), base + 20) << "rcx";
    EXPECT_EQ(file.u64(registers + 14 * 8), base + 3) << "rdi";
    EXPECT_EQ(file.u64(registers + 15 * 8), 0U) << "orig_rax";
    EXPECT_EQ(file.u64(registers + 16 * 8), base + 4) << "rip";
    EXPECT_EQ(file.u64(registers + 18 * 8), base + 6) << "eflags";
    EXPECT_EQ(file.u64(registers + 19 * 8), base + 7) << "rsp";
    EXPECT_EQ(file.u64(registers + 22 * 8), base + 10) << "gs_base";
    EXPECT_EQ(file.u64(registers + 26 * 8), base + 11) << "gs";

    EXPECT_EQ(qemu.name, "QEMU");
    EXPECT_EQ(qemu.type, 0U);
    ASSERT_EQ(qemu.size, 440U);
    EXPECT_EQ(file.u32(qemu.at), 1U);
    EXPECT_EQ(file.u32(qemu.at + 4), 440U);
    EXPECT_EQ(file.u64(qemu.at + 8), base + 2) << "rax";
    EXPECT_EQ(file.u64(qemu.at + 72), base + 1) << "r8";
    EXPECT_EQ(file.u64(qemu.at + 136), base + 4) << "rip";
    EXPECT_EQ(file.u32(qemu.at + 152), base + 5) << "cs selector";
    EXPECT_EQ(file.u64(qemu.at + 152 + 4 * 24 + 16), base + 10) << "gs base";
    EXPECT_EQ(file.u32(qemu.at + 152 + 7 * 24), base + 18) << "tr selector";
    EXPECT_EQ(file.u64(qemu.at + 152 + 8 * 24 + 16), base + 16) << "gdt base";
    EXPECT_EQ(file.u32(qemu.at + 152 + 8 * 24 + 4), base + 17) << "gdt limit";
    EXPECT_EQ(file.u64(qemu.at + 392), base + 12) << "cr0";
    EXPECT_EQ(file.u64(qemu.at + 392 + 3 * 8), base + 13) << "cr3";
    EXPECT_EQ(file.u64(qemu.at + 432), base + 15) << "kernel_gs_base";
  }
  EXPECT_EQ(notes[4].name, "VMCOREINFO");
  EXPECT_EQ(notes[4].type, 0U);
  EXPECT_EQ(file.text(notes[4].at, notes[4].size), "OSRELEASE=6.1\n");
}

TEST(Vmcore, Aarch64HasPrstatusAndFloatingPointOnly) {
  TempDir directory;
  FakeGuest guest;
  guest.machine_kind = format::Machine::aarch64;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    registers.put("x0", 5);
    registers.put("x30", 6);
    registers.put("sp", 7);
    registers.put("elr", 8);
    registers.put("pstate", 9);
    if (index == 0) registers.put("v0.lo", 10);
    if (index == 0) registers.put("v31.hi", 11);
    if (index == 0) registers.put("fpcr", 12);
    return true;
  };
  const DumpBytes file = dump_bytes(guest, directory, vmcore());
  const auto notes = notes_of(file);
  ASSERT_EQ(notes.size(), 3U);
  EXPECT_EQ(notes[0].type, 1U);
  ASSERT_EQ(notes[0].size, 392U);
  for (const auto& [index, value] : {std::pair(0, 5), {30, 6}, {31, 7}, {32, 8}, {33, 9}})
    EXPECT_EQ(file.u64(notes[0].at + 112 + 8 * static_cast<unsigned>(index)), static_cast<unsigned>(value));
  EXPECT_EQ(file.u32(notes[0].at + 384), 1U) << "fpvalid";
  EXPECT_EQ(notes[1].type, 2U);
  ASSERT_EQ(notes[1].size, 528U);
  EXPECT_EQ(file.u64(notes[1].at), 10U);
  EXPECT_EQ(file.u64(notes[1].at + 504), 11U);
  EXPECT_EQ(file.u32(notes[1].at + 516), 12U);
  EXPECT_EQ(notes[2].type, 1U);
  EXPECT_EQ(file.u32(notes[2].at + 384), 0U) << "no vectors, no PRFPREG";
}

TEST(Vmcore, LoadsFollowTheRulesOfCrash) {
  TempDir directory;
  FakeGuest guest(9);
  guest.ranges = {guest.range(0x40000000, 0, 9 * kPage)};
  guest.fill(0, 'a', 9);
  guest.fill(8, 'z');
  const DumpBytes file = dump_bytes(guest, directory, vmcore());
  ASSERT_EQ(file.u16(56), 3) << "one range makes two PT_LOADs";
  EXPECT_EQ(file.u32(file.phdr(0)), 4U);
  EXPECT_EQ(file.u64(file.phdr(0) + 48), 4U) << "p_align of the note";
  EXPECT_LE(file.p_offset(0) + file.p_filesz(0), file.p_offset(1));
  uint64_t next = 0x40000000;
  for (unsigned i = 1; i <= 2; ++i) {
    EXPECT_EQ(file.u64(file.phdr(i) + 16), next) << "p_vaddr";
    EXPECT_EQ(file.u64(file.phdr(i) + 24), next) << "p_paddr";
    EXPECT_EQ(file.u64(file.phdr(i) + 48), 0U) << "p_align";
    EXPECT_EQ(file.p_filesz(i), file.u64(file.phdr(i) + 40));
    next += file.p_filesz(i);
  }
  EXPECT_EQ(next, 0x40000000 + 9 * kPage);
  EXPECT_EQ(file.p_offset(1) + file.p_filesz(1), file.p_offset(2));
  EXPECT_EQ(file.u8(file.p_offset(1)), 'a');
  EXPECT_EQ(file.u8(file.p_offset(1) + 9 * kPage - 1), 'z');
}

TEST(Vmcore, OnePageHasAnEmptySecondLoad) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{0x40000000}, UINT64_MAX - kPage + 1}) {
    TempDir directory;
    FakeGuest guest(1);
    guest.ranges = {guest.range(address, 0, kPage)};
    guest.fill(0, 'p');
    const DumpBytes file = dump_bytes(guest, directory, vmcore());
    ASSERT_EQ(file.u16(56), 3);
    for (const auto& [index, start, size] :
         {std::tuple(1U, address, kPage), std::tuple(2U, address + kPage, uint64_t{0})}) {
      EXPECT_EQ(file.u32(file.phdr(index)), 1U);
      EXPECT_EQ(file.u64(file.phdr(index) + 16), start) << "p_vaddr";
      EXPECT_EQ(file.u64(file.phdr(index) + 24), start) << "p_paddr";
      EXPECT_EQ(file.u64(file.phdr(index) + 32), size) << "p_filesz";
      EXPECT_EQ(file.u64(file.phdr(index) + 40), size) << "p_memsz";
      EXPECT_EQ(file.u64(file.phdr(index) + 48), 0U) << "p_align";
    }
    EXPECT_EQ(file.p_offset(2), file.p_offset(1) + kPage);
    EXPECT_EQ(file.text(file.p_offset(1), kPage), std::string(kPage, 'p'));
  }
}

// The notes have room for registers that no vCPU has: 0 there, which the file must not pass off as what it was.
TEST(Vmcore, RegistersThatNoVcpuHasAreListed) {
  TempDir directory;
  FakeGuest guest(8);
  guest.cpus = 64;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    for (const auto& info : format::registers(registers.machine()))
      if (info.name != "cr3" && info.name != "rax" && info.name != "dr7") registers.put(info.name, 1);
    if (index == 9) registers.put("cr3", 0x5000);
    return true;
  };
  writer::Options options;
  options.dialect = writer::Dialect::vmcore;
  EXPECT_THAT(
      dump_bytes(guest, directory, options).info(),
      testing::HasSubstr(R"("unavailable_vcpus": 64, "unavailable": [{"vcpu": 0, "to": 8, "registers": "rax cr3"}, )"
                         R"({"vcpu": 9, "registers": "rax"}, {"vcpu": 10, "to": 63, "registers": "rax cr3"}])"))
      << "dr7 is not in these notes";
}

TEST(Vmcore, Aarch64VectorsAreUnavailableOnlyWhereThereIsANoteForThem) {
  TempDir directory;
  FakeGuest guest(8);
  guest.machine_kind = format::Machine::aarch64;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    for (const auto& info : format::registers(registers.machine()))
      if (info.core_offset >= 0) registers.put(info.name, 1);
    if (index == 1) registers.put("v0.lo", 1);
    return true;
  };
  writer::Options options;
  options.dialect = writer::Dialect::vmcore;
  EXPECT_THAT(dump_bytes(guest, directory, options).info(),
              testing::HasSubstr(R"("unavailable_vcpus": 1, "unavailable": [{"vcpu": 1, "registers": "v0.hi v1.lo )"));
}

TEST(Vmcore, ListOfUnavailableRegistersIsCutOffAndTheCountIsNot) {
  TempDir directory;
  FakeGuest guest(8);
  guest.cpus = 300;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    return registers.set(index % 2 == 0 ? "rip" : "rax", 1);  // no neighbours alike
  };
  writer::Options options;
  options.dialect = writer::Dialect::vmcore;
  const std::string info = dump_bytes(guest, directory, options).info();
  EXPECT_THAT(info, testing::HasSubstr("\"unavailable_vcpus\": 300,"));
  EXPECT_THAT(info, testing::Not(testing::HasSubstr("\"vcpu\": 299")));
  EXPECT_THAT(info, testing::EndsWith("\"missing\": []}"));
}

TEST(Vmcore, X86In32BitsIsRefused) {
  TempDir directory;
  FakeGuest guest;
  guest.machine_kind = format::Machine::x86;
  guest.on_read_cpu = [](size_t, format::RegisterFile& registers) { return registers.set("eip", 1); };
  writer::Options options = vmcore();
  options.target = directory.path();
  const writer::Result result = writer::dump(guest, options);
  EXPECT_EQ(result.status.text(), "the vmcore dialect has x86_64 and aarch64 guests only; use the qnx dialect");
  EXPECT_EQ(guest.resumes, 1);
  EXPECT_TRUE(directory.entries().empty());
}

}  // namespace
}  // namespace gcore::tests
