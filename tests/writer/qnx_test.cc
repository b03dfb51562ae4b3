// The qnx dialect, byte by byte, as sys/kdump.h has it.
#include <fstream>

#include "tests/writer/fake_guest.h"

namespace gcore::tests {
namespace {

using testing::Test;
using writer::Reason;

class Qnx : public Test {
 protected:
  TempDir directory_;
};

TEST_F(Qnx, ElfHeaderIsThatOfACoreFile) {
  FakeGuest guest;
  const DumpBytes file = dump_bytes(guest, directory_);
  EXPECT_EQ(file.text(0, 7), std::string("\x7f"
                                         "ELF\2\1\1"));
  EXPECT_EQ(file.u16(16), 4);   // ET_CORE
  EXPECT_EQ(file.u16(18), 62);  // EM_X86_64
  EXPECT_EQ(file.u32(20), 1U);
  EXPECT_EQ(file.u64(32), 64U);  // e_phoff
  EXPECT_EQ(file.u16(52), 64);
  EXPECT_EQ(file.u16(54), 56);
  EXPECT_EQ(file.u16(56), 3);  // one PT_NOTE, two PT_LOADs
}

TEST_F(Qnx, LoadsAreSortedByPhysicalAddressAndHoldTheMemory) {
  FakeGuest guest(5);
  for (char page = 0; page < 5; ++page) guest.fill(static_cast<uint64_t>(page), static_cast<char>('a' + page));
  const DumpBytes file = dump_bytes(guest, directory_);
  ASSERT_EQ(file.u16(56), 3);
  EXPECT_EQ(file.u32(file.phdr(0)), 4U);
  const uint64_t addresses[] = {0, FakeGuest::kHigh}, sizes[] = {2 * kPage, 3 * kPage};
  const std::string contents[] = {std::string(kPage, 'a') + std::string(kPage, 'b'),
                                  std::string(kPage, 'c') + std::string(kPage, 'd') + std::string(kPage, 'e')};
  for (unsigned i = 0; i < 2; ++i) {
    const uint64_t header = file.phdr(1 + i);
    EXPECT_EQ(file.u32(header), 1U);
    EXPECT_EQ(file.u64(header + 16), 0U) << "p_vaddr";
    EXPECT_EQ(file.u64(header + 24), addresses[i]) << "p_paddr";
    EXPECT_EQ(file.u64(header + 32), sizes[i]) << "p_filesz";
    EXPECT_EQ(file.u64(header + 40), sizes[i]) << "p_memsz";
    EXPECT_EQ(file.p_offset(1 + i) % kPage, 0U);
    EXPECT_EQ(file.text(file.p_offset(1 + i), sizes[i]), contents[i]);
  }
}

TEST_F(Qnx, NoteHasCoreAndExtraRegistersOfEachCpu) {
  FakeGuest guest;
  guest.process = std::string(150, 'x') + "tail";
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    registers.put("rdi", 0x1111111111111111 + index);
    registers.put("rip", 0xffffffff80001000);
    registers.put("cs", 0x10);
    registers.put("ss", 0x18);
    registers.put("rsp", 0x7000);
    registers.put("cr3", 0x8000000012345fffULL);
    if (index == 1) registers.put("xmm15.hi", 0xabc);
    return true;
  };
  const DumpBytes file = dump_bytes(guest, directory_);
  const uint64_t note = file.p_offset(0);
  EXPECT_EQ(note % 8, 0U);
  EXPECT_EQ(file.u8(note), 0);
  EXPECT_EQ(file.u8(note + 1), 0) << "sig_num";
  EXPECT_EQ(file.u16(note + 4), 2) << "num_cpus";
  EXPECT_EQ(file.u16(note + 6), 0) << "faulting_cpu";
  EXPECT_EQ(file.u32(note + 8), 160U + 16) << "regset_size";
  EXPECT_EQ(file.u32(note + 12), 1U) << "cpu_info";
  for (const unsigned segment_number : {16, 20, 24}) EXPECT_EQ(file.u32(note + segment_number), 0U);
  EXPECT_EQ(file.u32(note + 28), 0U) << "cpu_info_hi";
  EXPECT_EQ(file.u32(note + 32), 16U) << "extra_reg_value_size";
  EXPECT_EQ(file.u32(note + 36), 16U) << "extra_reg_name_size";
  EXPECT_EQ(file.text(note + 40, 16), std::string("cr3\0xmm15.hi\0\0\0\0", 16));
  EXPECT_EQ(file.p_filesz(0), 40U + 16 + 2 * (128 + 176));

  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    const uint64_t record = note + 56 + cpu * (128 + 176);
    EXPECT_EQ(file.u64(record), 0x12345000U) << "pgtbl";
    EXPECT_EQ(file.u32(record + 8), cpu);
    EXPECT_EQ(file.c_string(record + 28), std::string(95, 'x') + "tail");
    const uint64_t registers = record + 128;
    EXPECT_EQ(file.u64(registers), 0x1111111111111111 + cpu) << "rdi";
    EXPECT_EQ(file.u64(registers + 120), 0xffffffff80001000) << "rip";
    EXPECT_EQ(file.u64(registers + 128), 0x10U) << "cs";
    EXPECT_EQ(file.u64(registers + 144), 0x7000U) << "rsp";
    EXPECT_EQ(file.u64(registers + 152), 0x18U) << "ss";
    EXPECT_EQ(file.u64(registers + 160), 0x8000000012345fffULL) << "cr3";
    EXPECT_EQ(file.u64(registers + 168), cpu == 1 ? 0xabcU : 0) << "xmm15.hi";
  }
  EXPECT_NE(file.info().find(R"({"vcpu": 0, "registers": "rsi)"), std::string::npos) << file.info();
  EXPECT_NE(file.info().find(" rflags xmm15.hi\"}"), std::string::npos) << "a 0 that stands for nothing is listed";
}

TEST_F(Qnx, Aarch64RecordsTheTableOfTheExceptionLevelAndTcr) {
  FakeGuest guest;
  guest.machine_kind = format::Machine::aarch64;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    registers.put("x30", 30);
    registers.put("elr", 0x4000);
    registers.put("pstate", index == 0 ? 0x3c5 : 0);  // EL1h, EL0
    registers.put("ttbr0_el1", 0x1000000040000001);
    registers.put("ttbr1_el1", 0x2000000050000001);
    registers.put("tcr_el1", 0x12b5503510);
    return true;
  };
  const DumpBytes file = dump_bytes(guest, directory_);
  EXPECT_EQ(file.u16(18), 183);
  const uint64_t note = file.p_offset(0);
  EXPECT_EQ(file.u32(note + 8), 272U + 3 * 8);
  EXPECT_EQ(file.u32(note + 12), 0xb5503510U);
  EXPECT_EQ(file.u32(note + 28), 0x12U);
  const uint64_t record = note + 40 + file.u32(note + 36);
  EXPECT_EQ(file.text(note + 40, 29), std::string("tcr_el1\0ttbr0_el1\0ttbr1_el1\0", 28) + std::string(1, '\0'));
  EXPECT_EQ(file.u64(record), 0x50000000U);
  EXPECT_EQ(file.u64(record + 128 + 240), 30U) << "x30";
  EXPECT_EQ(file.u64(record + 128 + 256), 0x4000U) << "elr";
  EXPECT_EQ(file.u64(record + 128 + 264), 0x3c5U) << "pstate";
  EXPECT_EQ(file.u64(record + 128 + 272 + 24), 0x40000000U) << "the second vCPU runs in EL0";
}

