// kdump-compressed dumps: as QEMU makes them, against its ELF dump of the same machine; and ones made here.
#include <unistd.h>

#include <fstream>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"
#include "tests/support/kdump_builder.h"
#include "tests/support/process.h"
#include "tests/support/qmp.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void expect_the_same(const reader::Dump& a, const reader::Dump& b) {
  EXPECT_EQ(a.memory_bytes(), b.memory_bytes());
  for (const reader::Segment& segment : b.segments()) {
    const auto of_a = read(a, segment.address.value, segment.memory_size);
    EXPECT_TRUE(of_a == read(b, segment.address.value, segment.memory_size)) << std::hex << segment.address.value;
    EXPECT_EQ(of_a.second, Missing::none);
  }
  ASSERT_EQ(a.cpus().size(), b.cpus().size());
  for (size_t i = 0; i < a.cpus().size(); ++i) {
    EXPECT_EQ(a.cpus()[i].number, b.cpus()[i].number);
    EXPECT_EQ(a.cpus()[i].page_table, b.cpus()[i].page_table);
    for (size_t slot = 0; slot < format::registers(a.machine()).size(); ++slot)
      EXPECT_EQ(a.cpus()[i].registers.get_slot(slot), b.cpus()[i].registers.get_slot(slot)) << slot;
  }
  EXPECT_EQ(a.vmcoreinfo(), b.vmcoreinfo());
}

class OfQemu : public testing::TestWithParam<const char*> {};

TEST_P(OfQemu, FlattenedOrNotIsTheSameMachineAsItsElfDump) {
  TempDir folder;
  std::string known;
  for (int i = 0; i < 100'000; ++i) known += std::to_string(i * 7919 % 100'003);
  const std::string machine = GetParam(),
                    loader = "loader,force-raw=on,file=" + folder.write("known", known) + ",addr=";
  Qmp qmp(folder.path("qmp"));
  std::vector<std::string> argv{
      "qemu-system-" + machine,     "-S",     "-nodefaults", "-display", "none", "-m", "16", "-smp", "2", "-qmp",
      "unix:" + folder.path("qmp"), "-device"};
  const uint64_t address = machine == "aarch64" ? 0x40100000 : 0x100000;
  argv.push_back(loader + std::to_string(address));
  if (machine == "aarch64") argv.insert(argv.end(), {"-M", "virt", "-cpu", "max"});
  Process qemu(argv);
  qmp.accept();
  for (const char* format : {"elf", "kdump-zlib"})
    qmp.execute("dump-guest-memory", R"({"paging": false, "protocol": )" + Qmp::quote("file:" + folder.path(format)) +
                                         R"(, "format": ")" + format + "\"}");
  qmp.execute("quit");
  const auto elf = reader::Dump::open(folder.path("elf"));
  ASSERT_TRUE(elf) << elf.error().text;
  const std::string flat = read_file(folder.path("kdump-zlib"));
  ASSERT_TRUE(flat.starts_with("makedumpfile"));
  // makedumpfile takes the pieces apart as well.
  const Completed rearranged = run({"makedumpfile", "-R", folder.path("rearranged")}, 60s, flat);
  ASSERT_EQ(rearranged.status.code, 0) << rearranged.err;
  for (const std::string& name : {std::string("kdump-zlib"), std::string("rearranged")}) {
    const auto dump = reader::Dump::open(folder.path(name));
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_EQ((*dump)->compression(), "kdump");
    EXPECT_EQ((*dump)->machine(), (*elf)->machine());
    EXPECT_EQ((*dump)->dialect(), reader::Dialect::vmcore);
    EXPECT_THAT((*dump)->warnings(), IsEmpty());
    EXPECT_TRUE(read(**dump, address, known.size()).first == known);
    expect_the_same(**dump, **elf);
  }
}

INSTANTIATE_TEST_SUITE_P(Kdump, OfQemu, testing::Values("x86_64", "aarch64"),
                         [](const auto& test) { return test.param; });

reader::Expected<std::unique_ptr<reader::Dump>> open_bytes(const std::string& bytes) {
  return reader::Dump::open_descriptor(file_of(bytes), "x.kdump");
}

