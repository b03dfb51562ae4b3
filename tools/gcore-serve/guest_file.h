// The files of symbols that are made of the dump while clients are served already.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "gdbstub/protocol/exec_file.h"
#include "reader/dump/dump.h"
#include "reader/guest/linux/kernel.h"

namespace gcore::tools {

struct GuestFileOptions {
  /// Make the kernel's file of what the guest itself has: names, types and unwind tables.
  bool kernel = true;
  std::vector<std::string> modules{};  // paths of .ko files, and of their debug information
  std::vector<std::string> folders{};  // in which files of the kernel and of its modules are looked for
};

/// The kernel's file, and its modules' files put where the guest has them. The work begins when somebody first asks,
/// in a thread of its own; the end waits for it. A guest that has none of it has no files.
class GuestFile final : public gdbstub::LaterFile {
 public:
  /// The dump must outlive it.
  GuestFile(const reader::Dump& dump, GuestFileOptions options) : dump_(dump), options_(std::move(options)) {}

  bool settled() const override;
  const gdbstub::ExecFile* file() const override { return settled_ && file_ ? &*file_ : nullptr; }
  bool is_of_running_kernel() const override { return is_made_; }
  bool has_libraries() const override { return !options_.modules.empty() || !options_.folders.empty(); }
  std::span<const gdbstub::Library> libraries() const override;
  std::string remarks() const override { return settled_ ? remarks_ : ""; }

 private:
  void make();
  void place_modules(const reader::linux_guest::Kernel& kernel);
  void find_kernel(const reader::GuestSystem& system);
  void remark(const std::string& text) { remarks_ += text + "\n"; }

  const reader::Dump& dump_;
  const GuestFileOptions options_;
  // Written before settled_.
  std::optional<gdbstub::ExecFile> file_;
  std::vector<gdbstub::Library> libraries_;
  std::vector<std::string> placed_;  // names of the modules
  std::string remarks_;
  bool is_made_ = true;  // of the running kernel, else a file that was found
  std::atomic<bool> settled_ = false;
  mutable std::once_flag once_;
  mutable std::jthread thread_;
};

}  // namespace gcore::tools