TEST_F(Qnx, Aarch64RecordsTheTableOfTheHypervisor) {
  constexpr uint64_t kE2h = uint64_t{1} << 34, kTge = 1 << 27;
  struct Case {
    uint64_t pstate, hcr, table;
  };
  for (const Case& one : {Case{0x3c9, 0, 0x10000000},
                          {0x3c9, kE2h, 0x20000000},
                          {0, kE2h | kTge, 0x10000000},
                          {0, kE2h, 0x30000000},
                          {0x3c5, kE2h, 0x40000000}}) {
    FakeGuest guest;
    guest.machine_kind = format::Machine::aarch64;
    guest.on_read_cpu = [&one](size_t, format::RegisterFile& registers) {
      registers.put("pstate", one.pstate);
      registers.put("hcr_el2", one.hcr);
      registers.put("ttbr0_el2", 0x1000000010000001);
      registers.put("ttbr1_el2", 0x1000000020000001);
      registers.put("ttbr0_el1", 0x1000000030000001);
      registers.put("ttbr1_el1", 0x1000000040000001);
      return true;
    };
    const DumpBytes file = dump_bytes(guest, directory_);
    const uint64_t note = file.p_offset(0);
    EXPECT_EQ(file.u64(note + 40 + file.u32(note + 36)), one.table) << std::hex << one.pstate << " " << one.hcr;
  }
}