TEST(Kdump, PagesNotesAndWhatIsMissing) {
  for (const auto& [machine, number, pc] :
       {std::tuple("x86_64", kEmX86_64, "rip"), {"i686", kEmX86, "eip"}, {"aarch64", kEmAarch64, "elr"}}) {
    SCOPED_TRACE(machine);
    KdumpBuilder builder{.machine = machine,
                         .notes = elf_note("CORE", 1, prstatus(number, 1, {{pc, 0x1234}})),
                         .vmcoreinfo = "OSRELEASE=6.1\n"};
    const auto dump = open_bytes(builder.build());
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_THAT((*dump)->warnings(), IsEmpty());
    ASSERT_EQ((*dump)->cpus().size(), 1u);
    EXPECT_EQ((*dump)->cpus()[0].registers.get(pc), 0x1234u);
    EXPECT_EQ((*dump)->vmcoreinfo(), "OSRELEASE=6.1\n");
    EXPECT_EQ(read(**dump, 0, 1), std::pair(std::string(), Missing::not_in_any_segment));
    EXPECT_EQ(read(**dump, 0x1ffe, 4), std::pair(std::string("aabb"), Missing::none));
    EXPECT_EQ(read(**dump, 0x2ffe, 4), std::pair(std::string("bb"), Missing::left_out));
    EXPECT_EQ(read(**dump, 0x4ffe, 4), std::pair(std::string("cc"), Missing::not_in_any_segment));
    EXPECT_EQ((*dump)->view(PhysAddr(0x3000), 8).missing(), Missing::left_out);
    EXPECT_EQ((*dump)->view(PhysAddr(0x4000), 8).bytes().size(), 8u);
  }
}

TEST(Kdump, CompressedAgain) {
  KdumpBuilder builder;
  for (const std::string& packed : {gzip_member(builder.build()), zstd_frame(flattened(builder.build()))}) {
    const auto dump = open_bytes(packed);
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_EQ((*dump)->compression(), "kdump");
    EXPECT_EQ(read(**dump, 0x1ffe, 4).first, "aabb");
    EXPECT_THAT((*dump)->warnings(), Contains("the dump has no vCPUs: its kdump header names no notes"));
  }
}

/// How many of the pages of a map the dump lacks, by going over what it says is missing, each of which has to be
/// unreadable.
size_t lost_pages(const reader::Dump& dump) {
  size_t lost = 0;
  for (auto gap = dump.next_missing(PhysAddr(0)); gap; gap = dump.next_missing(gap->address + gap->size)) {
    if (gap->why != Missing::file_truncated) continue;
    lost += gap->size / 4096;
    EXPECT_EQ(read(dump, gap->address.value, 1).second, Missing::file_truncated);
    EXPECT_EQ(read(dump, gap->address.value + gap->size - 1, 1).second, Missing::file_truncated);
  }
  return lost;
}

// Wherever the file ends, what it lacks is known when it is open.
TEST(Kdump, CutOff) {
  KdumpBuilder builder;
  builder.map = ".ab-c";
  const std::string whole = builder.build();
  const size_t page_b = whole.rfind(std::string(4096, 'b')), descriptors = 4 * 4096;
  for (const auto& [size, there] : {std::pair(whole.size() - 1, 2u),
                                    {page_b + 4096, 2u},
                                    {page_b + 4095, 1u},
                                    {page_b, 1u},
                                    {descriptors + 3 * 24 + 1, 0u},
                                    {descriptors + 2 * 24, 0u},
                                    {descriptors + 10, 0u}}) {
    SCOPED_TRACE(size);
    const auto cut = open_bytes(whole.substr(0, size));
    if (there == 0) {
      ASSERT_FALSE(cut);  // neither memory nor vCPUs
      EXPECT_THAT(cut.error().text, HasSubstr("the file is truncated at " + std::to_string(size) +
                                              ": it has 0 of the 3 pages that its kdump header promises"));
      continue;
    }
    ASSERT_TRUE(cut) << cut.error().text;
    EXPECT_TRUE((*cut)->truncated());
    EXPECT_THAT((*cut)->warnings(), Contains("the file is truncated at " + std::to_string(size) + ": it has " +
                                             std::to_string(there) + " of the 3 pages that its kdump header promises"));
    EXPECT_EQ((*cut)->describe(Missing::file_truncated), "the file is truncated at " + std::to_string(size));
    EXPECT_EQ((*cut)->file_size(), size);
    EXPECT_EQ(lost_pages(**cut), 3 - there);
    EXPECT_EQ(read(**cut, 0x4000, 4), std::pair(std::string(), Missing::file_truncated));
    EXPECT_EQ(read(**cut, 0x1ffe, 4).first, there == 2 ? "aabb" : "aa");
    EXPECT_EQ((*cut)->bytes_in_file((*cut)->segments()[0]), (there == 2 ? 2u : 1u) * 4096);
  }
  const auto complete = open_bytes(whole);
  ASSERT_TRUE(complete);
  EXPECT_FALSE((*complete)->truncated());
  EXPECT_EQ(lost_pages(**complete), 0u);
  EXPECT_FALSE((*complete)->has_file_offsets());
}

