#include "tests/oracle/serve_checks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/e2e/serve_process.h"
#include "tests/oracle/addresses.h"

namespace gcore::tests {
namespace {

constexpr size_t kReadSize = 16;
constexpr size_t kV = 32;  // hex digits of the part of a vector register that both have

/// QEMU describes a vCPU with SVE by z0 to z31, whose lower part is v0 to v31.
std::string name_in_gcore(const std::string& name) {
  const bool scalable =
      name.size() > 1 && name[0] == 'z' && name.find_first_not_of("0123456789", 1) == std::string::npos;
  return scalable ? "v" + name.substr(1) : name;
}

/// "p01.02" (QEMU's, with a process) and "2" are the same.
unsigned long thread_number(const std::string& id) { return std::stoul(id.substr(id.find('.') + 1), nullptr, 16); }

void check_registers(StoppedGuest& guest, RspClient& gcore) {
  const auto theirs = guest.stub().threads(), ours = gcore.threads();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t cpu = 0; cpu < guest.cpus(); ++cpu) {
    guest.stub().select(theirs[cpu]);
    // Ours lists the vCPU of the fault first; ids are numbers from 1 on both sides.
    const auto same = std::ranges::find(ours, thread_number(theirs[cpu]), thread_number);
    ASSERT_NE(same, ours.end()) << theirs[cpu];
    gcore.select(*same);
    const auto expected = guest.stub().registers();
    const auto got = gcore.registers();
    size_t compared = 0;
    for (const auto& [name, value] : expected) {
      const auto found = got.find(name_in_gcore(name));
      if (found == got.end()) continue;
      if (name == "ftag") continue;                  // QEMU's stub always says 0: "XXX: ftag" in its source
      if (found->second.starts_with('x')) continue;  // QEMU's monitor and notes, from which the dump is, lack it
      const std::string wanted = found->first == name ? value : value.substr(0, kV);
      EXPECT_EQ(found->second, wanted) << "register " << name << " of vCPU " << cpu;
      ++compared;
    }
    // x86_64: QEMU's 66. aarch64: 34 core registers, 32 vectors, fpsr, fpcr, and the system registers of the format.
    EXPECT_GE(compared, guest.is_x86() ? 60U : 80U) << "vCPU " << cpu;
  }
}

void check_memory(StoppedGuest& guest, RspClient& gcore, size_t count) {
  guest.allow_everything();
  const auto threads = guest.stub().threads();
  for (size_t cpu = 0; cpu < guest.cpus(); ++cpu) {
    const auto space = guest.space_of(cpu);
    auto addresses = draw_addresses(list_mappings(space), count, 5000 + cpu);
    // A device's registers are no memory: a dump has none, and QEMU 7.2 ends with SIGSEGV when its stub reads those of
    // an interrupt controller of several vCPUs.
    std::erase_if(addresses, [&](uint64_t address) {
      const auto there = space.translate(reader::VirtAddr(address));
      const auto next = space.translate(reader::VirtAddr(address + kReadSize - 1));
      return (there && guest.qnx().segment_at(there->address) == nullptr) ||
             (next && guest.qnx().segment_at(next->address) == nullptr);
    });
    const auto expected = guest.read_virtual(cpu, addresses, kReadSize);
    gcore.select(threads[cpu]);
    size_t equal = 0;
    for (size_t i = 0; i < addresses.size(); ++i) {
      const auto bytes = gcore.read(addresses[i], kReadSize);
      const std::string got(bytes.begin(), bytes.end());
      if (got.size() < kReadSize) {
        // Nothing at all; a dump must have what is RAM.
        const auto walk = space.translate(reader::VirtAddr(addresses[i] + got.size()));
        const bool in_dump = walk && guest.qnx().segment_at(walk->address) != nullptr;
        EXPECT_FALSE(in_dump && !expected[i].empty()) << std::hex << addresses[i] << " on vCPU " << cpu;
        continue;
      }
      // QEMU's monitor and stub know less of some addresses (tags above the indexes): silence is no other answer.
      if (expected[i].empty()) continue;
      EXPECT_EQ(got, expected[i]) << std::hex << addresses[i] << " on vCPU " << cpu;
      ++equal;
    }
    EXPECT_GE(equal, count / 4) << "vCPU " << cpu;
  }
}

}  // namespace

void check_serve_against_stub(StoppedGuest& guest, size_t addresses) {
  ServeProcess serve(guest.qnx_path());
  auto gcore = RspClient::tcp("127.0.0.1", serve.port());
  gcore.handshake();
  check_registers(guest, gcore);
  check_memory(guest, gcore, addresses);
}

}  // namespace gcore::tests