TEST_F(Qnx, ReasonDecidesSignalAndFirstCpu) {
  FakeGuest guest;
  const auto note_of = [&](const Reason& reason) {
    const DumpBytes file = dump_bytes(guest, directory_, {}, reason);
    return std::pair<int, int>(file.u8(file.p_offset(0) + 1), file.u16(file.p_offset(0) + 6));
  };
  EXPECT_EQ(note_of({Reason::Kind::signal, "SIGUSR2", 0, 0}), std::pair(0, 0));
  EXPECT_EQ(note_of({Reason::Kind::watchdog, "wdt-ib700", 0, 1}), std::pair(6, 1));
  EXPECT_EQ(note_of({Reason::Kind::panic, "", 0, 9}), std::pair(6, 0)) << "a vCPU that there is not";
  EXPECT_EQ(note_of({Reason::Kind::api, "", 11, 1}), std::pair(11, 1));
}

TEST_F(Qnx, CpuThatCannotBeReadIsLeftOut) {
  FakeGuest guest;
  guest.cpus = 3;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    registers.put("rip", index);
    return index != 1;
  };
  const DumpBytes file = dump_bytes(guest, directory_, {}, {Reason::Kind::api, "", 0, 2});
  const uint64_t note = file.p_offset(0);
  EXPECT_EQ(file.u16(note + 4), 2);
  EXPECT_EQ(file.u16(note + 6), 1) << "index of the record, not number of the vCPU";
  EXPECT_EQ(file.p_filesz(0), 40U + 2 * (128 + 160));
  EXPECT_EQ(file.u32(note + 40 + 8), 0U);
  EXPECT_EQ(file.u32(note + 40 + 288 + 8), 2U);
  EXPECT_NE(file.info().find(R"("vcpus": {"count": 3, "left_out": [1]})"), std::string::npos) << file.info();
}

TEST_F(Qnx, InfoSectionTellsWhoWhenAndWhy) {
  FakeGuest guest(8);
  guest.vm_name = "a \"b\"\\\n\xff";
  guest.fill(0, 'x');
  writer::Options options;
  options.program = "my-vmm 1.2";
  const DumpBytes file = dump_bytes(guest, directory_, options, {Reason::Kind::watchdog, "wdt-ib700", 0, 1});
  const std::string info = file.info();
  EXPECT_EQ(info.front(), '{');
  EXPECT_EQ(info.back(), '}');
  for (const char* part :
       {R"("program": "my-vmm 1.2")", R"("vm": "a \"b\"\\\u000a\u00ff")", R"("machine": "x86_64", "dialect": "qnx")",
        R"("reason": {"kind": "watchdog", "detail": "wdt-ib700", "signal": 0, "cpu": 1})", R"("complete": true)",
        R"("pages": {"size": 4096, "written": 1, "zero": 0, "absent": 7, "missing": 0})", R"("missing": [])"})
    EXPECT_NE(info.find(part), std::string::npos) << part << "\n" << info;
  // Outside every segment, and the last thing in the file.
  EXPECT_EQ(file.p_offset(2) + file.p_filesz(2) + 16384, file.size());
}

/// The object as a program reads it that knows JSON.
std::string with_python(const TempDir& directory, const std::string& info, const std::string& expression) {
  const std::string path = directory.write("info.json", info);
  const std::string command = "python3 -c 'import json; o = json.loads(open(\"" + path +
                              "\", \"rb\").read().decode(\"utf-8\", \"strict\")); print(" + expression + ", end=\"\")'";
  std::FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  for (int c = 0; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0) << info;
  return text;
}

