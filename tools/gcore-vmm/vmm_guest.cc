#include "tools/gcore-vmm/vmm_guest.h"

namespace gcore::tools::vmm {

writer::Status VmmGuest::pause() {
  auto done = vm_.pause();
  return done ? writer::Status() : writer::Status(done.error());
}

bool VmmGuest::read_cpu(size_t index, format::RegisterFile& registers) { return vm_.read_registers(index, registers); }

std::vector<writer::MemoryRange> VmmGuest::memory() {
  const GuestMemory& memory = vm_.memory();
  std::vector<writer::MemoryRange> ranges;
  for (const GuestMemory::Range& range : memory.ranges())
    ranges.push_back({range.address, range.size, range.host, memory.fd(), range.offset});
  return ranges;
}

}  // namespace gcore::tools::vmm
