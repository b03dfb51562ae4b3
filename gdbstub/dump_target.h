// A dump as a Target: the one file of the stub that knows the reader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "gdbstub/target.h"

namespace gcore::reader {
class Dump;
}

namespace gcore::gdbstub {

struct DumpTargetOptions {
  /// Show an x86_64 machine as one of 32 bits also where its registers do not say that it is: the debugger has a file
  /// of 32 bits.
  bool narrow = false;
  /// Where the first segment of the debugger's file is linked. A file that has the running kernel's addresses (one that
  /// `gcore-inspect --write-symbols` made) is not moved.
  std::optional<uint64_t> first_segment = {};
  /// Called once, when the place where the dump is fails while a client reads memory. May be empty.
  std::function<void()> on_trouble = {};
};

/// The dump outlives the target. Returns at once: what takes a look at much of memory is done in a thread, which the
/// destructor waits for.
std::unique_ptr<Target> make_dump_target(const reader::Dump& dump, const DumpTargetOptions& options = {});

}  // namespace gcore::gdbstub
