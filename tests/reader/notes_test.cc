// vCPUs of both dialects, in every shape that other writers give them.
#include "tests/reader/fixture.h"

namespace gcore::tests {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// The byte at 0x1000.
char memory_of(const reader::Dump& dump) {
  std::byte byte{};
  return dump.read(reader::PhysAddr(0x1000), std::span(&byte, 1)).bytes == 1 ? char(byte) : '?';
}

TEST(QnxNotes, RegistersNamesAndProcesses) {
  const auto dump = opened(small_dump(two_cpus().build()));
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->dialect(), reader::Dialect::qnx);
  EXPECT_THAT(dump->warnings(), IsEmpty());
  ASSERT_EQ(dump->cpus().size(), 2u);
  const reader::Cpu &first = dump->cpus()[0], &second = dump->cpus()[1];
  EXPECT_EQ(first.registers.get("rip"), 0x1111u);
  EXPECT_EQ(first.registers.get("cr3"), 0x5018u);
  EXPECT_EQ(first.registers.get("cr0"), std::nullopt);
  EXPECT_EQ(first.process_name, "procnto");
  EXPECT_EQ(first.page_table, reader::PhysAddr(0x5000));
  EXPECT_EQ(second.registers.get("ss"), 0x10u);
  EXPECT_EQ(second.number, 1u);
  EXPECT_EQ(second.page_table, std::nullopt);
  ASSERT_EQ(second.other_registers.size(), 1u);
  EXPECT_EQ(second.other_registers[0], std::pair(std::string("odd_one"), uint64_t{7}));
}

TEST(QnxNotes, SizesOfOneEntryEach) {
  QnxNote note = two_cpus();
  note.sizes_per_entry = true;
  const auto dump = opened(small_dump(note.build()));
  ASSERT_TRUE(dump);
  ASSERT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[0].registers.get("cr3"), 0x5018u);
  EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 0x2222u);
  EXPECT_EQ(dump->cpus()[1].other_registers.at(0).second, 7u);
}

TEST(QnxNotes, FewerRecordsThanAnnounced) {
  QnxNote note = two_cpus();
  note.num_cpus = 8;
  const auto dump = opened(small_dump(note.build()));
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->cpus().size(), 2u);
  EXPECT_THAT(dump->warnings(), Contains("the kdump note announces 8 vCPUs (num_cpus) and has the records of 2"));
}

TEST(QnxNotes, OlderFileWithoutExtraRegistersLastInTheTable) {
  QnxNote note = two_cpus();
  note.extra_names.clear();
  DumpBuilder builder = small_dump(note.build());
  builder.notes_last = true;
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[0].registers.get("cr3"), std::nullopt);
}

TEST(QnxNotes, BigEndianAarch64) {
  QnxNote note;
  note.machine = kEmAarch64;
  note.big_endian = true;
  note.extra_names = {"ttbr0_el1", "v3.hi"};
  note.cpus = {{.registers = {{"x0", 1}, {"elr", 0xffff000000001234}, {"ttbr0_el1", 0x4000}, {"v3.hi", 9}}}};
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  builder.big_endian = true;
  builder.note(note.build()).memory(0, "abcd");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->machine(), format::Machine::aarch64);
  EXPECT_EQ(dump->cpus()[0].registers.get("elr"), 0xffff000000001234u);
  EXPECT_EQ(dump->cpus()[0].registers.get("ttbr0_el1"), 0x4000u);
  EXPECT_EQ(dump->cpus()[0].registers.get("v3.hi"), 9u);
}