TEST_F(Qnx, TextsInUtf8AreKeptAndOtherBytesEscaped) {
  FakeGuest guest(8);
  // Umlaut, euro sign, an emoji; a byte of Latin-1, a spelling that is too long, half of a surrogate, the end of a
  // text.
  guest.vm_name = "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xa7 \xfc \xc0\x80 \xed\xa0\x80 \xc3";
  const std::string info = dump_bytes(guest, directory_).info();
  EXPECT_THAT(info, testing::HasSubstr("\"vm\": \"M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x90\xa7 "
                                       "\\u00fc \\u00c0\\u0080 \\u00ed\\u00a0\\u0080 \\u00c3\""));
  EXPECT_EQ(with_python(directory_, info, "o[\"vm\"][:6]"), "M\xc3\xbcller");
}

TEST_F(Qnx, InfoIsWholeHoweverLongItsTextsAndListsAre) {
  FakeGuest guest(4096, FakeGuest::Backing::callback);
  guest.fill(0, 'x', 4096);
  guest.cpus = 4000;
  guest.on_read_cpu = [](size_t index, format::RegisterFile& registers) {
    registers.put(index % 2 == 0 ? "rip" : "cr3", index);
    registers.put("xmm15.hi", 1);
    return index % 3 != 0;
  };
  for (uint64_t i = 0; i < 2000; ++i) guest.ranges.push_back(guest.range(i * 2 * kPage, 0, kPage));
  guest.on_read_memory = [&](uint64_t address) { guest.unreadable_from = address / kPage % 8 == 0 ? UINT64_MAX : 0; };
  for (const std::string& unit :
       {std::string("\xfc"), std::string("\""), std::string("\xf0\x9f\x90\xa7"), std::string("x")}) {
    std::string text;
    for (int i = 0; i < 5000; ++i) text += unit;
    guest.vm_name = text;
    writer::Options options;
    options.program = text;
    options.file_name = "dump";
    options.replace = true;
    options.sync = false;
    const DumpBytes file = dump_bytes(guest, directory_, options, {Reason::Kind::watchdog, text, 0, 1});
    const std::string info = file.info();
    EXPECT_EQ(with_python(directory_, info, "o[\"vcpus\"][\"count\"], o[\"missing_ranges\"], len(o[\"missing\"]) > 9"),
              "4000 1500 True");
    EXPECT_EQ(file.p_offset(2000) + file.p_filesz(2000) + 16384, file.size());
  }
}

/// A dump with this many ranges of a page each, at every second page; the last one is full of 'x'. It is large and
/// mostly holes, so that only its beginning, with the tables, and one byte of the last range are read.
class QnxTables : public Qnx {
 protected:
  void dump_ranges(unsigned count) {
    FakeGuest guest(2);
    guest.fill(1, 'x');
    for (uint64_t i = 0; i < count; ++i)
      guest.ranges.push_back(guest.range(i * 2 * kPage, i + 1 == count ? kPage : 0, kPage));
    writer::Options options;
    options.target = directory_.path();
    const writer::Result result = writer::dump(guest, options);
    ASSERT_TRUE(result.status.ok()) << result.status.text();
    std::ifstream file(result.path, std::ios::binary);
    std::string head(4 << 20, '\0');
    file.read(head.data(), static_cast<std::streamsize>(head.size()));
    tables_ = DumpBytes(head);
    file.seekg(static_cast<std::streamoff>(tables_.p_offset(count)));
    last_byte_ = file.get();
  }
  DumpBytes tables_{""};
  int last_byte_ = 0;
};

TEST_F(QnxTables, ManyRangesUseTheExtendedProgramHeaderCount) {
  dump_ranges(65535);
  EXPECT_EQ(tables_.u16(56), 0xffff);
  EXPECT_EQ(tables_.u32(tables_.u64(40) + 44), 65536U) << "sh_info of section header 0";
  EXPECT_EQ(tables_.u64(tables_.phdr(65535) + 24), 65534 * 2 * kPage);
  EXPECT_EQ(last_byte_, 'x');
}

TEST_F(QnxTables, FewerRangesDoNot) {
  dump_ranges(65533);
  EXPECT_EQ(tables_.u16(56), 65534);
  EXPECT_EQ(tables_.u32(tables_.u64(40) + 44), 0U);
  EXPECT_EQ(last_byte_, 'x');
}

}  // namespace
}  // namespace gcore::tests
