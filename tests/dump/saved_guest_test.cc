// Guests that QEMU saved (migrate) and files as libvirt makes of them, read as dumps; beside QEMU's own dump of the
// same moment.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "tests/dump/dump_files.h"
#include "tests/dump/gcore_dump.h"
#include "tests/support/foreign_files.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> warnings_of(const reader::Dump& dump) {
  return {dump.warnings().begin(), dump.warnings().end()};
}

/// Where `saved` has not the memory that `dump` has; "" when it has all of it. But for the 256 KiB below 1 MiB, where a
/// PC has a ROM or RAM, as its chipset is told.
std::string difference(const reader::Dump& dump, const reader::Dump& saved) {
  constexpr size_t kPiece = 256 << 10, kRomOrRam = 0xc0000;
  std::string a(kPiece, '\0'), b(kPiece, '\0');
  for (const reader::Segment& segment : dump.segments())
    for (uint64_t done = 0, step = 0; done < segment.memory_size; done += step) {
      const reader::PhysAddr address = segment.address + done;
      const size_t size =
          static_cast<size_t>(std::min<uint64_t>(kPiece - address.value % kPiece, segment.memory_size - done));
      step = size;
      if (address.value / kPiece == kRomOrRam / kPiece) continue;
      if (saved.read(address, std::as_writable_bytes(std::span(a).first(size))).bytes != size) return "not all there";
      if (dump.read(address, std::as_writable_bytes(std::span(b).first(size))).bytes != size) return "the oracle";
      if (a != b) return "near " + std::to_string(address.value);
    }
  return "";
}

struct Machine {
  const char* name;
  std::string qemu;
  std::vector<std::string> arguments;
  std::string written;  // "ADDRESS=VALUE,...": what QEMU's loader puts into memory
};

class SavedGuest : public testing::TestWithParam<Machine> {};

// QEMU's own dump has the addresses that QEMU knows: it is the oracle of where blocks are placed, too.
TEST_P(SavedGuest, IsWhatQemuDumpsOfIt) {
  std::vector<std::string> arguments = GetParam().arguments;
  for (size_t at = 0; at < GetParam().written.size();) {
    const size_t end = std::min(GetParam().written.find(',', at), GetParam().written.size());
    arguments.insert(arguments.end(), {"-device", "loader,addr=" + GetParam().written.substr(at, end - at) +
                                                      ",data=0x1122334455667788,data-len=8"});
    at = end + 1;
  }
  BareMachine machine(GetParam().qemu, GetParam().qemu == kX86 ? kLoop : "", arguments);
  machine.start();
  machine.qmp().execute("stop");
  const TempDir out;
  const Completed dumped = gcore_dump({"--qmp", machine.socket(), "--no-sync", out.path()});
  ASSERT_EQ(dumped.status, kDone) << dumped.err;
  save_guest(machine.qmp(), out.path("stream"));
  const auto saved = open_dump(out.path("stream")), dump = open_dump(line(dumped.out));
  EXPECT_EQ(saved->foreign_format(), "QEMU migration stream");
  EXPECT_THAT(warnings_of(*saved), IsEmpty());
  EXPECT_EQ(saved->machine(), dump->machine());
  EXPECT_EQ(difference(*dump, *saved), "");
  for (size_t at = 0; at < GetParam().written.size();) {
    const size_t end = std::min(GetParam().written.find(',', at), GetParam().written.size());
    uint64_t value = 0;
    EXPECT_EQ(saved
                  ->read(reader::PhysAddr(std::stoull(GetParam().written.substr(at, end - at), nullptr, 16)),
                         std::as_writable_bytes(std::span(&value, 1)))
                  .bytes,
              8u);
    EXPECT_EQ(value, 0x1122334455667788u);
    at = end + 1;
  }
  ASSERT_EQ(saved->cpus().size(), dump->cpus().size());
  for (size_t cpu = 0; cpu < saved->cpus().size(); ++cpu)
    for (const auto& known : format::registers(saved->machine())) {
      if (std::string_view(known.name) == "par_el1") continue;  // QEMU's stream does not have it
      if (const auto expected = dump->cpus()[cpu].registers.get(known.name)) {
        EXPECT_EQ(saved->cpus()[cpu].registers.get(known.name), expected) << known.name;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Of, SavedGuest,
    testing::Values(Machine{"pc", kX86, {"-machine", "pc", "-m", "64M", "-vga", "std", "-smp", "2"}, "0x1000000"},
                    Machine{"pc_4g", kX86, {"-machine", "pc", "-m", "4G"}, "0xbffffff8,0x100000000"},
                    Machine{"q35", kX86, {"-machine", "q35", "-m", "64M"}, "0x1000000"},
                    Machine{"q35_nodes",
                            kX86,
                            {"-machine", "q35", "-m", "3G", "-smp", "2", "-object",
                             "memory-backend-memfd,id=ram-node0,size=1G", "-object",
                             "memory-backend-memfd,id=ram-node1,size=2G", "-numa", "node,cpus=0,memdev=ram-node0",
                             "-numa", "node,cpus=1,memdev=ram-node1"},
                            "0x3ffffff8,0x40000000,0x7ffffff8,0x100000000"},
                    Machine{"microvm", kX86, {"-machine", "microvm", "-m", "64M"}, "0x1000000"},
                    Machine{"virt",
                            "qemu-system-aarch64",
                            {"-machine", "virt", "-cpu", "cortex-a57", "-m", "64M", "-smp", "2"},
                            "0x41000000"}),
    [](const auto& one) { return std::string(one.param.name); });

// ---- libvirt's file around a stream ----

class LibvirtFile : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir;
    BareMachine machine(kX86, kLoop, {"-m", "64M", "-device", "loader,addr=0x1000000,data=0x31,data-len=1"});
    save_guest(machine.qmp(), folder_->path("stream"));
  }
  static void TearDownTestSuite() { delete folder_; }

  static void expect_the_guest(const reader::Dump& dump) {
    EXPECT_EQ(dump.foreign_format(), "libvirt saved domain");
    EXPECT_EQ(dump.foreign_name(), "web1");
    EXPECT_EQ(dump.cpus().size(), 1u);
    char byte = 0;
    EXPECT_EQ(dump.read(reader::PhysAddr(0x1000000), std::as_writable_bytes(std::span(&byte, 1))).bytes, 1u);
    EXPECT_EQ(byte, '1');
  }
  static TempDir* folder_;
};
TempDir* LibvirtFile::folder_ = nullptr;

