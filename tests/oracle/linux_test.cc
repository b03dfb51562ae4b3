// Debian's kernel in QEMU, stopped. What gcore says of it, from a dump, is held against everyone who can tell.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/oracle/dump_checks.h"
#include "tests/oracle/guest_checks.h"
#include "tests/oracle/serve_checks.h"
#include "tests/oracle/stopped_guest.h"
#include "tests/oracle/translation_checks.h"

namespace gcore::tests {
namespace {

struct Machine {
  const char* name;
  QemuGuest::Options options;
};

void PrintTo(const Machine& machine, std::ostream* out) { *out << machine.name; }

std::vector<Machine> machines() {
  const auto machine = [](const char* name, const char* arch, const char* cpu, unsigned cpus, unsigned mib,
                          const char* append, std::vector<std::string> arguments = {}) {
    return Machine{name,
                   {.machine = arch,
                    .cpu = cpu,
                    .cpus = cpus,
                    .memory_mib = mib,
                    .append = append,
                    .arguments = std::move(arguments)}};
  };
  return {machine("X86FiveLevels", "x86_64", "max", 4, 3072, "pti=on"),
          machine("X86FourLevels", "x86_64", "max,la57=off", 1, 512, ""),
          machine("Aarch64CortexA57", "aarch64", "cortex-a57", 1, 512, "kpti=on"),
          machine("Aarch64Max", "aarch64", "max", 4, 4096, ""),
          // The kernel stays in EL2, as a host with VHE.
          machine("Aarch64Hypervisor", "aarch64", "max", 2, 512, "", {"-machine", "virtualization=on"})};
}

class Oracles : public testing::TestWithParam<Machine> {};

// One test a machine: a boot takes longer than most of the checks.
TEST_P(Oracles, AgreeWithGcore) {
  StoppedGuest guest(GetParam().options);
  check_against_qemus_dump(guest);
  check_vcpu_states(guest);
  check_what_the_guest_does(guest);
  check_converted(guest);
  check_in_gdb(guest);
  check_in_drgn(guest);
  check_in_makedumpfile(guest);
  check_in_crash(guest);
  check_against_libkdumpfile_as_used(guest, kAddressesPerGuest);
  check_against_libkdumpfile_walks(guest, kAddressesPerGuest);
  check_against_drgn(guest, kAddressesPerGuest);
  check_serve_against_stub(guest, kAddressesPerVcpuInServe);
  check_against_qemu(guest, kAddressesPerGuest);
}

INSTANTIATE_TEST_SUITE_P(Linux, Oracles, testing::ValuesIn(machines()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace gcore::tests
