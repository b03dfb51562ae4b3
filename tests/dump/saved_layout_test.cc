// Where the memory of a saved guest is: its own page tables tell, or the user. The guest is in long mode, with page
// tables above 4 GiB, and QEMU was told to have 1 GiB below 4 GiB, which no machine type has by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"

namespace gcore::tests {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kHighTables = 0x140000000;

// At 0x7c00, from real mode:
//     lgdt %cs:gdtr; cr4 |= PAE; cr3 = 0x8000; efer |= LME; cr0 |= PG | PE; ljmp $8, $long
//     long: cr3 = 0x140000000; jmp .
//     gdt: 0, a code segment of 64 bits; gdtr
constexpr unsigned char kIntoLongMode[] = {
    0x2e, 0x0f, 0x01, 0x16, 0x58, 0x7c, 0x0f, 0x20, 0xe0, 0x0c, 0x20, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x80, 0x00,
    0x00, 0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f, 0x30, 0x0f, 0x20,
    0xc0, 0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0x66, 0xea, 0x38, 0x7c, 0x00, 0x00, 0x08, 0x00, 0x48,
    0xb8, 0x00, 0x00, 0x00, 0x40, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xd8, 0xeb, 0xfe, 0x90, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00, 0x0f, 0x00, 0x48, 0x7c, 0x00, 0x00};
const std::string kJumpThere("\xea\x00\x7c\x00\x00", 5);

/// Three tables, one after the other from `at` on, that map the first 2 MiB to themselves.
std::string tables(uint64_t at) {
  std::string bytes(3 * 4096, '\0');
  const uint64_t entries[] = {(at + 0x1000) | 3, (at + 0x2000) | 3, 0x83};
  for (size_t i = 0; i < 3; ++i) std::memcpy(&bytes[i * 4096], &entries[i], sizeof entries[i]);
  return bytes;
}

class SavedLayout : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir;
    for (const std::string machine : {"q35", "pc"}) save(machine);
  }
  static void TearDownTestSuite() { delete folder_; }

  static void save(const std::string& machine) {
    const auto at = [](uint64_t address, const std::string& file) {
      return "loader,force-raw=on,addr=" + std::to_string(address) + ",file=" + file;
    };
    const std::string code(reinterpret_cast<const char*>(kIntoLongMode), sizeof kIntoLongMode);
    BareMachine guest(
        kX86, kJumpThere,
        {"-machine", machine + ",max-ram-below-4g=1G", "-m", "3G", "-device", at(0x7c00, folder_->write("code", code)),
         "-device", at(0x8000, folder_->write("low", tables(0x8000))), "-device",
         at(kHighTables, folder_->write("high", tables(kHighTables)))});
    guest.start();
    while (guest.qmp().human("info registers").find("CR3=0000000140000000") == std::string::npos)
      ASSERT_FALSE(guest.process().wait(std::chrono::milliseconds(0)));
    guest.qmp().execute("stop");
    const Completed dumped = gcore_dump({"--qmp", guest.socket(), "--no-sync", folder_->path("out-" + machine)});
    ASSERT_EQ(dumped.status, kDone) << dumped.err;
    dump(machine) = line(dumped.out);
    save_guest(guest.qmp(), saved(machine));
  }
  static std::string saved(const std::string& machine) { return folder_->path("saved-" + machine); }
  static std::string& dump(const std::string& machine) {
    static std::map<std::string, std::string> dumps;
    return dumps[machine];
  }

  /// Where the tables are, by address, and where the rest of memory is.
  static void expect_right(const std::string& path, const std::string& machine) {
    const auto saved = open_dump(path), oracle = open_dump(dump(machine));
    EXPECT_THAT(warnings(*saved), IsEmpty());
    std::string found(3 * 4096, '\0'), expected = found;
    EXPECT_EQ(saved->read(reader::PhysAddr(kHighTables), std::as_writable_bytes(std::span(found))).bytes, found.size());
    EXPECT_EQ(oracle->read(reader::PhysAddr(kHighTables), std::as_writable_bytes(std::span(expected))).bytes,
              expected.size());
    EXPECT_TRUE(found == expected);  // tables() but for bits that the vCPU sets
    EXPECT_EQ(found.substr(1, 15), tables(kHighTables).substr(1, 15));
    for (const uint64_t address : {uint64_t{0x3ffff000}, uint64_t{0x40000000}, uint64_t{0x7ffff000},
                                   uint64_t{0x100000000}, uint64_t{0x17ffff000}, uint64_t{0x180000000}}) {
      char byte;
      EXPECT_EQ(saved->read(reader::PhysAddr(address), std::as_writable_bytes(std::span(&byte, 1))).bytes,
                oracle->read(reader::PhysAddr(address), std::as_writable_bytes(std::span(&byte, 1))).bytes)
          << std::hex << address;
    }
  }
  static std::vector<std::string> warnings(const reader::Dump& dump) {
    return {dump.warnings().begin(), dump.warnings().end()};
  }
  static std::vector<std::string> notices(const reader::Dump& dump) {
    return {dump.notices().begin(), dump.notices().end()};
  }
  static Completed inspect(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), gcore::tests::program("gcore-inspect"));
    return run(arguments);
  }
  static TempDir* folder_;
};
TempDir* SavedLayout::folder_ = nullptr;

