// Every variant of the formats that the reader takes, each under its name: the same two vCPUs and the same memory.
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

#include "tests/reader/fixture.h"

namespace gcore::tests {
namespace {

using ::testing::IsEmpty;

struct Machine {
  const char* name;
  uint16_t number;  // e_machine
  const char* pc;
  const char* extra;  // an extra register that it has
};
constexpr Machine kX86_64{"x86_64", kEmX86_64, "rip", "cr3"}, kAarch64{"aarch64", kEmAarch64, "elr", "ttbr0_el1"},
    kX86{"x86", kEmX86, "eip", "cr3"}, kX86By6{"x86_by_number_6", 6, "eip", "cr3"};

void expect_memory(const reader::Dump& dump) {
  std::string text(6, '?');
  EXPECT_EQ(dump.read(reader::PhysAddr(0x1ffd), std::as_writable_bytes(std::span(text))).bytes, 6u);
  EXPECT_EQ(text, "aaabbb");
  EXPECT_THAT(dump.warnings(), IsEmpty());
}

// ---- the qnx dialect

struct Qnx {
  int release;
  Machine machine;
  bool elf32, big, pae;
  bool sizes_per_entry;  // the other reading of the sizes of extra registers

  std::string name() const {
    return std::string("Release") + std::to_string(release) + "_" + machine.name + (pae ? "_pae" : "") +
           (elf32 ? "_elf32" : "_elf64") + (big ? "_big" : "_little") + (sizes_per_entry ? "_sizes_of_one_entry" : "");
  }
};
void PrintTo(const Qnx& variant, std::ostream* out) { *out << variant.name(); }

std::vector<Qnx> qnx_variants() {
  std::vector<Qnx> all;
  for (const Machine& machine : {kX86_64, kAarch64, kX86, kX86By6})
    for (const bool elf32 : {false, true})
      for (const bool big : {false, true})
        for (const bool pae : {false, true}) {
          if (pae && std::string_view(machine.pc) != kX86.pc) continue;
          all.push_back({6, machine, elf32, big, pae, false});
          for (const bool per_entry : {false, true}) all.push_back({7, machine, elf32, big, pae, per_entry});
        }
  return all;
}

class QnxVariant : public testing::TestWithParam<Qnx> {};

TEST_P(QnxVariant, IsRead) {
  const auto& [release, machine, elf32, big, pae, per_entry] = GetParam();
  QnxNote note;
  note.machine = machine.number == 6 ? kEmX86 : machine.number;
  note.big_endian = big;
  note.cpu_info = pae ? 1 : 0;
  note.sizes_per_entry = per_entry;
  if (release == 7) note.extra_names = {machine.extra};
  note.cpus = {{.pgtbl = 0x5000, .number = 0, .process = "procnto", .registers = {{machine.pc, 0x1234}}},
               {.pgtbl = 0x6000, .number = 1, .process = "", .registers = {{machine.pc, 0x5678}}}};
  if (release == 7) note.cpus[1].registers[machine.extra] = 0x6000;
  DumpBuilder builder = small_dump(note.build());
  builder.machine = machine.number;
  builder.elf32 = elf32;
  builder.big_endian = big;
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->dialect(), reader::Dialect::qnx);
  EXPECT_EQ(dump->is_64_bit(), !elf32);
  EXPECT_EQ(dump->byte_order(), big ? format::ByteOrder::big : format::ByteOrder::little);
  ASSERT_EQ(dump->cpus().size(), 2u);
  EXPECT_EQ(dump->cpus()[0].registers.get(machine.pc), 0x1234u);
  EXPECT_EQ(dump->cpus()[1].registers.get(machine.pc), 0x5678u);
  EXPECT_EQ(dump->cpus()[0].process_name, "procnto");
  EXPECT_EQ(dump->cpus()[1].page_table, reader::PhysAddr(0x6000));
  EXPECT_EQ(dump->cpus()[1].registers.get(machine.extra),
            release == 7 ? std::optional<uint64_t>(0x6000) : std::nullopt);
  EXPECT_EQ(dump->kdump_facts()->cpu_info, pae ? 1u : 0u);
  expect_memory(*dump);
}

INSTANTIATE_TEST_SUITE_P(Format, QnxVariant, testing::ValuesIn(qnx_variants()),
                         [](const auto& test) { return test.param.name(); });

// ---- the vmcore dialect

struct Vmcore {
  const char* name;
  Machine machine;
  void (*as_its_writer)(DumpBuilder&);
  uint32_t first_pid = 1;
  size_t padding = 4;
  enum class Notes : uint8_t { one_segment, a_segment_each, behind_the_memory } notes = Notes::one_segment;
  bool many_headers = false;
};
void PrintTo(const Vmcore& variant, std::ostream* out) { *out << variant.name; }

void as_qemu(DumpBuilder& builder) {
  builder.sections_first = builder.section_zero = true;
  builder.header_size = 8;
  builder.virtual_is_physical = false;
}
void as_linux_of_32_bits(DumpBuilder& builder) { builder.elf32 = builder.virtual_is_physical = true; }
void as_ours(DumpBuilder& builder) { builder.virtual_is_physical = true; }
void as_virtualbox(DumpBuilder& builder) { builder.ident_version = 0; }
void as_cloud_hypervisor(DumpBuilder& builder) { builder.virtual_is_physical = false; }

constexpr Vmcore kVmcores[] = {
    {"qemu_x86_64", kX86_64, as_qemu},
    {"qemu_aarch64", kAarch64, as_qemu},
    {"linux_kdump_x86_64", kX86_64, as_ours, 1, 4, Vmcore::Notes::a_segment_each},
    {"linux_kdump_aarch64", kAarch64, as_ours, 1, 4, Vmcore::Notes::a_segment_each},
    {"linux_kdump_x86", kX86, as_linux_of_32_bits, 1, 4, Vmcore::Notes::a_segment_each},
    {"cloud_hypervisor_x86_64", kX86_64, as_cloud_hypervisor, 0},
    {"cloud_hypervisor_aarch64", kAarch64, as_cloud_hypervisor, 0},
    {"virtualbox_x86_64", kX86_64, as_virtualbox},
    {"gcore_x86_64", kX86_64, as_ours},
    {"gcore_aarch64", kAarch64, as_ours},
    {"notes_padded_to_8", kX86_64, as_ours, 1, 8},
    {"notes_behind_the_memory", kX86_64, as_ours, 1, 4, Vmcore::Notes::behind_the_memory},
    {"more_headers_than_e_phnum_holds", kX86_64, as_ours, 1, 4, Vmcore::Notes::one_segment, true},
};

class VmcoreVariant : public testing::TestWithParam<Vmcore> {};

TEST_P(VmcoreVariant, IsRead) {
  const Vmcore& variant = GetParam();
  const auto [name, number, pc, extra] = variant.machine;
  DumpBuilder builder;
  builder.machine = number;
  std::string notes;
  for (const uint32_t cpu : {0u, 1u}) {
    std::string own =
        elf_note("CORE", 1, prstatus(number, variant.first_pid + cpu, {{pc, 0x1000 * cpu + 0x234}}), variant.padding);
    if (variant.notes == Vmcore::Notes::a_segment_each) {
      builder.note(own);
    } else {
      notes += own;
    }
  }
  if (number == kEmX86_64)
    for (const uint64_t root : {0x5000u, 0x6000u})
      notes += elf_note("QEMU", 0, qemu_note({{extra, root}}), variant.padding);
  notes += elf_note("VMCOREINFO", 0, "OSRELEASE=6.1\n", variant.padding);
  builder.note(notes);
  builder.memory(0x1000, std::string(4096, 'a') + std::string(4096, 'b'));
  variant.as_its_writer(builder);
  builder.notes_last = variant.notes == Vmcore::Notes::behind_the_memory;
  if (variant.many_headers)
    for (uint64_t i = 0; i < 65'600; ++i)
      builder.header({.offset = 64, .address = 0x100000 + i * 0x1000, .file_size = 8, .memory_size = 8});
  const auto dump = opened(builder);
  ASSERT_TRUE(dump);
  EXPECT_EQ(dump->dialect(), reader::Dialect::vmcore);
  ASSERT_EQ(dump->cpus().size(), 2u);
  for (const uint32_t cpu : {0u, 1u}) {
    EXPECT_EQ(dump->cpus()[cpu].number, cpu);
    EXPECT_EQ(dump->cpus()[cpu].registers.get(pc), 0x1000 * cpu + 0x234);
    EXPECT_EQ(dump->cpus()[cpu].registers.get(extra),
              number == kEmX86_64 ? std::optional<uint64_t>(0x5000 + 0x1000 * cpu) : std::nullopt);
  }
  EXPECT_EQ(dump->vmcoreinfo(), "OSRELEASE=6.1\n");
  EXPECT_EQ(dump->segments().size(), variant.many_headers ? 65'601u : 1u);
  expect_memory(*dump);
}

INSTANTIATE_TEST_SUITE_P(Format, VmcoreVariant, testing::ValuesIn(kVmcores),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace gcore::tests