TEST(QnxNotes, X86InTheKernelHasItsStackAboveTheFrame) {
  QnxNote note;
  note.machine = kEmX86;
  note.cpus = {{.registers = {{"cs", 8}, {"exx", 0x1000}, {"esp", 0xbad}, {"ss", 0xbad}}},
               {.registers = {{"cs", 0x1b}, {"exx", 0x1000}, {"esp", 0x7000}, {"ss", 0x23}}}};
  DumpBuilder builder;
  builder.machine = kEmX86;
  builder.elf32 = true;
  builder.note(note.build()).memory(0, "abcd");
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_FALSE(dump->is_64_bit());
  EXPECT_EQ(dump->cpus()[0].registers.get("esp"), 0x100cu);
  EXPECT_EQ(dump->cpus()[0].registers.get("ss"), 0u);
  EXPECT_EQ(dump->cpus()[1].registers.get("esp"), 0x7000u);
  EXPECT_EQ(dump->cpus()[1].registers.get("ss"), 0x23u);
}

TEST(QnxNotes, X86WithAndWithoutPaeInBothByteOrders) {
  for (const bool big : {false, true})
    for (const uint64_t pae : {0u, 1u}) {
      QnxNote note;
      note.machine = kEmX86;
      note.big_endian = big;
      note.cpu_info = pae;
      note.cpus = {{.pgtbl = 0x5000, .registers = {{"eip", 0x1234}, {"cs", 0x1b}}}};
      DumpBuilder builder;
      builder.machine = kEmX86;
      builder.elf32 = true;
      builder.big_endian = big;
      builder.note(note.build()).memory(0, "abcd");
      const auto dump = opened(builder);
      ASSERT_TRUE(dump);
      EXPECT_EQ(dump->machine(), format::Machine::x86);
      EXPECT_EQ(dump->kdump_facts()->cpu_info, pae);
      EXPECT_EQ(dump->cpus()[0].page_table, reader::PhysAddr(0x5000));
      EXPECT_EQ(dump->cpus()[0].registers.get("eip"), 0x1234u);
    }
}

TEST(QnxNotes, FaultAndSegmentNumbers) {
  QnxNote note = two_cpus();
  note.sig_num = 11;
  note.faulting_cpu = 1;
  note.procnto = 1;
  note.syspage = 99;
  const auto dump = opened(small_dump(note.build()));
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->signal(), 11);
  EXPECT_EQ(dump->faulting_cpu(), 1u);
  EXPECT_EQ(dump->kdump_facts()->procnto->address, reader::PhysAddr(0x10000));
  EXPECT_FALSE(dump->kdump_facts()->syspage);
  EXPECT_THAT(dump->warnings(), Contains("the kdump note's syspage_segnum is 99; there are 2 segments"));
}

TEST(QnxNotes, FaultingCpuThatIsNotThere) {
  QnxNote note = two_cpus();
  note.faulting_cpu = 5;
  const auto dump = opened(small_dump(note.build()));
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->faulting_cpu(), 0u);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("names vCPU 5 as the faulting one, of 2")));
}

TEST(QnxNotes, SizesThatDoNotAddUp) {
  QnxNote small = two_cpus(), large = two_cpus();
  small.regset_size = 100;
  large.regset_size = 1 << 20;
  for (const auto& [note, why] :
       {std::pair(small.build(),
                  "the dump has no vCPUs: its kdump note gives a register block of 100 bytes (regset_size), less than "
                  "the 160 bytes of this machine's CPU registers"),
        {large.build(), "the dump has no vCPUs: its kdump note has no complete record of a vCPU: "},
        {"\x01\x02",
         "the dump has no vCPUs: there are 2 bytes of its note segment, which are neither an ELF note nor a kdump "}}) {
    const auto dump = opened(small_dump(note));
    ASSERT_TRUE(dump);
    EXPECT_THAT(dump->warnings(), ElementsAre(StartsWith(why)));
    EXPECT_THAT(dump->cpus(), IsEmpty());
    EXPECT_EQ(memory_of(*dump), 'a');
  }
}

/// Notes behind the memory, of which the file lacks the last `lost` bytes.
DumpBuilder notes_at_the_end(const std::string& note, uint64_t lost) {
  DumpBuilder builder;
  builder.memory(0x1000, std::string(4096, 'a'));
  const uint64_t offset = builder.build().size();
  builder.header({.type = 4, .offset = offset, .file_size = note.size()});
  const uint64_t behind = builder.build().size();
  builder.patch(offset, note);
  builder.cut(offset + note.size() - lost);
  EXPECT_EQ(behind, offset) << "the header's room is before the memory";
  return builder;
}

