#include "reader/guest/linux/process_memory.h"

namespace gcore::reader::linux_guest {

Expected<AddressSpace> process_space(const KernelMemory& memory, PhysAddr root) {
  const Dump& dump = memory.dump();
  if (dump.cpus().empty())
    return std::unexpected(
        Error{Error::Kind::not_present, "the dump has no vCPU that would say how processes translate"});
  return AddressSpace::with_root(dump, 0, root.value);
}

}  // namespace gcore::reader::linux_guest
