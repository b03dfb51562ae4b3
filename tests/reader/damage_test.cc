// What is wrong with a dump is said, and not more than that.
#include <algorithm>
#include <random>

#include "tests/reader/fixture.h"
#include "tests/reader/packing.h"

namespace gcore::tests {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr uint64_t kBase = 0x100000;

/// 3 MiB that do not compress.
std::string noise() {
  std::mt19937_64 random(5);
  std::string out;
  while (out.size() < (size_t{3} << 20)) out += Bytes().u64(random()).str();
  return out;
}

std::unique_ptr<reader::Dump> opened_bytes(const std::string& bytes) {
  auto dump = reader::Dump::open_descriptor(file_of(bytes), "x.gcore");
  EXPECT_TRUE(dump) << dump.error().text;
  return dump ? std::move(*dump) : nullptr;
}

std::string error_of_bytes(const std::string& bytes) {
  auto dump = reader::Dump::open_descriptor(file_of(bytes), "x.gcore");
  return dump ? "(opened)" : dump.error().text;
}

TEST(Damage, AWrongChecksumIsNoPlace) {
  const std::string plain = small_dump(two_cpus().build()).build();
  std::string gzip = gzip_member(plain);
  gzip[gzip.size() - 8] = static_cast<char>(gzip[gzip.size() - 8] ^ 1);  // CRC32
  const auto dump = opened_bytes(gzip);
  ASSERT_NE(dump, nullptr);
  EXPECT_THAT(dump->warnings(), Contains(HasSubstr("does not fit its checksum: some of the first " +
                                                   std::to_string(plain.size()) + " unpacked bytes are wrong")));
  EXPECT_THAT(dump->warnings(), Not(Contains(HasSubstr("are used"))));
}

TEST(Damage, EachDamagedFrameAndItsMemory) {
  const std::string plain = DumpBuilder().note(two_cpus().build()).memory(kBase, noise()).build();
  std::string zstd = zstd_seekable(plain);
  EXPECT_THAT(opened_bytes(zstd)->check(), IsEmpty());
  zstd[(size_t{3} << 20) / 2] ^= 0x55;  // in the second frame, whose bytes are stored as they are
  const auto dump = opened_bytes(zstd);
  ASSERT_NE(dump, nullptr);
  EXPECT_THAT(dump->warnings(), IsEmpty()) << "opening does not read memory";
  const auto damage = dump->check();
  // A frame without a checksum can be wrong without anybody's noticing: the builder's have one.
  ASSERT_THAT(damage, SizeIs(1));
  EXPECT_THAT(damage[0].text, HasSubstr("the zstd data at offset "));
  EXPECT_THAT(damage[0].text, HasSubstr("cannot be unpacked (it is damaged): 1048576 bytes from 1048576 on"));
  ASSERT_THAT(damage[0].memory, SizeIs(1));
  EXPECT_EQ(damage[0].memory[0].second, 1048576u);
  const auto [there, missing] = read(*dump, damage[0].memory[0].first.value, 16);
  EXPECT_EQ(missing, reader::Missing::damaged);
}

TEST(Damage, AZstdFileThatLacksItsLastByte) {
  std::string zstd = zstd_seekable(DumpBuilder().note(two_cpus().build()).memory(kBase, noise()).build());
  zstd.pop_back();
  const auto dump = opened_bytes(zstd);
  ASSERT_NE(dump, nullptr);
  EXPECT_THAT(dump->warnings(),
              Contains(HasSubstr("the file ends 1 byte early, within the last frame of the zstd data")));
  EXPECT_THAT(dump->check(), IsEmpty());
}

TEST(Damage, NumbersThatNoProgramCanHold) {
  const auto dump =
      opened(small_dump(two_cpus().build()).section(".gcore.info", R"({"format": 1, "pages": {"zero": 1e400}})"));
  EXPECT_THAT(dump->warnings(),
              ElementsAre(HasSubstr("section .gcore.info is ignored: it has a number that no program can hold")));
}

TEST(Damage, AMachineThatContradictsItself) {
  DumpBuilder builder = small_dump(two_cpus().build());
  builder.section(".gcore.info", R"({"format": 1, "machine": "x86_64"})");
  EXPECT_THAT(opened(builder)->warnings(), IsEmpty());
  builder.machine = kEmAarch64;
  const auto dump = opened(builder);
  EXPECT_THAT(dump->warnings(),
              Contains(HasSubstr("says that the guest is x86_64, and the ELF header that it is aarch64")));

  QnxNote note = two_cpus();
  for (int i = 0; i < 60; ++i) note.extra_names.push_back("r" + std::to_string(i));
  DumpBuilder large = small_dump(note.build());
  EXPECT_THAT(opened(large)->warnings(), IsEmpty());
  large.machine = kEmAarch64;
  EXPECT_THAT(opened(large)->warnings(),
              Contains(HasSubstr("the dump may be of another machine than its ELF header says")));
}

TEST(Damage, NamesThatAreNoText) {
  QnxNote note = two_cpus();
  note.extra_names.push_back("\xff\xfe");
  EXPECT_THAT(opened(small_dump(note.build()))->warnings(),
              ElementsAre(HasSubstr("1 of the 3 names of extra registers in the kdump note are no text")));
}

TEST(Damage, MakedumpfilesMarkOfAnIncompleteDump) {
  const std::string notes = elf_note("CORE", 1, prstatus(kEmX86_64, 1, {{"rip", 1}}));
  const std::string flags_at_48("\1\0\0\0", 4);
  const auto dump = opened(small_dump(notes).patch(48, flags_at_48));
  EXPECT_THAT(dump->warnings(),
              ElementsAre(HasSubstr("the dump is incomplete: makedumpfile could not write all of it")));
}

TEST(Damage, AnEmptyNoteSegmentIsOne) {
  const auto dump = opened(small_dump(""));
  EXPECT_THAT(dump->warnings(), Contains("the dump has no vCPUs: its note segment is empty"));
}

TEST(Foreign, FilesAreNamedWithWhatHelps) {
  const auto with = [](std::string start) { return error_of_bytes(start + std::string(600, 'x')); };
  EXPECT_THAT(with(std::string("\xfd\x37zXZ\0", 6)), HasSubstr("it is an xz file, not an ELF file; unpack it: xz -d"));
  EXPECT_THAT(with("BZh9"), HasSubstr("a bzip2 file, not an ELF file; unpack it: bzip2 -d"));
  EXPECT_THAT(with("\x04\x22\x4d\x18"), HasSubstr("an lz4 file, not an ELF file; unpack it: lz4 -d"));
  EXPECT_THAT(with(std::string("\x89LZO\0\r\n\x1a\n", 9)),
              HasSubstr("an lzop file, not an ELF file; unpack it: lzop -d"));
  EXPECT_THAT(with("LibvirtQemudSave"), HasSubstr("libvirt's file is of version "));
  for (const auto& [at, magic] : {std::pair{0x202, "HdrS"}, {0x38, "ARM\x64"}}) {
    Bytes kernel;
    kernel.text("MZ").pad_to(at).text(magic).pad_to(1024);
    EXPECT_THAT(error_of_bytes(kernel.str()), HasSubstr("it is a Linux kernel as boot loaders take it"));
  }
  Bytes tar;
  tar.text("./vm.gcore").pad_to(257).text("ustar").pad_to(1024);
  EXPECT_THAT(error_of_bytes(tar.str()), HasSubstr("it is a tar archive, not an ELF file; unpack it: tar -x"));
  EXPECT_THAT(error_of_bytes(gzip_member(tar.str())), HasSubstr("unpacked, it is a tar archive"));
}

TEST(Foreign, MachinesThatAreNotReadAreNamed) {
  for (const auto& [machine, name] :
       {std::pair{243, "riscv64"}, {22, "s390x"}, {21, "ppc64"}, {258, "loongarch64"}, {40, "32-bit ARM"}}) {
    DumpBuilder builder = small_dump(two_cpus().build());
    builder.machine = static_cast<uint16_t>(machine);
    EXPECT_THAT(error_of(builder),
                HasSubstr("it is a core file for " + std::string(name) + ", machine " + std::to_string(machine)));
  }
}

}  // namespace
}  // namespace gcore::tests
