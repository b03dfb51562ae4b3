// A whole dump whose guest's kernel is looked for, through vCPUs' registers, page tables, VMCOREINFO and pointers in
// memory, all of them hostile; and what the vCPUs then see. fuzz_open is for the file's own structures: this is a
// hundred times slower.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "reader/space/address_space.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::tests::require;

void check_guest(const GuestSystem& guest) {
  require(guest.kind != GuestSystem::Kind::unknown || (guest.release.empty() && guest.banner.empty()));
  require(guest.image_address.has_value() == guest.image_physical.has_value());
  require((guest.vmcoreinfo_source == GuestSystem::Source::none) == guest.vmcoreinfo.empty());
  for (const std::string& note : guest.notes) require(!note.empty());
}

void look_around(const AddressSpace& space, uint64_t image) {
  require(!space.describe().empty());
  std::array<std::byte, 64> bytes;
  for (const uint64_t address : {uint64_t{0}, uint64_t{0xffffffff80000000}, UINT64_MAX - 8, image}) {
    const auto got = space.read(VirtAddr(address), bytes);
    require((got.bytes == bytes.size()) == got.why.empty());
    const auto there = space.translate(VirtAddr(address));
    const Walk walk = space.walk(VirtAddr(address));
    require(there.has_value() == walk.result.has_value());
    require(!there || there->address == walk.result->address);
  }
  space.enumerate([](const Mapping& mapping) { return mapping.size != 0; },
                  {.table_visits = 200, .visits_per_table = 2});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto dump = Dump::open_descriptor(gcore::tests::input_file(data, size), "input");
  if (!dump) return -1;  // for fuzz_open
  const Guest found(**dump);
  check_guest(found.system());
  const GuestSystem& guest = found.system(GuestSearch::thorough);
  check_guest(guest);
  for (size_t cpu = 0; cpu < (*dump)->cpus().size() && cpu < 3; ++cpu) {
    const auto space = found.space_of_cpu(cpu);
    if (space)
      look_around(*space, guest.image_address.value_or(VirtAddr(0)).value);
    else
      require(!space.error().text.empty());
  }
  return 0;
}
