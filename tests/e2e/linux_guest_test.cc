// Debian's kernel in QEMU, stopped. QEMU answers from the machine itself (its gdb stub, its monitor); gcore answers
// from the dump that QEMU wrote of it. Whatever both know must be the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/space/address_space.h"
#include "tests/e2e/serve_process.h"
#include "tests/support/gdb_session.h"
#include "tests/support/qemu_guest.h"
#include "tests/support/regex.h"
#include "tests/support/rsp_client.h"

namespace gcore::tests {
namespace {

constexpr uint64_t kSmallPage = 4096;
constexpr uint64_t kLargePage = 2 << 20;
constexpr size_t kAddresses = 2000;  // a vCPU
constexpr size_t kReadSize = 16;

/// What the notes in QEMU's ELF dump do not carry, by its gdb stub's names.
const std::set<std::string> kNotInNotes = [] {
  std::set<std::string> names{"cr8",   "efer",  "fctrl", "fstat", "ftag", "fiseg",
                              "fioff", "foseg", "fooff", "fop",   "mxcsr"};
  for (int i = 0; i < 8; i++) names.insert("st" + std::to_string(i));
  for (int i = 0; i < 16; i++) names.insert("xmm" + std::to_string(i));
  return names;
}();

/// Pages that QEMU's page walk found: virtual address to (physical address, size).
struct Page {
  uint64_t physical;
  uint64_t size;
};
using Pages = std::map<uint64_t, Page>;

Pages mapped_pages(const std::string& info_tlb) {
  Pages pages;
  std::istringstream lines(info_tlb);
  for (std::string line; std::getline(lines, line);) {
    // ffffffff81000000: 0000000001000000 XGPDA---W     (P: the entry maps a large page)
    std::istringstream fields(line);
    std::string address, physical, flags;
    fields >> address >> physical >> flags;
    const bool large = flags.size() > 2 && flags[2] == 'P';
    pages[std::stoull(address, nullptr, 16)] = {std::stoull(physical, nullptr, 16), large ? kLargePage : kSmallPage};
  }
  return pages;
}

std::optional<uint64_t> physical_in(const Pages& pages, uint64_t address) {
  auto next = pages.upper_bound(address);
  if (next == pages.begin()) return std::nullopt;
  const auto& [start, page] = *std::prev(next);
  if (address - start >= page.size) return std::nullopt;
  return page.physical + (address - start);
}

/// Addresses in pages that are drawn evenly from the entries and evenly from the contiguous ranges (so that the direct
/// map does not swallow the small ones), addresses just past ranges, and any addresses at all.
std::vector<uint64_t> draw_addresses(const Pages& pages, uint64_t seed) {
  std::vector<uint64_t> entries;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [start, page] : pages) {
    entries.push_back(start);
    if (!ranges.empty() && ranges.back().second == start) {
      ranges.back().second += page.size;
    } else {
      ranges.emplace_back(start, start + page.size);
    }
  }
  std::mt19937_64 random(seed);
  std::vector<uint64_t> result;
  while (result.size() < kAddresses) {
    const auto& [first, last] = ranges[random() % ranges.size()];
    const uint64_t entry = entries[random() % entries.size()];
    switch (result.size() % 8) {
      case 0:
      case 1:
      case 2:
        result.push_back(entry + random() % pages.at(entry).size);
        break;
      case 3:
      case 4:
      case 5:
        result.push_back(first + random() % (last - first));
        break;
      case 6:
        result.push_back(last + random() % kLargePage);
        break;
      default:
        result.push_back(random() >> (random() % 40));
        break;
    }
  }
  return result;
}

/// "gpa: 0x1234" (QEMU's monitor and gcore's alike) as a number; nothing for "Unmapped".
std::optional<uint64_t> parse_gpa(const std::string& text) {
  static const Regex form("gpa: (0x[0-9a-f]+)");
  RegexMatch match;
  if (regex_search(text, match, form)) return std::stoull(match[1], nullptr, 16);
  if (text.find("nmapped") == std::string::npos) throw std::runtime_error("gva2gpa gave: " + text);
  return std::nullopt;
}

class LinuxGuest : public testing::TestWithParam<const char*> {
 protected:
  // One guest for all of it: a boot takes longer than all comparisons together.
  void boot(const std::string& cpu) {
    QemuGuest::Options options;
    options.cpu = cpu;
    guest_.emplace(options);
    guest_->wait_until_booted();
    guest_->stop();
    dump_path_ = guest_->folder().path("guest.elf");
    guest_->dump_guest_memory(dump_path_);
    serve_.emplace(dump_path_);
    qemu_.emplace(RspClient::unix_socket(guest_->gdb_socket()));
    gcore_.emplace(RspClient::tcp("127.0.0.1", serve_->port()));
    qemu_->handshake();
    gcore_->handshake();
    auto dump = reader::Dump::open(dump_path_);
    ASSERT_TRUE(dump) << dump.error().text;
    dump_ = std::move(*dump);
    for (size_t cpu_index = 0; cpu_index < kCpus; cpu_index++) {
      pages_.push_back(mapped_pages(guest_->qmp().human("info tlb", static_cast<int>(cpu_index))));
      ASSERT_GT(pages_.back().size(), 1000U);
    }
  }

