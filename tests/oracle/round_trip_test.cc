// What the writer wrote the reader reads, byte for byte and register for register: each dialect, in each container, of
// each machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <set>
#include <tuple>

#include "reader/dump/dump.h"
#include "tests/dump/dump_files.h"
#include "tests/writer/fake_guest.h"
#include "writer/dump.h"

namespace gcore::tests {
namespace {

using format::Machine;
using reader::PhysAddr;
using writer::Compression;
using writer::Dialect;

constexpr uint64_t kPages = 600, kLow = 0x1000, kHighStart = 0x100000000;

/// A way for a dump to get into a file.
struct Container {
  const char* name;
  Compression compression;
  const char* command;  // "%" stands for the file; "": straight into it

  friend void PrintTo(const Container& container, std::ostream* out) { *out << container.name; }
};

constexpr Container kContainers[] = {
    {"plain", Compression::none, ""},
    {"gz", Compression::gzip, ""},
    {"zst", Compression::zstd, ""},
    {"pipe", Compression::none, "|cat >%"},
    {"gzPipe", Compression::gzip, "|cat >%"},
    {"throughGzip", Compression::none, "|gzip -1 >%"},
    {"zstPipe", Compression::zstd, "|cat >%"},
    {"throughZstd", Compression::none, "|zstd -q -1 >%"},
};

/// Random bytes, pages of zeros among them, and pages that were never touched at all. Every register has a value of its
/// own.
class FullGuest : public FakeGuest {
 public:
  explicit FullGuest(Machine machine) : FakeGuest(kPages, Backing::memfd_without_mapping) {
    machine_kind = machine;
    cpus = 3;
    vm_name = "full";
    std::mt19937_64 random(7);
    expected.assign(size, '\0');
    for (uint64_t page = 0; page < kPages; ++page) {
      if (page % 7 == 3 || page / 50 % 4 == 2) continue;
      for (uint64_t at = page * kPage; at < (page + 1) * kPage; at += 8) {
        const uint64_t word = page % 7 == 5 ? 0 : random();
        std::memcpy(expected.data() + at, &word, 8);
      }
      std::memcpy(host + page * kPage, expected.data() + page * kPage, kPage);
    }
    on_read_cpu = [machine](size_t cpu, format::RegisterFile& registers) {
      for (size_t slot = 0; slot < format::registers(machine).size(); ++slot)
        registers.set_slot(slot, value_of(cpu, slot));
      return true;
    };
    ranges = {range(kHighStart, 400 * kPage, 200 * kPage), range(kLow, 0, 100 * kPage),
              range(kLow + 100 * kPage, 100 * kPage, 300 * kPage)};
  }

  static uint64_t value_of(size_t cpu, size_t slot) { return 0x100 * (cpu + 1) + slot; }

  std::string expected;
};

std::string read(const reader::Dump& dump, uint64_t address, size_t size) {
  std::string bytes(size, '?');
  bytes.resize(dump.read(PhysAddr(address), std::as_writable_bytes(std::span(bytes.data(), size))).bytes);
  return bytes;
}

/// The registers that the vmcore dialect has notes for (docs/format.md).
std::set<std::string> registers_of_vmcore(Machine machine) {
  std::set<std::string> names;
  if (machine == Machine::aarch64) {
    for (int i = 0; i < 31; ++i) names.insert("x" + std::to_string(i));
    for (int i = 0; i < 32; ++i)
      for (const char* half : {".lo", ".hi"}) names.insert("v" + std::to_string(i) + half);
    names.insert({"sp", "elr", "pstate", "fpsr", "fpcr"});
    return names;
  }
  for (int i = 8; i < 16; ++i) names.insert("r" + std::to_string(i));
  for (const char* segment : {"cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr"})
    for (const char* part : {"_base", "_limit", "_flags"}) names.insert(std::string(segment) + part);
  names.insert({"rax",
                "rbx",
                "rcx",
                "rdx",
                "rsi",
                "rdi",
                "rsp",
                "rbp",
                "rip",
                "rflags",
                "cs",
                "ds",
                "es",
                "fs",
                "gs",
                "ss",
                "ldtr",
                "tr",
                "kernel_gs_base",
                "cr0",
                "cr2",
                "cr3",
                "cr4",
                "gdt_base",
                "gdt_limit",
                "idt_base",
                "idt_limit"});
  return names;
}

/// What a reader has of a register. A 32-bit x86 CPU pushes no stack pointer when it enters the kernel from the kernel,
/// as the registers of an even vCPU say: its stack is above the frame in exx (writer/format/registers.cc).
uint64_t value_read(Machine machine, size_t cpu, size_t slot) {
  const auto all = format::registers(machine);
  if (machine != Machine::x86) return FullGuest::value_of(cpu, slot);
  const auto written = [&](std::string_view name) {
    return FullGuest::value_of(cpu, *format::find_register(machine, name));
  };
  const bool in_kernel = (written("cs") & 3) == 0;
  if (in_kernel && all[slot].name == "esp") return written("exx") + 12;
  if (in_kernel && all[slot].name == "ss") return 0;
  return FullGuest::value_of(cpu, slot);
}

const char* name_of(Machine machine) {
  return machine == Machine::x86_64 ? "x86_64" : machine == Machine::aarch64 ? "aarch64" : "x86";
}

class RoundTrip : public testing::TestWithParam<std::tuple<Machine, Dialect, Container>> {
 protected:
  static Dialect dialect() { return std::get<1>(GetParam()); }

