// Looks whether a dump of the guest moment_MACHINE.S is of one moment: of each vCPU its pages and its registers tell
// how many stores it has made, and it must be the same number.
//
//   moment_check DUMP     a line for each vCPU of which that is not so; exit 0 when there is none
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "reader/dump/dump.h"

namespace gcore::tests {
namespace {

constexpr uint64_t kPages = 1024;

/// The number of the guest's page, 0 where it cannot be read.
uint64_t page(const reader::Dump& dump, size_t cpu, uint64_t number) {
  const uint64_t start = dump.machine() == format::Machine::aarch64 ? 0x41000000 : 0x1000000;
  uint64_t value = 0;
  std::byte bytes[8] = {};
  const auto read = dump.read(reader::PhysAddr(start + ((cpu * kPages + number) << 12)), bytes);
  if (read.bytes != sizeof bytes) return 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

/// A sentence when something is wrong.
std::string wrong(const reader::Dump& dump, const reader::Cpu& cpu) {
  const bool is_aarch64 = dump.machine() == format::Machine::aarch64;
  const auto stores = cpu.registers.get(is_aarch64 ? "x13" : "r13");
  if (!stores) return "its registers are absent";
  if (*stores < kPages) return "it has not been everywhere";
  // The register is set after the store.
  const uint64_t newest = page(dump, cpu.index, *stores % kPages);
  const uint64_t made = *stores + (newest == *stores / kPages + 1 ? 1 : 0);
  for (uint64_t i = 0; i < kPages; ++i) {
    const uint64_t want = made / kPages + (i < made % kPages ? 1 : 0), got = page(dump, cpu.index, i);
    if (got == want) continue;
    return "by its register it has made " + std::to_string(*stores) + " stores; so page " + std::to_string(i) +
           " should have " + std::to_string(want) + ", and has " + std::to_string(got);
  }
  return "";
}

int check(const char* path) {
  const auto dump = reader::Dump::open(path);
  if (!dump) {
    std::printf("%s: %s\n", path, dump.error().text.c_str());
    return 1;
  }
  int status = (*dump)->cpus().size() == 2 ? 0 : 1;
  for (const reader::Cpu& cpu : (*dump)->cpus()) {
    const std::string why = wrong(**dump, cpu);
    if (why.empty()) continue;
    std::printf("vCPU %zu: %s\n", cpu.index, why.c_str());
    status = 1;
  }
  if (status == 0) std::printf("%zu vCPUs, all of one moment\n", (*dump)->cpus().size());
  return status;
}

}  // namespace
}  // namespace gcore::tests

int main(int argc, char** argv) {
  if (argc == 2) return gcore::tests::check(argv[1]);
  std::fprintf(stderr, "usage: moment_check DUMP\n");
  return 2;
}