  /// Lets both stubs talk about one vCPU.
  void select(size_t cpu) {
    for (RspClient* client : {&*qemu_, &*gcore_}) {
      auto threads = client->threads();
      ASSERT_EQ(threads.size(), kCpus);
      client->select(threads[cpu]);
    }
  }

  std::string gcore_monitor(const std::string& command) {
    gcore_->console.clear();
    std::string reply = gcore_->request("qRcmd," + to_hex(command));
    return gcore_->console + (reply == "OK" ? "" : from_hex(reply));
  }

  bool in_dump(uint64_t physical, size_t size) const {
    return std::ranges::any_of(dump_->segments(), [&](const reader::Segment& segment) {
      return physical >= segment.address.value && physical - segment.address.value + size <= segment.memory_size;
    });
  }

  void compare_registers();
  void compare_registers_in_gdb();
  void compare_mappings();
  void compare_addresses();
  void find_banner();

  static constexpr size_t kCpus = 2;
  std::optional<QemuGuest> guest_;
  std::optional<ServeProcess> serve_;
  std::optional<RspClient> qemu_, gcore_;
  std::unique_ptr<reader::Dump> dump_;
  std::string dump_path_;
  std::vector<Pages> pages_;
};

void LinuxGuest::compare_registers() {
  for (size_t cpu = 0; cpu < kCpus; cpu++) {
    select(cpu);
    const auto from_qemu = qemu_->registers();
    auto from_gcore = gcore_->registers();
    ASSERT_GT(from_qemu.size(), 60U);
    for (const auto& [name, value] : from_qemu) {
      const std::string expected = kNotInNotes.contains(name) ? std::string(value.size(), 'x') : value;
      EXPECT_EQ(from_gcore[name], expected) << "register " << name << " of vCPU " << cpu;
    }
  }
}

void LinuxGuest::compare_registers_in_gdb() {
  std::vector<std::string> names;
  for (const auto& [name, value] : qemu_->registers()) names.push_back(name);
  std::vector<std::string> from_qemu, from_gcore;
  auto ask = [&](const std::string& target, std::vector<std::string>& answers) {
    std::vector<std::string> commands{"set architecture i386:x86-64", "target remote " + target};
    for (size_t cpu = 1; cpu <= kCpus; cpu++) {
      commands.push_back("thread " + std::to_string(cpu));
      for (const std::string& name : names) commands.push_back("output/x $" + name);
    }
    commands.emplace_back("disconnect");  // unlike the detach at gdb's end it leaves the guest stopped
    answers = run_gdb(commands).of;
    ASSERT_EQ(answers.size(), commands.size());
  };
  qemu_.reset();  // its stub has one client at a time
  ask(guest_->gdb_socket(), from_qemu);
  ask(serve_->address(), from_gcore);
  qemu_.emplace(RspClient::unix_socket(guest_->gdb_socket()));
  qemu_->handshake();
  ASSERT_FALSE(HasFatalFailure());
  for (size_t cpu = 0; cpu < kCpus; cpu++) {
    for (size_t i = 0; i < names.size(); i++) {
      const size_t at = 3 + cpu * (names.size() + 1) + i;
      if (kNotInNotes.contains(names[i])) {
        EXPECT_THAT(from_gcore[at], testing::HasSubstr("<unavailable>")) << names[i] << " of vCPU " << cpu;
      } else {
        EXPECT_THAT(from_gcore[at], testing::StartsWith("0x")) << names[i] << " of vCPU " << cpu;
        EXPECT_EQ(from_gcore[at], from_qemu[at]) << names[i] << " of vCPU " << cpu;
      }
    }
  }
}

void LinuxGuest::compare_mappings() {
  for (size_t cpu = 0; cpu < kCpus; cpu++) {
    auto space = reader::Guest(*dump_).space_of_cpu(cpu);
    ASSERT_TRUE(space) << space.error().text;
    // Linux maps one table at 65,536 addresses (espfix): all of them are wanted.
    reader::Limits everything;
    everything.visits_per_table = 1U << 20;
    Pages missing = pages_[cpu];
    size_t different = 0;
    auto compare = [&](const reader::Mapping& mapping) {
      for (uint64_t offset = 0; offset < mapping.size; offset += mapping.page_size) {
        const uint64_t address = mapping.start.value + offset;
        const uint64_t expected = physical_in(pages_[cpu], address).value_or(~0ULL);
        missing.erase(address);
        if (expected != mapping.physical.value + offset && different++ == 0) {
          ADD_FAILURE() << std::hex << address << " is mapped to " << mapping.physical.value + offset << ", QEMU says "
                        << expected;
        }
      }
      return true;
    };
    EXPECT_EQ(space->enumerate(compare, everything).note, "");
    EXPECT_EQ(different, 0U);
    EXPECT_EQ(missing.size(), 0U) << "vCPU " << cpu << ", the first at " << std::hex << missing.begin()->first << " to "
                                  << missing.begin()->second.physical;
  }
}

void LinuxGuest::compare_addresses() {
  for (size_t cpu = 0; cpu < kCpus; cpu++) {
    select(cpu);
    size_t mapped = 0, unmapped = 0, read = 0;
    for (uint64_t address : draw_addresses(pages_[cpu], 20170821 + cpu)) {
      std::ostringstream hex;
      hex << "0x" << std::hex << address;
      SCOPED_TRACE(hex.str() + " on vCPU " + std::to_string(cpu));
      const std::string command = "gva2gpa " + hex.str();
      const auto expected = parse_gpa(guest_->qmp().human(command, static_cast<int>(cpu)));
      const auto physical = parse_gpa(gcore_monitor(command));
      ASSERT_EQ(physical, expected);
      const size_t size = std::min<uint64_t>(kReadSize, kSmallPage - address % kSmallPage);
      const auto bytes = gcore_->read(address, size);
      if (!expected) {
        unmapped++;
        ASSERT_TRUE(bytes.empty());
      } else if (!in_dump(*expected, size)) {
        mapped++;  // a device's registers: QEMU reads them, a dump has none
        ASSERT_TRUE(bytes.empty());
      } else {
        mapped++, read++;
        ASSERT_EQ(bytes, qemu_->read(address, size));
      }
    }
    EXPECT_EQ(mapped + unmapped, kAddresses);
    EXPECT_GT(read, kAddresses / 2);
    EXPECT_GT(unmapped, kAddresses / 10);
  }
}

void LinuxGuest::find_banner() {
  // The console's first line is the banner; the kernel's image is the highest 2 GiB of the address space.
  RegexMatch console;
  const std::string log = guest_->console();
  ASSERT_TRUE(regex_search(log, console, Regex("(Linux version [^\r\n]+)")));
  const std::string banner = console[1];
  constexpr uint64_t kImage = 0xffffffff80000000;
  select(0);
  std::string window;
  for (auto page = pages_[0].lower_bound(kImage); page != pages_[0].end(); ++page) {
    for (uint64_t offset = 0; offset < page->second.size; offset += kSmallPage) {
      if (!in_dump(page->second.physical + offset, kSmallPage)) continue;
      const auto bytes = gcore_->read(page->first + offset, kSmallPage);
      ASSERT_EQ(bytes.size(), kSmallPage);
      window.append(bytes.begin(), bytes.end());
      if (window.find(banner) != std::string::npos) return;
      window.erase(0, window.size() - std::min(window.size(), banner.size()));
    }
  }
  ADD_FAILURE() << "not found through any kernel address: " << banner;
}

TEST_P(LinuxGuest, IsInTheDumpAsInQemu) {
  boot(GetParam());
  ASSERT_FALSE(HasFatalFailure());
  compare_registers();
  compare_registers_in_gdb();
  compare_mappings();
  find_banner();
  compare_addresses();
}

INSTANTIATE_TEST_SUITE_P(Levels, LinuxGuest, testing::Values("max", "max,la57=off"),
                         [](const auto& test) { return std::string(test.param) == "max" ? "Five" : "Four"; });

}  // namespace
}  // namespace gcore::tests
