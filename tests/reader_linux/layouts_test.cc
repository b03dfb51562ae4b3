// kallsyms in every order of its tables, in memory of our own making.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reader/guest/linux/kernel_memory.h"
#include "reader/guest/linux/names.h"
#include "tests/reader_linux/kallsyms_builder.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using reader::VirtAddr;
using reader::linux_guest::KernelMemory;
using reader::linux_guest::Names;

constexpr uint64_t kImage = 0xffffffff81000000, kTables = kImage + 0x210000;

std::vector<std::pair<uint64_t, std::string>> symbols() {
  std::vector<std::pair<uint64_t, std::string>> all{{0, "A__per_cpu_start"}, {0x1f000, "Arunqueues"}};
  all.emplace_back(kImage, "T_text");
  all.emplace_back(kImage, "T_stext");
  for (unsigned i = 0; i < 1500; i++)
    all.emplace_back(kImage + 0x1000 + 16 * i, (i % 3 ? "tsys_function_" : "Tdo_system_") + std::to_string(i));
  all.emplace_back(kImage + 0x10000, "t" + std::string(300, 'x') + "sy");
  all.emplace_back(kImage + 0x11000, "T_etext");
  all.emplace_back(kImage + 0x300000, "Dinit_task");
  all.emplace_back(kImage + 0x3f0000, "B_end");
  return all;
}

/// 4 MiB of a kernel's image, mapped as x86_64 has it, and one vCPU.
std::string dump_of(const std::string& tables) {
  Bytes paging;
  paging.zeros(3 * 4096);
  paging.put(8 * 511, 0x2003, 8).put(4096 + 8 * 510, 0x3003, 8);
  for (uint64_t i = 0; i < 2; i++) paging.put(8192 + 8 * (8 + i), (0x1000000 + i * 0x200000) | 0x183, 8);
  Bytes image;
  image.zeros(0x400000);
  std::string bytes = image.str();
  bytes.replace(kTables - kImage, tables.size(), tables);
  QnxNote note;
  note.cpus.push_back({});
  note.cpus[0].registers = {
      {"cr0", 0x80050033}, {"cr3", 0x1000}, {"cr4", 0x20}, {"efer", 0xd01}, {"rip", kImage + 0x1000}};
  note.extra_names = {"cr0", "cr3", "cr4", "efer"};
  DumpBuilder builder;
  builder.note(note.build()).memory(0x1000, paging.str()).memory(0x1000000, bytes);
  return builder.build();
}

class Layouts : public testing::TestWithParam<std::pair<const char*, KallsymsLayout>> {
 protected:
  Layouts() {
    built_ = build_kallsyms(symbols(), kTables, GetParam().second);
    const std::string path = folder_.write("dump", dump_of(built_.bytes));
    auto dump = reader::Dump::open(path);
    if (!dump) throw std::runtime_error(dump.error().text);
    dump_ = *std::move(dump);
    auto space = reader::AddressSpace::of_cpu(*dump_, 0);
    if (!space) throw std::runtime_error(space.error().text);
    memory_.emplace(*dump_, *std::move(space));
    guest_.kind = reader::GuestSystem::Kind::linux_kernel;
    guest_.image_address = VirtAddr(kImage);
    guest_.image_physical = reader::PhysAddr(0x1000000);
  }

  void compare(const reader::Expected<Names>& names) const {
    ASSERT_TRUE(names) << names.error().text;
    const auto expected = symbols();
    ASSERT_EQ(names->all().size(), expected.size());
    for (size_t i = 0; i < expected.size(); i++) {
      const auto& symbol = names->all()[i];
      ASSERT_EQ(symbol.type + std::string(symbol.name), expected[i].second);
      const bool says_small = GetParam().second.absolute_per_cpu || GetParam().second.plain;
      if (expected[i].first >= kImage || says_small) {
        ASSERT_EQ(symbol.address.value, expected[i].first) << i;
      }
    }
    EXPECT_EQ(names->lookup(VirtAddr(kImage + 0x1000 + 16 * 5 + 3))->text(), "sys_function_5+0x3/0x10");
    EXPECT_TRUE(names->has_data());
  }

  TempDir folder_;
  BuiltKallsyms built_;
  std::unique_ptr<reader::Dump> dump_;
  std::optional<KernelMemory> memory_;
  reader::GuestSystem guest_;
};

TEST_P(Layouts, AreFoundInTheImage) { compare(Names::find(*memory_, guest_)); }

TEST_P(Layouts, AreFoundByVmcoreinfo) {
  const auto line = [&](const char* name, uint64_t address) {
    std::ostringstream text;
    text << "SYMBOL(" << name << ")=" << std::hex << address << '\n';
    guest_.vmcoreinfo += text.str();
  };
  line("_stext", kImage), line("kallsyms_names", built_.names), line("kallsyms_num_syms", built_.num_syms);
  line("kallsyms_token_table", built_.token_table), line("kallsyms_token_index", built_.token_index);
  line(GetParam().second.plain ? "kallsyms_addresses" : "kallsyms_offsets", built_.addresses);
  if (built_.relative_base) line("kallsyms_relative_base", built_.relative_base);
  compare(Names::find(*memory_, guest_));
}

TEST_P(Layouts, ThatLieAreErrorsOrNames) {
  for (size_t round = 0; round < 40; round++) {
    std::string bytes = built_.bytes;
    for (size_t i = 0; i < 4; i++)
      bytes[(round * 7919 + i * 104729) % bytes.size()] ^= static_cast<char>(1 << (round + i) % 8);
    const std::string path = folder_.write("damaged", dump_of(bytes));
    auto dump = reader::Dump::open(path);
    ASSERT_TRUE(dump);
    const KernelMemory memory(**dump, *reader::AddressSpace::of_cpu(**dump, 0));
    const auto names = Names::find(memory, guest_);
    if (names) {
      EXPECT_FALSE(names->all().empty());
    } else {
      EXPECT_FALSE(names.error().text.empty());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Each, Layouts,
    testing::Values(std::pair{"V5_10", KallsymsLayout{.sequence_numbers = false}}, std::pair{"V6_1", KallsymsLayout{}},
                    std::pair{"V6_1Arm", KallsymsLayout{.absolute_per_cpu = false}},
                    std::pair{"V5Plain", KallsymsLayout{.sequence_numbers = false, .plain = true}},
                    std::pair{"V6_4", KallsymsLayout{.addresses_first = false}},
                    std::pair{"V6_4Plain", KallsymsLayout{.addresses_first = false, .plain = true}},
                    std::pair{"V6_15", KallsymsLayout{.addresses_first = false, .absolute_per_cpu = false}},
                    std::pair{"V7_0", KallsymsLayout{.addresses_first = false,
                                                     .absolute_per_cpu = false,
                                                     .self_relative = true,
                                                     .alignment = 4}}),
    [](const auto& test) { return std::string(test.param.first); });

}  // namespace
}  // namespace gcore::tests
