// The symbol file that is made of the dump while clients are served already.
#pragma once

#include <atomic>
#include <optional>
#include <thread>

#include "gdbstub/protocol/exec_file.h"
#include "reader/dump/dump.h"

namespace gcore::tools {

/// Begins to make the file at once, in a thread of its own: that of the guest's own names, types and unwind tables. A
/// guest without them has none. Its end waits for the thread.
class GuestFile final : public gdbstub::LaterFile {
 public:
  /// The dump must outlive it.
  explicit GuestFile(const reader::Dump& dump);

  bool settled() const override { return settled_; }
  const gdbstub::ExecFile* file() const override { return settled_ && file_ ? &*file_ : nullptr; }

 private:
  void make(const reader::Dump& dump);

  std::optional<gdbstub::ExecFile> file_;  // written before settled_
  std::atomic<bool> settled_ = false;
  std::jthread thread_;
};

}  // namespace gcore::tools
