// A dump as a Target: the one file of the stub that knows the reader.
#pragma once

#include <memory>

#include "gdbstub/target.h"

namespace gcore::reader {
class Dump;
}

namespace gcore::gdbstub {

struct DumpTargetOptions {
  /// Show an x86_64 machine as one of 32 bits also where its registers do not say that it is: the debugger has a file
  /// of 32 bits.
  bool narrow = false;
};

/// The dump outlives the target. Returns at once: what takes a look at much of memory is done in a thread, which the
/// destructor waits for.
std::unique_ptr<Target> make_dump_target(const reader::Dump& dump, const DumpTargetOptions& options = {});

}  // namespace gcore::gdbstub
