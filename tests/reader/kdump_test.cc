// kdump-compressed dumps: as QEMU makes them, against its ELF dump of the same machine; and ones made here.
#include <unistd.h>
#include <zlib.h>

#include <fstream>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"
#include "tests/support/process.h"
#include "tests/support/qmp.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::Missing;
using reader::PhysAddr;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::pair<std::string, Missing> read(const reader::Dump& dump, uint64_t address, size_t size) {
  std::string text(size, '?');
  const auto result = dump.read(PhysAddr(address), std::as_writable_bytes(std::span(text)));
  text.resize(result.bytes);
  return {text, result.missing};
}

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

/// A file after makedumpfile's diskdump_mod.h. Page i of the map is: '.' no memory, '-' left out, a letter a page of
/// it.
struct KdumpBuilder {
  std::string machine = "x86_64", map = ".ab-c", notes{}, vmcoreinfo{};

  std::string build() const {
    constexpr size_t kPage = 4096;
    const bool wide = machine[0] != 'i';
    Bytes header;
    header.text("KDUMP   ").u32(6).zeros(4 * 65).text(machine).pad_to(wide ? 424 : 412);
    header.u32(1).u32(kPage).u32(1).u32(2).u32(map.size());
    header.pad_to(kPage);
    const size_t sub = header.size(), data = 4 * kPage;
    const size_t pages = size_t(std::count_if(map.begin(), map.end(), [](char c) { return c >= 'a'; }));
    size_t at = data + pages * 24;
    const size_t notes_at = at, text_at = at + notes.size();
    at += notes.size() + vmcoreinfo.size();
    header.put(sub + (wide ? 32 : 20), text_at, 8).put(sub + (wide ? 40 : 28), vmcoreinfo.size(), wide ? 8 : 4);
    header.put(sub + (wide ? 48 : 32), notes_at, 8).put(sub + (wide ? 56 : 40), notes.size(), wide ? 8 : 4);
    header.put(sub + (wide ? 96 : 72), map.size(), 8);
    uint8_t bits[2] = {};
    for (size_t i = 0; i < map.size(); ++i) {
      bits[0] = uint8_t(bits[0] | (map[i] != '.') << i);
      bits[1] = uint8_t(bits[1] | (map[i] >= 'a') << i);
    }
    header.pad_to(2 * kPage).u8(bits[0]).pad_to(3 * kPage).u8(bits[1]).pad_to(4 * kPage);
    std::string packed;
    for (const char c : map) {
      if (c < 'a') continue;
      std::string page(kPage, c);
      const bool raw = c == 'b';
      if (!raw) {
        uLongf size = compressBound(kPage);
        page.resize(size);
        const std::string plain(kPage, c);
        compress(reinterpret_cast<Bytef*>(page.data()), &size, reinterpret_cast<const Bytef*>(plain.data()), kPage);
        page.resize(size);
      }
      header.u64(at + packed.size()).u32(page.size()).u32(raw ? 0 : 1).u64(0);
      packed += page;
    }
    return header.text(notes).text(vmcoreinfo).text(packed).str();
  }
};

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

TEST(Kdump, CutOffAndDamaged) {
  KdumpBuilder builder;
  const std::string whole = builder.build();
  const auto cut = open_bytes(whole.substr(0, whole.size() - 1));
  ASSERT_TRUE(cut) << cut.error().text;
  EXPECT_EQ(read(**cut, 0x4000, 4), std::pair(std::string(), Missing::file_truncated));
  EXPECT_EQ(read(**cut, 0x1ffe, 4).first, "aabb");
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
      "cannot open x.kdump: it is a kdump-compressed dump of a machine \"s390x?\"; this reader knows x86_64, i686 "
      "and aarch64");
}

}  // namespace
}  // namespace gcore::tests