  std::unique_ptr<reader::Dump> dump(FullGuest& guest) {
    const Container& container = std::get<2>(GetParam());
    writer::Options options;
    options.dialect = dialect();
    options.compression = container.compression;
    options.target = folder_.path();
    std::string path;
    if (*container.command) {
      options.target = container.command;
      path = folder_.path("piped");
      options.target.replace(options.target.find('%'), 1, path);
    }
    const writer::Result result = writer::dump(guest, options);
    if (!result.status) throw std::runtime_error(result.status.text());
    auto opened = reader::Dump::open(path.empty() ? result.path : path);
    if (!opened) throw std::runtime_error(opened.error().text);
    return std::move(*opened);
  }

  TempDir folder_;
};

TEST_P(RoundTrip, HasEveryByteAndRegister) {
  const Machine machine = std::get<0>(GetParam());
  FullGuest guest(machine);
  const auto dump = this->dump(guest);
  EXPECT_THAT(dump->warnings(), testing::IsEmpty());
  EXPECT_EQ(dump->machine(), machine);
  EXPECT_EQ(dump->dialect() == reader::Dialect::qnx, dialect() == Dialect::qnx);

  EXPECT_EQ(dump->memory_bytes(), kPages * kPage);
  EXPECT_TRUE(read(*dump, kLow, 400 * kPage) == guest.expected.substr(0, 400 * kPage));
  EXPECT_TRUE(read(*dump, kHighStart, 200 * kPage) == guest.expected.substr(400 * kPage));
  EXPECT_EQ(read(*dump, kLow - 1, 1), "");
  EXPECT_EQ(read(*dump, kLow + 400 * kPage, 1), "");
  EXPECT_EQ(read(*dump, kHighStart + 200 * kPage, 1), "");

  ASSERT_EQ(dump->cpus().size(), guest.cpus);
  const auto carried = registers_of_vmcore(machine);
  for (size_t cpu = 0; cpu < guest.cpus; ++cpu) {
    const auto all = format::registers(machine);
    for (size_t slot = 0; slot < all.size(); ++slot) {
      const bool expected = dialect() == Dialect::qnx || carried.contains(std::string(all[slot].name));
      const auto value = dump->cpus()[cpu].registers.get_slot(slot);
      EXPECT_EQ(value, expected ? std::optional(value_read(machine, cpu, slot)) : std::nullopt)
          << all[slot].name << " of vCPU " << cpu;
    }
  }
}

std::string name_of_test(const testing::TestParamInfo<RoundTrip::ParamType>& test) {
  return name_of(std::get<0>(test.param)) +
         std::string(std::get<1>(test.param) == Dialect::qnx ? "_qnx_" : "_vmcore_") + std::get<2>(test.param).name;
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip,
                         testing::Combine(testing::Values(Machine::x86_64, Machine::aarch64),
                                          testing::Values(Dialect::qnx, Dialect::vmcore),
                                          testing::ValuesIn(kContainers)),
                         name_of_test);
// The writer has no vmcore of a 32-bit machine.
INSTANTIATE_TEST_SUITE_P(X86, RoundTrip,
                         testing::Combine(testing::Values(Machine::x86), testing::Values(Dialect::qnx),
                                          testing::ValuesIn(kContainers)),
                         name_of_test);

// VMCOREINFO with addresses of a kernel of 20 pages at 2 MiB, somewhere behind 0xffffffff80000000.
constexpr char kKernel[] =
    "OSRELEASE=6.1\nSYMBOL(_stext)=ffffffff8a000000\nSYMBOL(init_top_pgt)=ffffffff8a012000\n"
    "SYMBOL(prb)=ffffffff8a0135f0\nSYMBOL(mem_section)=ffff888001000000\nNUMBER(phys_base)=-165675008\n";

TEST(KernelImage, IsShownByItsVirtualAddressesToo) {
  FullGuest guest(Machine::x86_64);
  guest.vmcoreinfo_text = kKernel;
  TempDir folder;
  writer::Options options;
  options.target = folder.path();
  for (const bool whole : {true, false}) {
    guest.ranges = {guest.range(0x200000, 0, (whole ? 20 : 19) * kPage), guest.range(kHighStart, 0x100000, kPage)};
    options.dialect = Dialect::vmcore;
    options.file_name = whole ? "whole" : "part";
    ASSERT_TRUE(writer::dump(guest, options).status);
    const std::string file = read_file(folder.path(options.file_name));
    const auto word = [&](size_t at) {
      uint64_t value;
      std::memcpy(&value, file.data() + at, 8);
      return value;
    };
    ASSERT_EQ(file[56], whole ? 4 : 3);  // e_phnum: notes, two ranges, the image if all of it is there
    if (whole) {
      const size_t ram = 64 + 56, image = 64 + 3 * 56;
      EXPECT_EQ(word(image + 16), 0xffffffff8a000000);  // p_vaddr
      EXPECT_EQ(word(image + 24), 0x200000U);           // p_paddr
      EXPECT_EQ(word(image + 8), word(ram + 8));        // p_offset
      EXPECT_EQ(word(image + 32), 20 * kPage);          // p_filesz
      EXPECT_EQ(word(image + 40), 20 * kPage);          // p_memsz
    }
    const auto dump = reader::Dump::open(folder.path(options.file_name));
    ASSERT_TRUE(dump) << dump.error().text;
    EXPECT_EQ((*dump)->segments().size(), 2U);  // no memory of its own
    EXPECT_THAT((*dump)->warnings(), testing::IsEmpty());
  }
}

}  // namespace
}  // namespace gcore::tests