std::string cut_off(uint64_t size, uint64_t lost) {
  return "the note segment (program header 1) has " + std::to_string(size) + " bytes at offset 8192, of which " +
         std::to_string(size - lost) + " can be read: the file is truncated at " + std::to_string(8192 + size - lost);
}

TEST(QnxNotes, CutOffNoteHasTheRecordsThatAreComplete) {
  QnxNote note = two_cpus();
  note.sig_num = 11;
  for (const bool per_entry : {false, true}) {
    note.sizes_per_entry = per_entry;
    const std::string bytes = note.build();
    const auto dump = opened(notes_at_the_end(bytes, 10));
    ASSERT_TRUE(dump);
    ASSERT_EQ(dump->cpus().size(), 1u);
    EXPECT_EQ(dump->cpus()[0].registers.get("cr3"), 0x5018u);
    EXPECT_EQ(dump->signal(), 11);
    EXPECT_EQ(memory_of(*dump), 'a');
    EXPECT_THAT(dump->warnings(), ElementsAre(cut_off(bytes.size(), 10),
                                              "the kdump note announces 2 vCPUs (num_cpus) and has the records of 1"));
  }
  const std::string bytes = note.build();
  const auto header_only = opened(notes_at_the_end(bytes, bytes.size() - 50));
  ASSERT_TRUE(header_only);
  EXPECT_EQ(header_only->dialect(), reader::Dialect::qnx);
  EXPECT_EQ(header_only->signal(), 11);
  EXPECT_THAT(header_only->cpus(), IsEmpty());
  EXPECT_THAT(header_only->warnings(), ElementsAre(cut_off(bytes.size(), bytes.size() - 50),
                                                   HasSubstr("no complete record of a vCPU: 50 bytes are fewer")));
  const auto nothing = opened(notes_at_the_end(bytes, bytes.size()));
  ASSERT_TRUE(nothing);
  EXPECT_THAT(nothing->warnings(),
              ElementsAre(cut_off(bytes.size(), bytes.size()), "the dump has no vCPUs: its notes are lost"));
}

std::string x86_notes(uint32_t first_pid, size_t padding, bool kernel_gs_base = true) {
  std::string notes;
  for (uint32_t i = 0; i < 2; ++i)
    notes += elf_note("CORE", 1, prstatus(kEmX86_64, first_pid + i, {{"rip", 0x100 + i}, {"cs", 0x10}}), padding);
  for (uint32_t i = 0; i < 2; ++i)
    notes += elf_note("QEMU", 0,
                      qemu_note({{"cr3", 0x5018 + i},
                                 {"gdt_base", 0x77},
                                 {"gdt_limit", 0x7f},
                                 {"gs_base", 0x88},
                                 {"cr4", 0x20},
                                 {"kernel_gs_base", 0x99}},
                                kernel_gs_base),
                      padding);
  return notes + elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\nPAGESIZE=4096\n", padding);
}

