// QEMU's dumps of aarch64 guests whose vCPUs have SVE vectors of different lengths: memory stands elsewhere than the
// headers say. QEMU's own, of a guest that brings it about; and ones made here.
#include <array>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"
#include "tests/support/process.h"
#include "tests/support/qmp.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::PhysAddr;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kProgram = 0x40200000, kDone = kProgram + 0x1040;

/// A program for two vCPUs, of which the one of that number takes vectors of 64 bytes, and then writes 3 at kDone; the
/// other one keeps those of 16.
std::string guest_program(uint32_t number) {
  const uint32_t words[] = {
      0xd53800a0,                 // start: mrs x0, mpidr_el1
      0x92401c00,                 //        and x0, x0, #0xff
      0xf100001f | number << 10,  //        cmp x0, #number
      0x54000100,                 //        b.eq set
      0xb50001c0,                 //        cbnz x0, wait
      0x52800060,                 //        mov w0, #3
      0x72b88000,                 //        movk w0, #0xc400, lsl #16     PSCI's CPU_ON
      0xd2800021,                 //        mov x1, #1                    which one
      0x10ffff02,                 //        adr x2, start                 and where
      0xd4000002,                 //        hvc #0
      0x14000008,                 //        b wait
      0xd2a00660,                 // set:   mov x0, #0x330000
      0xd5181040,                 //        msr cpacr_el1, x0             neither SIMD nor SVE traps
      0xd5033fdf,                 //        isb
      0xd2800060,                 //        mov x0, #3                    four times 16 bytes
      0xd5181200,                 //        msr zcr_el1, x0
      0x10000001,                 //        adr x1, .
      0xf9080020,                 //        str x0, [x1, #0x1000]
      0xd503207f,                 // wait:  wfi
      0x17ffffff,                 //        b wait
  };
  Bytes bytes;
  for (const uint32_t word : words) bytes.u32(word);
  return bytes.str();
}

class OfQemuWithSve : public testing::TestWithParam<uint32_t> {};

TEST_P(OfQemuWithSve, IsReadWhereItIs) {
  TempDir folder;
  std::string known;
  for (int i = 0; i < 200'000; ++i) known += std::to_string(i * 7919 % 100'003);
  const std::string program = guest_program(GetParam());
  const auto loader = [&](const std::string& name, const std::string& bytes, uint64_t address) {
    return "loader,force-raw=on,file=" + folder.write(name, bytes) + ",addr=" + std::to_string(address);
  };
  constexpr uint64_t kKnown = 0x40400000;
  Qmp qmp(folder.path("qmp"));
  Process qemu({"qemu-system-aarch64", "-nodefaults", "-display", "none", "-M", "virt", "-cpu", "max", "-m", "32",
                "-smp", "2", "-qmp", "unix:" + folder.path("qmp"), "-device",
                loader("program", program, kProgram) + ",cpu-num=0", "-device", loader("known", known, kKnown)});
  qmp.accept();
  for (int i = 0; qmp.human("xp /1wx " + std::to_string(kDone)).find("0x00000003") == std::string::npos; ++i)
    ASSERT_LT(i, 100'000) << qmp.human("info registers");
  qmp.execute("stop");
  qmp.execute("dump-guest-memory",
              R"({"paging": false, "protocol": )" + Qmp::quote("file:" + folder.path("dump")) + "}");
  qmp.execute("quit");
  const auto dump = reader::Dump::open(folder.path("dump"));
  ASSERT_TRUE(dump) << dump.error().text;
  const std::string by = GetParam() == 0 ? "1632 bytes earlier" : "1632 bytes later";
  EXPECT_THAT((*dump)->warnings(), ElementsAre(HasSubstr("memory is read " + by + " than the headers say")));
  EXPECT_FALSE((*dump)->truncated());
  EXPECT_EQ((*dump)->cpus().size(), 2u);
  EXPECT_TRUE(read(**dump, kKnown, known.size()).first == known);
  EXPECT_EQ(read(**dump, kProgram, program.size()).first, program);
  EXPECT_EQ((*dump)->next_missing(PhysAddr(0)), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Displaced, OfQemuWithSve, testing::Values(0, 1),
                         [](const auto& test) { return test.param == 0 ? "FirstIsLonger" : "SecondIsLonger"; });

/// The vCPUs' notes as QEMU has them, each with so many bytes of SVE registers, and behind them VMCOREINFO.
std::string notes_of(const std::vector<size_t>& sve, bool big_endian = false) {
  std::string notes;
  for (uint32_t cpu = 0; cpu < sve.size(); ++cpu)
    notes += elf_note("CORE", 1, prstatus(kEmAarch64, cpu + 1, {{"elr", 0x1000 + cpu}}, big_endian), 4, big_endian) +
             elf_note("CORE", 2, prfpreg_aarch64({}, big_endian), 4, big_endian) +
             (sve[cpu] == 0 ? "" : elf_note("LINUX", 0x405, std::string(sve[cpu], 's'), 4, big_endian));
  return notes + elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n", 4, big_endian);
}

/// A dump whose headers think that the notes have `less` bytes less.
std::string displaced(const std::vector<size_t>& sve, uint64_t less, bool big_endian = false) {
  const std::string notes = notes_of(sve, big_endian);
  DumpBuilder builder;
  builder.machine = kEmAarch64;
  builder.big_endian = big_endian;
  builder.note(notes).memory(0x1000, std::string(4096, 'a') + std::string(4096, 'b'));
  std::string bytes = builder.build();
  const auto subtract = [&](size_t at) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; ++i) value |= uint64_t(uint8_t(bytes[at + (big_endian ? 7 - i : i)])) << 8 * i;
    bytes.replace(at, 8, Bytes(big_endian).u64(value - less).str());
  };
  for (const size_t at : {32, 40}) subtract(64 + at);  // sizes of the PT_NOTE
  subtract(64 + 56 + 8);                               // offset of the PT_LOAD
  return bytes;
}

