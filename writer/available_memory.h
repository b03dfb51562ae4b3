// How much memory a process may take without that anybody's is written to a disk, or that it is killed for it.
#pragma once

#include <cstdint>

namespace gcore::writer {

/// Bytes: what the kernel has available (MemAvailable of /proc/meminfo), and what the control groups allow that this
/// process is in, of both versions. 0: nobody knows.
uint64_t available_memory();

}  // namespace gcore::writer