TEST(VmcoreNotes, PidsPaddingsAndQemuSizes) {
  for (const uint32_t first_pid : {0u, 1u})
    for (const size_t padding : {4u, 8u})
      for (const bool kernel_gs_base : {false, true}) {
        SCOPED_TRACE(testing::Message() << first_pid << " " << padding << " " << kernel_gs_base);
        const auto dump = opened(small_dump(x86_notes(first_pid, padding, kernel_gs_base)));
        ASSERT_TRUE(dump);
        EXPECT_EQ(dump->dialect(), reader::Dialect::vmcore);
        EXPECT_THAT(dump->warnings(), IsEmpty());
        ASSERT_EQ(dump->cpus().size(), 2u);
        const reader::Cpu& cpu = dump->cpus()[1];
        EXPECT_EQ(cpu.number, 1u);
        EXPECT_EQ(cpu.registers.get("rip"), 0x101u);
        EXPECT_EQ(cpu.registers.get("cr3"), 0x5019u);
        EXPECT_EQ(cpu.registers.get("gdt_base"), 0x77u);
        EXPECT_EQ(cpu.registers.get("gdt_limit"), 0x7fu);
        EXPECT_EQ(cpu.registers.get("gs_base"), 0x88u);
        EXPECT_EQ(cpu.registers.get("efer"), std::nullopt);
        EXPECT_EQ(cpu.registers.get("kernel_gs_base"), kernel_gs_base ? std::optional<uint64_t>(0x99) : std::nullopt);
        EXPECT_EQ(cpu.page_table, reader::PhysAddr(0x5000));
        EXPECT_EQ(dump->vmcoreinfo(), "OSRELEASE=6.1\nPAGESIZE=4096\n");
      }
}

TEST(VmcoreNotes, SeveralNoteSegments) {
  DumpBuilder builder = small_dump(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})));
  builder.note(elf_note("CORE", 1, prstatus(kEmX86_64, 2, {{"rip", 5}})));
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  ASSERT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 5u);
}

TEST(VmcoreNotes, NoteSegmentsBetweenAndBehindTheOthers) {
  DumpBuilder between;
  between.memory(0x1000, "abcd")
      .note(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 1}})))
      .memory(0x2000, "efgh")
      .note(elf_note("CORE", 1, prstatus(kEmX86_64, 2, {{"rip", 2}})));
  DumpBuilder last = between;
  last.notes_last = true;
  for (const DumpBuilder& builder : {between, last}) {
    const auto dump = opened(builder);
    ASSERT_TRUE(dump);
    ASSERT_EQ(dump->cpus().size(), 2u);
    EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 2u);
    EXPECT_EQ(dump->segments().size(), 2u);
    EXPECT_THAT(dump->warnings(), IsEmpty());
  }
}