TEST(Kdump, CutOffInTheNotes) {
  const std::string note = elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0x1234}}));
  KdumpBuilder builder;
  builder.notes = note + note;
  const std::string whole = builder.build();
  const size_t at = whole.find(note), size = at + note.size() + 20;
  const auto cut = open_bytes(whole.substr(0, size));
  ASSERT_TRUE(cut) << cut.error().text;
  ASSERT_EQ((*cut)->cpus().size(), 1u);
  EXPECT_EQ((*cut)->cpus()[0].registers.get("rip"), 0x1234u);
  EXPECT_THAT((*cut)->warnings(),
              Contains("the notes of the kdump header: " + std::to_string(2 * note.size()) + " bytes at offset " +
                       std::to_string(at) + ", of which " + std::to_string(note.size() + 20) +
                       " can be read: the file is truncated at " + std::to_string(size)));
}

// The pieces in which it was written tell: a piece's place may be filled by what comes behind it.
TEST(Kdump, FlattenedThatEndsEarly) {
  KdumpBuilder builder;
  builder.notes = elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 0x1234}}));
  const std::string whole = builder.build();
  const size_t data = whole.find("\x78\x9c"), page_b = whole.rfind(std::string(4096, 'b'));
  Bytes file(true);
  file.text("makedumpfile").pad_to(16).u64(1).u64(1).pad_to(4096);
  const auto piece = [&](size_t from, size_t to) {
    file.u64(from).u64(to - from).text(std::string_view(whole).substr(from, to - from));
  };
  piece(0, data);                      // headers, bitmaps, descriptors and notes
  piece(page_b + 4096, whole.size());  // the last page before the others
  piece(data, page_b);
  const std::string two_pages = file.str();
  piece(page_b, page_b + 4096);
  const std::string three_pages = file.str();
  file.u64(~uint64_t{0}).u64(~uint64_t{0});

  const auto cut = open_bytes(two_pages);
  ASSERT_TRUE(cut) << cut.error().text;
  EXPECT_TRUE((*cut)->truncated());
  EXPECT_EQ((*cut)->cpus().size(), 1u);
  EXPECT_THAT((*cut)->warnings(), ElementsAre(HasSubstr("the flattened file ends early, after "),
                                              "the file is truncated at " + std::to_string(two_pages.size()) +
                                                  ": it has 2 of the 3 pages that its kdump header promises"));
  EXPECT_EQ(lost_pages(**cut), 1u);
  EXPECT_EQ(read(**cut, 0x1ffe, 4), std::pair(std::string("aa"), Missing::file_truncated));
  EXPECT_EQ(read(**cut, 0x4ffe, 2).first, "cc");

  const auto without_end = open_bytes(three_pages);
  ASSERT_TRUE(without_end);
  EXPECT_THAT((*without_end)->warnings(), ElementsAre(HasSubstr("the flattened file ends early, after ")));
  EXPECT_FALSE((*without_end)->truncated());
  EXPECT_EQ(lost_pages(**without_end), 0u);
  const auto complete = open_bytes(file.str());
  ASSERT_TRUE(complete);
  EXPECT_THAT((*complete)->warnings(), IsEmpty());
  EXPECT_EQ((*complete)->file_size(), file.size());
}

TEST(Kdump, Damaged) {
  KdumpBuilder builder;
  const std::string whole = builder.build();
  std::string damaged = whole;
  damaged.replace(damaged.rfind("\x78\x9c"), 4, "\xff\xff\xff\xff");  // how zlib's data begins
  const auto dump = open_bytes(damaged);
  ASSERT_TRUE(dump) << dump.error().text;
  EXPECT_EQ(read(**dump, 0x4000, 4).second, Missing::damaged);
  EXPECT_EQ(read(**dump, 0x1ffe, 4).first, "aabb");

  EXPECT_EQ(
      open_bytes(whole.substr(0, 8000)).error().text,
      "cannot open x.kdump: the kdump header and its bitmaps (4 blocks of 4096 bytes) go past the end of the file "
      "(8000 bytes)");
  EXPECT_EQ(open_bytes(whole.substr(0, 20)).error().text,
            "cannot open x.kdump: the kdump header (512 bytes at offset 0) goes past the end of the file (20 bytes)");
  std::string large = whole;  // in a file of 16 GiB, with a bitmap of which libkdumpfile would take 8 GiB
  large.replace(428 + 8, 4, std::string("\0\0\x20\0", 4));
  const int sparse = file_of(large);
  ASSERT_EQ(::ftruncate(sparse, off_t{16} << 30), 0);
  EXPECT_THAT(reader::Dump::open_descriptor(sparse, "x.kdump").error().text,
              HasSubstr("the page bitmap of its kdump header does not fit into the file (17179869184 bytes), or has"));
  KdumpBuilder other{.machine = "s390x\n"};
  EXPECT_EQ(
      open_bytes(other.build()).error().text,
      "cannot open x.kdump: it is a kdump-compressed dump of a machine \"s390x\\x0a\"; this reader knows x86_64, i686 "
      "and aarch64");
}

}  // namespace
}  // namespace gcore::tests