struct Opened {
  std::string memory{}, pcs{}, vmcoreinfo{};
  std::vector<std::string> warnings{};
};

Opened open_bytes(const std::string& bytes) {
  const auto dump = reader::Dump::open_descriptor(file_of(bytes), "x.elf");
  if (!dump) return {.memory = dump.error().text};
  Opened out{.memory = read(**dump, 0x1fff, 2).first, .vmcoreinfo = std::string((*dump)->vmcoreinfo())};
  for (const reader::Cpu& cpu : (*dump)->cpus()) out.pcs += std::to_string(cpu.registers.get("elr").value_or(0)) + " ";
  out.warnings.assign((*dump)->warnings().begin(), (*dump)->warnings().end());
  return out;
}

TEST(Displaced, ByAnyNumberOfVcpus) {
  for (const bool big : {false, true}) {
    for (const auto& [sve, less] : {std::pair(std::vector<size_t>{528, 1568, 528}, 1040ul),
                                    {{1568, 528, 528, 1568}, -2080ul},
                                    {{528, 1568, 8192, 528}, 8704ul}}) {
      const Opened got = open_bytes(displaced(sve, less, big));
      EXPECT_EQ(got.memory, "ab");
      EXPECT_EQ(got.pcs, sve.size() == 3 ? "4096 4097 4098 " : "4096 4097 4098 4099 ");
      EXPECT_EQ(got.vmcoreinfo, "OSRELEASE=6.1\n");
      EXPECT_THAT(got.warnings, ElementsAre(HasSubstr("SVE vectors of different lengths")));
      const Opened packed = open_bytes(gzip_member(displaced(sve, less, big)));
      EXPECT_EQ(packed.memory, "ab");
    }
  }
}

// Headers that are right are believed, whatever the sizes; those that are wrong in another way, too.
TEST(Displaced, NotWithoutThatVeryCause) {
  for (const auto& sve : {std::vector<size_t>{528, 1568, 528}, {1568, 528}, {528, 528}, {0, 0, 0}, {0, 528}, {528}}) {
    const Opened got = open_bytes(displaced(sve, 0));
    EXPECT_EQ(got.memory, "ab");
    EXPECT_THAT(got.warnings, IsEmpty());
    EXPECT_EQ(got.vmcoreinfo, "OSRELEASE=6.1\n");
  }
  for (const uint64_t less : {4ul, 1036ul, 1044ul, -4ul}) {
    const Opened got = open_bytes(displaced({528, 1568, 528}, less));
    EXPECT_NE(got.memory, "ab") << less;
    EXPECT_THAT(got.warnings, Not(Contains(HasSubstr("SVE"))));
  }
}

// What is cut off is missing, and the rest in its place.
TEST(Displaced, AndTruncated) {
  const std::string whole = displaced({1568, 528}, -1040ul);
  const Opened got = open_bytes(whole.substr(0, whole.size() - 4096));
  EXPECT_EQ(got.memory, "a");
  EXPECT_THAT(got.warnings, Contains(HasSubstr("SVE vectors of different lengths")));
}

}  // namespace
}  // namespace gcore::tests