TEST(VmcoreNotes, PidsOfTheProcessesThatRan) {  // as a Linux kernel's own dump has them
  DumpBuilder builder = small_dump(elf_note("CORE", 1, prstatus(kEmX86_64, 4711, {})) +
                                   elf_note("CORE", 1, prstatus(kEmX86_64, 99'999, {{"rip", 5}})) +
                                   elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n"));
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  ASSERT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[1].number, 1u);
  EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 5u);
}

TEST(VmcoreNotes, Aarch64BothByteOrders) {
  for (const bool big : {false, true}) {
    DumpBuilder builder;
    builder.machine = kEmAarch64;
    builder.big_endian = big;
    builder.note(elf_note("CORE", 1, prstatus(kEmAarch64, 1, {{"x7", 7}, {"elr", 0x1234}}, big), 4, big) +
                 elf_note("CORE", 2, prfpreg_aarch64({{"v31.hi", 31}, {"fpcr", 3}}, big), 4, big));
    builder.memory(0x40000000, "abcd");
    const auto dump = opened(builder);
    ASSERT_TRUE(dump);
    const auto& registers = dump->cpus()[0].registers;
    EXPECT_EQ(registers.get("x7"), 7u);
    EXPECT_EQ(registers.get("elr"), 0x1234u);
    EXPECT_EQ(registers.get("v31.hi"), 31u);
    EXPECT_EQ(registers.get("fpcr"), 3u);
    EXPECT_EQ(registers.get("ttbr0_el1"), std::nullopt);
    EXPECT_EQ(dump->cpus()[0].page_table, std::nullopt);
  }
}

TEST(VmcoreNotes, WrongSizes) {
  const std::string good = elf_note("CORE", 1, prstatus(kEmX86_64, 2, {{"rip", 7}}));
  const auto small = opened(small_dump(elf_note("CORE", 1, std::string(100, 'x')) + good));
  ASSERT_TRUE(small);
  EXPECT_THAT(small->warnings(), ElementsAre("the NT_PRSTATUS note at offset 0 of the note segment has 100 bytes; this "
                                             "machine's has 336, and vCPU 0 no registers of it"));
  ASSERT_EQ(small->cpus().size(), 2u);
  EXPECT_EQ(small->cpus()[0].registers.get("rip"), std::nullopt);
  EXPECT_EQ(small->cpus()[1].registers.get("rip"), 7u);

  std::string long_one = elf_note("CORE", 1, std::string(336, 'x'));
  long_one[5] = 2;  // descsz 336 + ... = 592
  const auto large = opened(small_dump(good + long_one));
  ASSERT_TRUE(large);
  EXPECT_THAT(large->warnings(),
              ElementsAre(AllOf(HasSubstr("the note at offset 356 of the note segment has a name of"),
                                HasSubstr("which end at offset 968, past the end of the segment"),
                                HasSubstr("; it and what follows is lost"))));
  ASSERT_EQ(large->cpus().size(), 1u);
  EXPECT_EQ(large->cpus()[0].registers.get("rip"), 7u);
}

// A vCPU whose NT_PRSTATUS is of no use keeps its place, and gets from its QEMU note what that has.
TEST(VmcoreNotes, QemuNotesStandInForDamagedPrstatus) {
  const auto dump =
      opened(small_dump(elf_note("CORE", 1, "short") + elf_note("CORE", 1, prstatus(kEmX86_64, 2, {{"rip", 7}})) +
                        elf_note("QEMU", 0, qemu_note({{"rip", 5}, {"cr3", 0x5000}})) +
                        elf_note("QEMU", 0, qemu_note({{"rip", 6}, {"cr3", 0x6000}}))));
  ASSERT_TRUE(dump);
  ASSERT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[0].registers.get("rip"), 5u);
  EXPECT_EQ(dump->cpus()[0].registers.get("cr3"), 0x5000u);
  EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 7u);
  EXPECT_EQ(dump->cpus()[1].registers.get("cr3"), 0x6000u);
}

TEST(VmcoreNotes, CutOffSegmentHasTheNotesThatAreComplete) {
  for (const size_t padding : {4u, 8u}) {
    const std::string bytes = x86_notes(1, padding);
    for (const uint64_t lost : {10u, 300u}) {  // within VMCOREINFO, and within the last QEMU note
      SCOPED_TRACE(testing::Message() << padding << " " << lost);
      const auto dump = opened(notes_at_the_end(bytes, lost));
      ASSERT_TRUE(dump);
      ASSERT_EQ(dump->cpus().size(), 2u);
      EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 0x101u);
      EXPECT_EQ(dump->cpus()[0].registers.get("cr3"), 0x5018u);
      EXPECT_EQ(dump->vmcoreinfo(), "");
      EXPECT_EQ(memory_of(*dump), 'a');
      EXPECT_THAT(dump->warnings(),
                  ElementsAre(cut_off(bytes.size(), lost),
                              ContainsRegex("what follows the first [0-9] notes of its note segment, from its offset "
                                            "[0-9]+ on, is lost")));
    }
  }
}

TEST(Notes, WithoutMemoryAndVcpusThereIsNothingToOpen) {
  const std::string bytes = two_cpus().build();
  DumpBuilder builder = notes_at_the_end(bytes, 0);
  builder.cut(4096);
  EXPECT_THAT(error_of(builder), AllOf(StartsWith("cannot open x.gcore: it has neither memory nor vCPUs; "),
                                       HasSubstr("not all of which the file has: the file is truncated at 4096")));
}

TEST(VmcoreNotes, CoreOfAProcess) {
  EXPECT_THAT(
      error_of(small_dump(elf_note("CORE", 1, prstatus(kEmX86_64, 1, {})) + elf_note("CORE", 3, std::string(136, 0)))),
      HasSubstr("cannot open x.gcore: it is the core of a process, not of a machine"));
}

}  // namespace
}  // namespace gcore::tests
