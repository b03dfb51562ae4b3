#include "tests/oracle/translation_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <sstream>

#include "reader/guest/guest.h"
#include "tests/oracle/addresses.h"
#include "tests/oracle/comparison.h"
#include "tests/oracle/kdumpfile.h"
#include "writer/kernel_image.h"

namespace gcore::tests {
namespace {

using reader::VirtAddr;

constexpr uint64_t kSeed = 20170821;
constexpr size_t kReadSize = 16;

void expect_agreement(const Comparison& comparison) {
  EXPECT_EQ(comparison.unexplained(), "") << comparison.summary();
  // Both kinds of answer in numbers, or the comparison says little.
  EXPECT_GT(comparison.mapped(), comparison.compared() / 4) << comparison.summary();
  EXPECT_LT(comparison.mapped(), comparison.compared() * 9 / 10) << comparison.summary();
  std::cout << "  " << comparison.summary() << "\n";
}

std::optional<uint64_t> translated(const reader::AddressSpace& space, uint64_t address) {
  const auto found = space.translate(VirtAddr(address));
  return found ? std::optional(found->address.value) : std::nullopt;
}

std::string read(const reader::AddressSpace& space, uint64_t address, size_t size) {
  std::string bytes(size, '\0');
  const auto got = space.read(VirtAddr(address), std::as_writable_bytes(std::span(bytes.data(), size)));
  return got.bytes == size ? bytes : "";
}

bool in_dump(const reader::Dump& dump, uint64_t physical, size_t size) {
  return std::ranges::any_of(dump.segments(), [&](const reader::Segment& segment) {
    return physical >= segment.address.value && physical - segment.address.value + size <= segment.memory_size;
  });
}

std::vector<uint64_t> addresses_of(const StoppedGuest& guest, size_t cpu, size_t addresses) {
  return draw_addresses(list_mappings(guest.space_of(cpu)), addresses / guest.cpus(), kSeed + cpu);
}

uint64_t register_of(const StoppedGuest& guest, size_t cpu, const char* name) {
  const auto value = guest.qnx().cpus()[cpu].registers.get(name);
  if (!value) throw std::runtime_error(std::string("the dump has no ") + name);
  return *value;
}

/// An aarch64 control register of the level that the guest's kernel runs at: EL2 where it is a host with VHE.
uint64_t control_of(const StoppedGuest& guest, size_t cpu, const std::string& name) {
  return register_of(guest, cpu, (name + (guest.is_vhe_host() ? "_el2" : "_el1")).c_str());
}

/// The tables that an address goes through, by the architecture manuals: the root and the form of its half.
struct Tables {
  Kdumpfile::Form form;
  uint64_t root = 0;
};

Tables tables_of(const StoppedGuest& guest, size_t cpu, uint64_t address) {
  if (guest.is_x86()) {
    const bool five_levels = register_of(guest, cpu, "cr4") >> 12 & 1;
    Tables tables{{false, {12, 9, 9, 9, 9}}, register_of(guest, cpu, "cr3") & 0x000ffffffffff000};
    if (five_levels) tables.form.field_bits.push_back(9);
    return tables;
  }
  const bool upper = address >> 55 & 1;
  const uint64_t control = control_of(guest, cpu, "tcr");
  const uint64_t granule = upper ? control >> 30 & 3 : control >> 14 & 3;
  if (granule != (upper ? 2u : 0u)) throw std::runtime_error("the guest's kernel does not use pages of 4 KiB");
  auto bits = static_cast<unsigned short>(64 - (upper ? control >> 16 & 63 : control & 63));
  Tables tables{{true, {12}}, control_of(guest, cpu, upper ? "ttbr1" : "ttbr0") & 0x0000fffffffffffe};
  for (bits = static_cast<unsigned short>(bits - 12); bits > 0;) {
    const auto index = std::min<unsigned short>(bits, 9);
    tables.form.field_bits.push_back(index);
    bits = static_cast<unsigned short>(bits - index);
  }
  return tables;
}

std::optional<uint64_t> physical_of(const Kdumpfile::Answer& answer) {
  using Kind = Kdumpfile::Answer::Kind;
  if (answer.kind == Kind::mapped) return answer.physical;
  // "No method": an address in none of the regions that it knows.
  if (answer.kind != Kind::other) return std::nullopt;
  throw std::runtime_error("libkdumpfile: " + answer.error);
}

/// Whether an aarch64 address is one: all bits above the table indexes' like bit 55, but a tag where the guest has
/// them.
bool is_an_address(const StoppedGuest& guest, size_t cpu, uint64_t address) {
  const bool upper = address >> 55 & 1;
  const uint64_t control = control_of(guest, cpu, "tcr");
  const bool tagged = control >> (upper ? 38 : 37) & 1;
  if (tagged) address = static_cast<uint64_t>(static_cast<int64_t>(address << 8) >> 8);
  const uint64_t unused = ~uint64_t{0} << (64 - (upper ? control >> 16 & 63 : control & 63));
  return (address & unused) == (upper ? unused : 0);
}

}  // namespace

void check_against_qemu(StoppedGuest& guest, size_t count) {
  guest.allow_everything();
  Comparison comparison("QEMU", {});
  size_t processes = 0, compared_bytes = 0;
  for (size_t cpu = 0; cpu < guest.cpus(); ++cpu) {
    const auto space = guest.space_of(cpu);
    const auto addresses = addresses_of(guest, cpu, count);
    const auto answers = guest.gva2gpa(cpu, addresses);
    std::vector<uint64_t> readable;
    for (size_t i = 0; i < addresses.size(); ++i) {
      const auto ours = translated(space, addresses[i]);
      comparison.add(addresses[i], ours, answers[i]);
      processes += ours && addresses[i] >> 63 == 0;
      // A device's registers are no memory: QEMU would read them, a dump has none.
      const uint64_t rest = 4096 - addresses[i] % 4096;
      if (i % 4 == 0 && (!ours || (rest >= kReadSize && in_dump(guest.qnx(), *ours, kReadSize))))
        readable.push_back(addresses[i]);
    }
    const auto bytes = guest.read_virtual(cpu, readable, kReadSize);
    for (size_t i = 0; i < readable.size(); ++i) {
      compared_bytes += !bytes[i].empty();
      EXPECT_EQ(to_hex(read(space, readable[i], kReadSize)), to_hex(bytes[i])) << std::hex << readable[i];
      if (testing::Test::HasFailure()) return;
    }
  }
  expect_agreement(comparison);
  EXPECT_GT(processes, comparison.compared() / 10);
  EXPECT_GT(compared_bytes, comparison.compared() / 16);
}

void check_against_libkdumpfile_walks(StoppedGuest& guest, size_t count) {
  Kdumpfile oracle(guest.vmcore_path());
  size_t cpu = 0;
  Comparison comparison("libkdumpfile, walking", [&](const Disagreement& found) -> std::string {
    if (!guest.is_x86() && !found.ours && !is_an_address(guest, cpu, found.address))
      return "it ignores the upper bits of aarch64 addresses";
    return "";
  });
  for (; cpu < guest.cpus(); ++cpu) {
    const auto space = guest.space_of(cpu);
    for (const uint64_t address : addresses_of(guest, cpu, count)) {
      const Tables tables = tables_of(guest, cpu, address);
      comparison.add(address, translated(space, address), physical_of(oracle.walk(tables.form, tables.root, address)));
    }
  }
  expect_agreement(comparison);
}

void check_against_libkdumpfile_as_used(StoppedGuest& guest, size_t count) {
  Kdumpfile oracle(guest.vmcore_path());
  const auto image = writer::find_kernel_image(guest.vmcore().machine(), guest.vmcore().vmcoreinfo());
  ASSERT_TRUE(image);
  Comparison comparison("libkdumpfile, as used", [&](const Disagreement& found) -> std::string {
    // An address as far from the direct map's start (which Linux puts at a multiple of 1 GiB) as its answer is from 0,
    // though the tables map nothing there: a hole between ranges of RAM, firmware, memory that the kernel keeps out.
    if (!found.ours && (found.address - *found.theirs) % (uint64_t{1} << 30) == 0)
      return "it takes the direct map for one piece";
    // The kernel's image likewise, of which Linux frees what only booting needed.
    if (!found.ours && *found.theirs - image->physical_address == found.address - image->virtual_address)
      return "it takes the kernel's image for one piece";
    return "";
  });
  const auto space = reader::Guest(guest.vmcore()).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  for (const uint64_t address : draw_addresses(list_mappings(*space), count, kSeed)) {
    if (address >> 63 == 0) continue;  // it knows the kernel's half alone
    comparison.add(address, translated(*space, address), physical_of(oracle.kernel_to_physical(address)));
  }
  expect_agreement(comparison);
}

void check_against_drgn(StoppedGuest& guest, size_t count) {
  const auto space = reader::Guest(guest.vmcore()).space_of_cpu(0);
  ASSERT_TRUE(space) << space.error().text;
  std::vector<uint64_t> addresses;
  std::ostringstream list;
  for (const uint64_t address : draw_addresses(list_mappings(*space), count, kSeed)) {
    if (address >> 63 == 0) continue;
    addresses.push_back(address);
    list << std::hex << address << "\n";
  }
  const std::string script = guest.folder().write("read.py", R"(import drgn, sys
for line in open(sys.argv[1]):
    try:
        print(prog.read(int(line, 16), 8).hex())
    except drgn.FaultError as fault:
        print("-", fault)
)");
  const Completed done = run({"drgn", "-q", "--no-default-symbols", "-c", guest.vmcore_path(), script,
                              guest.folder().write("addresses", list.str())});
  ASSERT_EQ(done.status, (ExitStatus{0, 0})) << done.err;
  std::istringstream lines(done.out);
  size_t read_by_both = 0, different = 0, in_image = 0;
  const auto image = writer::find_kernel_image(guest.vmcore().machine(), guest.vmcore().vmcoreinfo());
  ASSERT_TRUE(image);
  for (const uint64_t address : addresses) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    const std::string ours = to_hex(read(*space, address, 8));
    if (line.starts_with("-") ? ours.empty() : ours == line) {
      read_by_both += !ours.empty();
      continue;
    }
    // The file shows the whole image by virtual addresses, its freed part too, as Linux' own vmcores do.
    if (ours.empty() && address + 7 - image->virtual_address < image->size + 7) {
      ++in_image;
      continue;
    }
    if (different++ < 5) ADD_FAILURE() << std::hex << address << ": " << ours << "; drgn: " << line;
  }
  std::cout << "  drgn: " << addresses.size() << " addresses, " << read_by_both << " read by both, " << in_image
            << " differ: it reads the freed part of the kernel's image, " << different << " differ otherwise\n";
  EXPECT_GT(read_by_both, addresses.size() / 4);
}

}  // namespace gcore::tests
