// A dump as a Target: the one file of the stub that knows the reader.
#pragma once

#include <memory>

#include "gdbstub/target.h"

namespace gcore::reader {
class Dump;
}

namespace gcore::gdbstub {

/// The dump outlives the target.
std::unique_ptr<Target> make_dump_target(const reader::Dump& dump);

}  // namespace gcore::gdbstub