TEST_F(SavedLayout, IsWhereThePageTablesLead) {
  for (const std::string machine : {"q35", "pc"}) {
    expect_right(saved(machine), machine);
    EXPECT_THAT(notices(*open_dump(saved(machine))),
                Contains(AllOf(HasSubstr("where the page tables of its vCPUs lead"), HasSubstr("max-ram-below-4g"),
                               HasSubstr("0x40000000 bytes at 0x0, "), HasSubstr("0x80000000 bytes at 0x100000000"))));
  }
}

TEST_F(SavedLayout, AMapIsTakenAndHeldAgainstThem) {
  const Completed right = inspect({saved("q35"), "--memory-map", "0+1G=pc.ram,4G=pc.ram+1G"});
  EXPECT_EQ(right.status, kDone) << right.err;
  EXPECT_THAT(right.out + right.err, AllOf(HasSubstr("memory is where --memory-map has it: 0x40000000 bytes at 0x0"),
                                           HasSubstr("page tables of its vCPUs confirm it")));
  const Completed wrong = inspect({saved("q35"), "--memory-map", "0+2G=pc.ram,0x100000000=pc.ram+2G"});
  EXPECT_THAT(wrong.out + wrong.err,
              AllOf(HasSubstr("the guest's page tables contradict that"), HasSubstr("--memory-map takes")));
}

TEST_F(SavedLayout, OfAnotherMachineTypeAMapSaysIt) {
  std::string bytes = read_file(saved("q35"));
  bytes.replace(bytes.find("pc-q35"), 6, "xz-q77");
  const std::string other = folder_->write("other", bytes);
  const Completed refused = inspect({other});
  EXPECT_EQ(refused.status, kFailed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("machine type xz-q77"), HasSubstr("say it with --memory-map"),
                                 HasSubstr("\"pc.ram\" of 0xc0000000 bytes")));
  const Completed without = inspect({other, "--memory-map", "0+1G=pc.ram,4G=pc.ram+1G"});
  EXPECT_EQ(without.status, kUsage);
  EXPECT_THAT(without.err, HasSubstr("it has to begin with x86_64 or aarch64"));
  const std::string map = "x86_64,4G=pc.ram+1G,0+1G=pc.ram";
  const Completed taken = inspect({other, "--memory-map", map, "--registers"});
  EXPECT_EQ(taken.status, kDone) << taken.err;
  EXPECT_THAT(taken.out, HasSubstr("140000000"));
  const std::string converted = folder_->path("converted.gcore");
  const Completed done = run({gcore::tests::program("gcore-convert"), other, converted, "--memory-map", map});
  ASSERT_EQ(done.status, kDone) << done.err;
  expect_right(converted, "q35");
}

TEST_F(SavedLayout, AMapThatDoesNotFitIsWrongUsage) {
  const struct {
    const char *map, *why;
  } cases[] = {
      {"0=pc.ram,", "'' is not ADDR"},
      {"x86_64", "it says of no block"},
      {"z80,0=pc.ram", "the machine is x86_64 or aarch64"},
      {"0", "the machine is x86_64 or aarch64"},
      {"0=pc.ram,1G", "'1G' is not ADDR"},
      {"here=pc.ram", "here"},
      {"0+0=pc.ram", "has no bytes"},
      {"0=pc.rom+z", "no memory block \"pc.rom+z\"; it has \"pc.ram\" of 0xc0000000 bytes"},
      {"0+4G=pc.ram", "block \"pc.ram\" has 0xc0000000 bytes"},
      {"0=pc.ram+3G", "block \"pc.ram\" has 0xc0000000 bytes"},
      {"0x10=pc.ram", "not of whole pages"},
      {"0xffffffffffffe000+1G=pc.ram", "beyond the end of the address space"},
      {"0+2G=pc.ram,1G=pc.ram+1G", "two parts have memory at 0x40000000"},
  };
  for (const auto& one : cases) {
    const Completed done = inspect({saved("q35"), "--memory-map", one.map});
    EXPECT_EQ(done.status, kUsage) << one.map;
    EXPECT_THAT(done.err, HasSubstr(one.why)) << one.map;
  }
  const Completed other = inspect({dump("q35"), "--memory-map", "0=pc.ram"});
  EXPECT_EQ(other.status, kUsage);
  EXPECT_THAT(other.err, HasSubstr("a memory map is for guests that QEMU or libvirt saved"));
}

}  // namespace
}  // namespace gcore::tests
