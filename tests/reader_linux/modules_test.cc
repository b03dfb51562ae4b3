// Modules of real guests, compared with their /proc/modules, /proc/kallsyms and /sys/module.
#include "reader/guest/linux/modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iomanip>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"

namespace gcore::tests {
namespace {

using reader::VirtAddr;
using reader::linux_guest::Kernel;
using reader::linux_guest::Module;

class ModulesOfGuest : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    dump_ = open_dump(oracle_);
    auto kernel = Kernel::find(*dump_, reader::Guest(*dump_).system());
    ASSERT_TRUE(kernel) << kernel.error().text;
    kernel_ = std::move(*kernel);
    ASSERT_TRUE(kernel_->modules()) << kernel_->modules().error().text;
  }

  const LinuxOracle& oracle_ = linux_oracle(GetParam().recipe());
  std::unique_ptr<reader::Dump> dump_;
  std::unique_ptr<Kernel> kernel_;
};

/// A line of /proc/modules; but for how often it is used, as the guest itself had some open when it was asked.
std::string line_of(const Module& module) {
  std::ostringstream line;
  line << module.name << ' ' << module.size << ' ';
  for (const std::string& user : module.used_by) line << user << ',';
  line << (module.used_by.empty() ? "-" : "") << ' ' << module.state << " 0x" << std::hex << std::setw(16)
       << std::setfill('0') << module.regions.at(0).address.value;
  return line.str() + (module.taints.empty() ? "" : " " + module.taints);
}

TEST_P(ModulesOfGuest, AreThoseOfProcModules) {
  std::vector<std::string> said, found;
  std::istringstream lines(oracle_.said("/proc/modules"));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    std::istringstream words(line);
    std::string name, size, references, rest;
    words >> name >> size >> references;
    std::getline(words, rest);
    while (rest.ends_with(' ')) rest.pop_back();
    said.push_back(name + ' ' + size + rest);
  }
  for (const Module& module : *kernel_->modules()) {
    found.push_back(line_of(module));
    EXPECT_GE(module.references, static_cast<int64_t>(module.used_by.size())) << module.name;
  }
  EXPECT_GE(said.size(), 2U);
  EXPECT_EQ(found, said);
}

TEST_P(ModulesOfGuest, HaveTheSymbolsOfProcKallsyms) {
  auto said = parse_kallsyms(oracle_.said("/proc/kallsyms"));
  std::erase_if(said, [](const KnownSymbol& symbol) { return symbol.module.empty(); });
  ASSERT_TRUE(kernel_->names()) << kernel_->names().error().text;
  std::vector<KnownSymbol> found;
  for (const auto& symbol : kernel_->names()->all()) {
    if (symbol.module.empty()) continue;
    found.push_back({symbol.address.value, symbol.type, std::string(symbol.name), std::string(symbol.module)});
  }
  ASSERT_EQ(found.size(), said.size());
  for (size_t i = 0; i < found.size(); i++) ASSERT_EQ(found[i], said[i]) << "number " << i;
  EXPECT_GT(said.size(), 30U);
}

TEST_P(ModulesOfGuest, HaveTheSectionsOfSys) {
  std::istringstream lines(oracle_.said("sections"));
  size_t compared = 0;
  for (std::string name, section, address; lines >> name >> section >> address; compared++) {
    const auto module = std::ranges::find(*kernel_->modules(), name, &Module::name);
    ASSERT_NE(module, kernel_->modules()->end()) << name;
    const auto found = std::ranges::find(module->sections, section, &Module::Section::name);
    ASSERT_NE(found, module->sections.end()) << name << ' ' << section;
    EXPECT_EQ(found->address.value, std::stoull(address, nullptr, 16)) << name << ' ' << section;
    if (section == ".text") {
      EXPECT_TRUE(module->contains(found->address));
    }
  }
  EXPECT_GT(compared, 30U);
}

TEST_P(ModulesOfGuest, AreLookedUpByAddress) {
  ASSERT_TRUE(kernel_->names());
  const auto all = kernel_->names()->all();
  const auto probe = std::ranges::find(all, "fw_cfg_sysfs_probe", [](const auto& symbol) { return symbol.name; });
  ASSERT_NE(probe, all.end());
  const auto place = kernel_->lookup(probe->address + 4);
  ASSERT_TRUE(place);
  EXPECT_THAT(place->text(), testing::MatchesRegex("fw_cfg_sysfs_probe\\+0x4/0x[0-9a-f]+ \\[qemu_fw_cfg\\]"));
  EXPECT_FALSE(kernel_->lookup(VirtAddr(0x1234)));
}

TEST_P(ModulesOfGuest, HaveTypesBuildIdsAndUnwindTables) {
  const bool x86 = std::string_view(GetParam().machine) == "x86_64";
  for (const Module& module : *kernel_->modules()) {
    EXPECT_EQ(module.build_id.size(), 40U) << module.name;
    EXPECT_EQ(module.orc_count > 0, x86) << module.name;
    const auto* types = kernel_->module_types(module.name);
    if (GetParam().has_module_types()) {
      ASSERT_NE(types, nullptr) << module.name;
    } else {
      EXPECT_EQ(types, nullptr) << module.name;
      continue;
    }
    EXPECT_EQ(types->first_id(), kernel_->types()->end_id());
    EXPECT_GT(types->end_id(), types->first_id()) << module.name;
    EXPECT_EQ(types->offset("task_struct", "pid"), kernel_->offset("task_struct", "pid"));
    if (module.name == "qemu_fw_cfg") {
      EXPECT_NE(types->find_type("fw_cfg_sysfs_entry"), 0U);
      EXPECT_EQ(types->offset("fw_cfg_sysfs_entry", "kobj"), 0U);
      EXPECT_EQ(kernel_->types()->find_type("fw_cfg_sysfs_entry"), 0U);
    }
  }
}

/// Each of them, also when the kernel's own were asked for before: the modules are found by these.
TEST_P(ModulesOfGuest, AreLookedUpByName) {
  ASSERT_TRUE(kernel_->names());
  size_t compared = 0;
  for (const auto& symbol : kernel_->names()->all()) {
    if (symbol.module.empty()) continue;
    const auto found = kernel_->names()->find_all(symbol.name);
    EXPECT_TRUE(std::ranges::any_of(found, [&](const auto& other) {
      return other.address == symbol.address && other.module == symbol.module;
    })) << symbol.name;
    compared++;
  }
  EXPECT_GT(compared, 30U);
  const auto probe = kernel_->names()->find("fw_cfg_sysfs_probe");
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->module, "qemu_fw_cfg");
}

INSTANTIATE_TEST_SUITE_P(Each, ModulesOfGuest, testing::ValuesIn(kGuests), guest_name);

}  // namespace
}  // namespace gcore::tests