TEST_F(LibvirtFile, OpensPlainAndCompressed) {
  const std::string stream = read_file(folder_->path("stream"));
  expect_the_guest(*open_dump(folder_->write("raw", libvirt_header(0) + stream)));
  for (const auto& [number, packer] : {std::pair{1, "gzip"}, {2, "bzip2"}, {3, "xz"}, {4, "lzop"}, {5, "zstd"}}) {
    ASSERT_EQ(run({"sh", "-c", std::string(packer) + " -c " + folder_->path("stream") + " >" + folder_->path("packed")})
                  .status,
              kDone);
    const std::string path =
        folder_->write(packer, libvirt_header(static_cast<uint32_t>(number)) + read_file(folder_->path("packed")));
    expect_the_guest(*open_dump(path));
    const Completed piped = run({"sh", "-c", "cat " + path + " | " + gcore::tests::program("gcore-inspect") + " -"});
    EXPECT_EQ(piped.status, kDone) << piped.err;
    EXPECT_THAT(piped.out, HasSubstr("libvirt saved domain"));
    EXPECT_THAT(piped.out, HasSubstr("web1"));
  }
}

TEST_F(LibvirtFile, SaysWhatToDoWithOthers) {
  const std::string stream = read_file(folder_->path("stream"));
  const auto unknown = reader::Dump::open(folder_->write("unknown", libvirt_header(9) + stream));
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().text, HasSubstr("compressed in a way that is not known (9)"));
  const auto part = open_dump(folder_->write("part", libvirt_header(0, "LibvirtQemudPart") + stream));
  EXPECT_THAT(warnings_of(*part), Contains(HasSubstr("did not finish saving")));
  std::string other = stream;
  other.replace(other.find("pc-i440fx"), 9, "s390-ccw-");
  const auto machine = reader::Dump::open(folder_->write("machine", other));
  ASSERT_FALSE(machine);
  EXPECT_THAT(machine.error().text, HasSubstr("machine type s390-ccw-"));
}

// What comes after the cut is lost, and not zeros.
TEST_F(LibvirtFile, CutAnywhereHasWhatCameBefore) {
  const std::string stream = read_file(folder_->path("stream"));
  for (size_t size = 1; size < stream.size(); size = size < 300 ? size + 7 : size + stream.size() / 40) {
    const auto cut = reader::Dump::open(folder_->write("cut", stream.substr(0, size)));
    if (!cut) {
      EXPECT_LT(size, 4096u) << cut.error().text;
      continue;
    }
    EXPECT_THAT((*cut)->cpus(), IsEmpty());
    EXPECT_THAT(warnings_of(**cut), Contains(HasSubstr("registers are lost")));
  }
  const std::string half = stream.substr(0, stream.size() / 2);
  const auto cut = open_dump(folder_->write("half", half));
  EXPECT_TRUE(cut->truncated());
  EXPECT_TRUE(cut->next_missing(reader::PhysAddr(0)));
}

TEST_F(LibvirtFile, DamagedWhereverItIsCompressedIsSaid) {
  for (const auto& [number, packer] : {std::pair{2u, "bzip2"}, {3, "xz"}, {4, "lzop"}}) {
    ASSERT_EQ(run({"sh", "-c", std::string(packer) + " -c " + folder_->path("stream") + " >" + folder_->path("packed")})
                  .status,
              kDone);
    const std::string packed = read_file(folder_->path("packed"));
    for (int damage = 0; damage < 24; ++damage) {
      std::string other = packed;
      const size_t at = packed.size() / 24 * static_cast<size_t>(damage) + 3;
      if (damage % 2 == 0)
        other.resize(at);
      else
        other[at] = static_cast<char>(other[at] ^ 0x20);
      const auto dump = reader::Dump::open(folder_->write("damaged", libvirt_header(number) + other));
      if (dump) {
        EXPECT_THAT(warnings_of(**dump), Not(IsEmpty())) << packer << " " << damage;
      } else {
        EXPECT_THAT(dump.error().text, Not(IsEmpty()));
      }
    }
  }
}

TEST_F(LibvirtFile, BecomesADumpOfOurs) {
  const std::string out = folder_->path("converted.gcore");
  const Completed converted =
      run({gcore::tests::program("gcore-convert"), folder_->path("stream"), out, "--dialect", "qnx", "--force"});
  ASSERT_EQ(converted.status, kDone) << converted.err;
  const auto a = open_dump(folder_->path("stream")), b = open_dump(out);
  EXPECT_EQ(difference(*a, *b), "");
  EXPECT_EQ(a->cpus()[0].registers.get("rip"), b->cpus()[0].registers.get("rip"));
}

}  // namespace
}  // namespace gcore::tests
