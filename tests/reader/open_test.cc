// What opens, and what each thing that does not open is told.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string error_of_bytes(const std::string& bytes) {
  const int fd = ::memfd_create("x", MFD_CLOEXEC);
  EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), ssize_t(bytes.size()));
  auto dump = reader::Dump::open_descriptor(fd, "x.gcore");
  return dump ? "(opened)" : dump.error().text;
}

TEST(Open, WhatIsNoDump) {
  EXPECT_EQ(error_of_bytes(""), "cannot open x.gcore: it is empty");
  EXPECT_EQ(error_of_bytes("hello"), "cannot open x.gcore: it is not an ELF file: it starts with 68 65 6c 6c 6f");
  EXPECT_EQ(error_of_bytes("QFI\xfb 1234"), "cannot open x.gcore: it is a qcow2 disk image, not an ELF file");
  constexpr const char* kVmware =
      "it is a saved state of VMware (.vmss, .vmsn), not an ELF file; use the .vmem beside it with --raw-memory x86_64";
  constexpr const char* kWindows = "it is a Windows crash dump, not an ELF file; WinDbg or volatility3 reads it";
  for (const auto& [start, words] : {std::pair{"\xd0\xbe\xd0\xbe", kVmware},
                                     {"\xd0\xbe\xd2\xbe", kVmware},
                                     {"\xd2\xbe\xd2\xbe", kVmware},
                                     {"\xd3\xbe\xd3\xbe", kVmware},
                                     {"\xd1\xba\xd1\xba", kVmware},
                                     {"\xd2\xba\xd2\xba", kVmware},
                                     {"PAGEDUMP", kWindows},
                                     {"PAGEDU64", kWindows},
                                     {"\x14\x20\x28\x01",
                                      "it is a file of Hyper-V (.vmrs, .vmcx), not an ELF file; WinDbg reads a saved "
                                      "state (.vmrs)"}})
    EXPECT_EQ(error_of_bytes(start + std::string(60, '\0')), std::string("cannot open x.gcore: ") + words);
  EXPECT_EQ(error_of_bytes("\x7f"
                           "ELF\2\1"),
            "cannot open x.gcore: the file ends within the ELF header, after 6 bytes");
}

TEST(Open, DirectoryAndMissingFile) {
  EXPECT_EQ(reader::Dump::open("/").error().text, "cannot open /: it is a directory");
  EXPECT_EQ(reader::Dump::open("/nowhere/x").error().text, "cannot open /nowhere/x: No such file or directory");
}

TEST(Open, OtherElfFiles) {
  for (const auto& [type, words] : {std::pair{1, "it is an object file (type 1), not a core file"},
                                    {2, "it is a program (type 2), not a core file"},
                                    {3, "it is a shared library or position-independent program (type 3)"},
                                    {77, "it is an ELF file of type 77, not a core file (type 4)"}}) {
    DumpBuilder builder = small_dump(two_cpus().build());
    builder.type = uint16_t(type);
    EXPECT_THAT(error_of(builder), HasSubstr(words));
  }
  DumpBuilder other = small_dump(two_cpus().build());
  other.machine = 21;
  EXPECT_THAT(error_of(other),
              HasSubstr("it is a core file for ppc64, machine 21; this reader knows x86_64 (62), aarch64 (183) "
                        "and x86 (3); crash and drgn read dumps of more machines"));
}

TEST(Open, DamagedHeaders) {
  DumpBuilder no_headers, entry_size = small_dump(two_cpus().build()), cut = entry_size, far = entry_size,
                          order = entry_size, file_class = entry_size, many = entry_size;
  EXPECT_THAT(error_of(no_headers), HasSubstr("it has no program headers"));
  entry_size.phentsize = 32;
  EXPECT_THAT(error_of(entry_size), HasSubstr("its program headers have 32 bytes each (e_phentsize) instead of 56"));
  cut.cut(100);
  EXPECT_EQ(error_of(cut),
            "cannot open x.gcore: the program header table (3 entries of 56 bytes at offset 64) goes past the "
            "end of the file (100 bytes)");
  far.patch(32, std::string(8, '\xff'));
  EXPECT_THAT(error_of(far), HasSubstr("at offset 18446744073709551615) goes past the end"));
  order.patch(5, "\x07");
  EXPECT_THAT(error_of(order), HasSubstr("byte order 7"));
  file_class.patch(4, "\x07");
  EXPECT_THAT(error_of(file_class), HasSubstr("class 7"));
  many.section_zero = true;
  many.patch(56, "\xff\xff");
  EXPECT_THAT(error_of(many), HasSubstr("the program header table (65535 entries"));
}

TEST(Open, HeadersOfOtherWriters) {
  DumpBuilder builder = small_dump(two_cpus().build());
  builder.sections_first = builder.section_zero = true;
  builder.header_size = 8;
  builder.ident_version = 0;
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->cpus().size(), 2u);
  EXPECT_THAT(dump->warnings(), IsEmpty());
}

