// Names of real kernels, compared with what their /proc/kallsyms said.
#include "reader/guest/linux/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/kallsyms.h"

namespace gcore::tests {
namespace {

using reader::VirtAddr;
using reader::linux_guest::KernelMemory;
using reader::linux_guest::Names;

class NamesOfGuest : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    const LinuxOracle& oracle = linux_oracle(GetParam().recipe());
    said_ = parse_kallsyms(oracle.said("/proc/kallsyms"));
    std::erase_if(said_, [](const KnownSymbol& symbol) { return !symbol.module.empty(); });
    ASSERT_GT(said_.size(), GetParam().is_small() ? 10000U : 40000U);
    auto dump = reader::Dump::open(oracle.dump());
    ASSERT_TRUE(dump) << dump.error().text;
    dump_ = std::move(*dump);
    guest_ = reader::Guest(*dump_).system();
    auto kernel = reader::linux_guest::Kernel::find(*dump_, guest_);
    ASSERT_TRUE(kernel) << kernel.error().text;
    kernel_ = std::move(*kernel);
  }

  void compare(const Names& names) const {
    const auto all = names.all();
    ASSERT_EQ(all.size(), said_.size());
    for (size_t i = 0; i < all.size(); i++) {
      const KnownSymbol symbol{all[i].address.value, all[i].type, std::string(all[i].name), std::string(all[i].module)};
      ASSERT_EQ(symbol, said_[i]) << "number " << i;
    }
  }

  std::vector<KnownSymbol> said_;
  std::unique_ptr<reader::Dump> dump_;
  reader::GuestSystem guest_;
  std::unique_ptr<reader::linux_guest::Kernel> kernel_;
};

TEST_P(NamesOfGuest, AreThoseOfProcKallsyms) {
  const auto names = Names::find(kernel_->memory(), guest_);
  ASSERT_TRUE(names) << names.error().text;
  // From Linux 6.0 on.
  EXPECT_EQ(names->source().contains("by VMCOREINFO"), guest_.vmcoreinfo.contains("SYMBOL(kallsyms_names)"));
  EXPECT_EQ(names->has_data(), std::ranges::count(said_, "init_task", &KnownSymbol::name) == 1);
  compare(*names);
}

TEST_P(NamesOfGuest, AreFoundWithoutVmcoreinfo) {
  guest_.vmcoreinfo.clear();
  const auto names = Names::find(kernel_->memory(), guest_);
  ASSERT_TRUE(names) << names.error().text;
  EXPECT_THAT(names->source(), testing::HasSubstr("found in its image"));
  compare(*names);
}

TEST_P(NamesOfGuest, AreFoundByNameInTheOrderOfTheTable) {
  const auto names = Names::find(kernel_->memory(), guest_);
  ASSERT_TRUE(names) << names.error().text;
  std::map<std::string, std::vector<uint64_t>> said;
  for (const KnownSymbol& symbol : said_) said[symbol.name].push_back(symbol.address);
  size_t number = 0;
  for (const auto& [name, addresses] : said) {
    if (addresses.size() == 1 && number++ % 50 != 0) continue;  // all that share their name, and a sample of the others
    std::vector<uint64_t> found;
    for (const auto& symbol : names->find_all(name)) found.push_back(symbol.address.value);
    ASSERT_EQ(found, addresses) << name;
    ASSERT_EQ(names->address_of(name), VirtAddr(addresses[0])) << name;
  }
  EXPECT_EQ(names->find("no_such_name"), std::nullopt);
  EXPECT_EQ(names->find(""), std::nullopt);
}

TEST_P(NamesOfGuest, AreNearestToAddresses) {
  const auto names = Names::find(kernel_->memory(), guest_);
  ASSERT_TRUE(names) << names.error().text;
  size_t begin = 0, functions = 0;
  for (size_t end = 1; end < said_.size(); end++) {
    if (said_[end].address == said_[begin].address) continue;
    const size_t first = std::exchange(begin, end);
    if (said_[first].name == "schedule" || said_[first].name == "__start_tty" ||
        (end % 37 == 0 && end - first == 1 && said_[first].type == 't')) {
      functions++;
      const uint64_t size = said_[end].address - said_[first].address;
      for (const uint64_t offset : {uint64_t{0}, size / 2, size - 1}) {
        const auto place = names->lookup(VirtAddr(said_[first].address + offset));
        ASSERT_TRUE(place) << said_[first].name;
        EXPECT_EQ(place->symbol.name, said_[first].name);
        EXPECT_EQ(place->offset, offset);
        EXPECT_EQ(place->symbol.size, size);
      }
    }
  }
  EXPECT_GT(functions, 100U);
  EXPECT_EQ(names->lookup(VirtAddr(0)), std::nullopt);
  EXPECT_EQ(names->lookup(VirtAddr(0x1000)), std::nullopt);
  EXPECT_EQ(names->lookup(VirtAddr(UINT64_MAX)), std::nullopt);
}

TEST_P(NamesOfGuest, OfStacksAreTheKernelsOwn) {
  // "[<0>] kthreadd+0x1b2/0x1f0", as the kernel itself says addresses of code: name and size are the same here.
  const LinuxOracle& oracle = linux_oracle(GetParam().recipe());
  const auto names = Names::find(kernel_->memory(), guest_);
  ASSERT_TRUE(names) << names.error().text;
  size_t compared = 0;
  for (const std::string& name : oracle.names()) {
    if (!name.ends_with("/stack")) continue;
    std::istringstream lines(oracle.said(name));
    for (std::string mark, text; lines >> mark >> text;) {
      const auto plus = text.find('+');
      if (plus == std::string::npos) continue;  // "0x0", which ends some
      const auto symbols = names->find_all(text.substr(0, plus));
      if (symbols.size() != 1) continue;  // a module's, or one of several statics
      const uint64_t offset = std::stoull(text.substr(plus + 1), nullptr, 16);
      // A call that does not return may be the last instruction: the kernel looks one byte before.
      auto place = names->lookup(symbols[0].address + (offset - 1));
      ASSERT_TRUE(place) << text;
      place->offset++;
      EXPECT_EQ(place->text(), text);
      compared++;
    }
  }
  EXPECT_GT(compared, 100U);
}

INSTANTIATE_TEST_SUITE_P(Each, NamesOfGuest, testing::ValuesIn(kGuests), guest_name);

}  // namespace
}  // namespace gcore::tests