TEST(Open, InfoSection) {
  for (const bool elf32 : {false, true})
    for (const bool big : {false, true}) {
      QnxNote note = two_cpus();
      note.big_endian = big;
      DumpBuilder builder = small_dump(note.build());
      builder.elf32 = elf32;
      builder.big_endian = big;
      builder.section(".other", "x").section(".gcore.info", "{\"a\": 1}\n  ");
      const auto dump = opened(builder);
      ASSERT_TRUE(dump);
      EXPECT_EQ(dump->info_json(), "{\"a\": 1}");
      EXPECT_EQ(dump->cpus()[1].registers.get("rip"), 0x2222u);
    }
}

TEST(Open, NoVcpusOrNoMemoryIsOnlyAnOddity) {
  DumpBuilder memory, vcpus, neither;
  memory.memory(0, "abcd");
  vcpus.note(two_cpus().build());
  neither.header({.type = 0});
  EXPECT_THAT(opened(memory)->warnings(), ElementsAre("the dump has no vCPUs: there is no note segment"));
  EXPECT_THAT(opened(vcpus)->warnings(), ElementsAre("the dump has no memory: there is no PT_LOAD segment"));
  EXPECT_EQ(
      error_of(neither),
      "cannot open x.gcore: it has neither memory nor vCPUs; the dump has no vCPUs: there is no note segment; the "
      "dump has no memory: there is no PT_LOAD segment");
}

std::unique_ptr<reader::Dump> from_pipe(const std::string& bytes) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  EXPECT_EQ(::write(ends[1], bytes.data(), bytes.size()), ssize_t(bytes.size()));  // fits in a pipe's 64 KiB
  ::close(ends[1]);
  auto dump = reader::Dump::open_descriptor(ends[0], "pipe");
  EXPECT_TRUE(dump) << dump.error().text;
  return dump ? std::move(*dump) : nullptr;
}

TEST(Open, CompressedAndPiped) {
  const std::string plain = small_dump(two_cpus().build()).build(), packed = gzip_member(plain);
  const std::string two_members =
      gzip_member(plain.substr(0, 5000)) + gzip_member(plain.substr(5000)) + std::string(100, '\0');
  for (const auto& [bytes, compression] : {std::pair(plain, "none"), {packed, "gzip"}, {two_members, "gzip"}}) {
    const auto dump = from_pipe(bytes);
    ASSERT_TRUE(dump);
    EXPECT_EQ(dump->compression(), compression);
    EXPECT_EQ(dump->cpus().size(), 2u);
    EXPECT_EQ(dump->file_size(), plain.size());
    std::byte b{};
    EXPECT_EQ(dump->read(reader::PhysAddr(0x10fff), std::span(&b, 1)).bytes, 1u);
    EXPECT_EQ(b, std::byte{'c'});
    EXPECT_THAT(dump->warnings(), IsEmpty());
  }
  const auto cut = from_pipe(packed.substr(0, packed.size() - 20));
  ASSERT_TRUE(cut);
  EXPECT_THAT(cut->warnings(), Contains(HasSubstr("the gzip data ends early")));
}

/// Bytes in memory, as a program of a user's may have them.
class Held final : public reader::Source {
 public:
  explicit Held(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  Result read(reader::FileOffset offset, std::span<std::byte> into) const override {
    if (offset.value >= bytes_.size()) return {};
    const size_t count = std::min<size_t>(into.size(), bytes_.size() - offset.value);
    std::memcpy(into.data(), bytes_.data() + offset.value, count);
    return {count, 0};
  }

 private:
  const std::string bytes_;
};

TEST(OpenSource, IsLikeAFileOfTheSameBytes) {
  const TempDir folder;
  const std::string path = folder.write("dump", small_dump(two_cpus().build()).build());
  const auto file = reader::Dump::open(path);
  ASSERT_TRUE(file) << file.error().text;
  const std::string bytes = read_file(path);
  ASSERT_EQ(run({"sh", "-c", "gzip -c " + path + " >" + folder.path("packed.gz")}).status, (ExitStatus{0, 0}));
  for (const std::string& content : {bytes, read_file(folder.path("packed.gz"))}) {
    const auto held = reader::Dump::open_source(std::make_unique<Held>(content), "elsewhere");
    ASSERT_TRUE(held) << held.error().text;
    EXPECT_EQ((*held)->path(), "elsewhere");
    EXPECT_EQ((*held)->cpus().size(), (*file)->cpus().size());
    EXPECT_EQ((*held)->memory_bytes(), (*file)->memory_bytes());
    std::array<std::byte, 64> a{}, b{};
    const reader::PhysAddr first = (*file)->segments()[0].address;
    EXPECT_EQ((*held)->read(first, a).bytes, (*file)->read(first, b).bytes);
    EXPECT_EQ(a, b);
  }
  const auto nothing = reader::Dump::open_source(std::make_unique<Held>("no dump at all"), "elsewhere");
  ASSERT_FALSE(nothing);
  EXPECT_THAT(nothing.error().text, testing::StartsWith("cannot open elsewhere: "));
}

}  // namespace
}  // namespace gcore::tests
