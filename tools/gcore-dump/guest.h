// A guest that QEMU runs, as the writer sees it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-dump/memory.h"
#include "tools/gcore-dump/qmp.h"
#include "tools/gcore-dump/registers.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// Pausing is QMP `stop`, and resuming `cont`, but only when the guest ran before: one that the user or QEMU itself
/// paused (a watchdog's or a panic's action) stays paused. Uses the connection during a dump; nobody else may then.
class Guest : public writer::Guest {
 public:
  /// `directory` is where copies of private memory go.
  Guest(Qmp& qmp, format::Machine machine, std::string name, std::string directory)
      : qmp_(qmp), machine_(machine), name_(std::move(name)), directory_(std::move(directory)) {}

  /// Before it pauses the guest, look for a Linux kernel's VMCOREINFO in its memory (for dumps of the vmcore dialect).
  void look_for_vmcoreinfo() { wants_vmcoreinfo_ = true; }

  std::string_view name() override { return name_; }
  format::Machine machine() override { return machine_; }
  /// Stops the guest and takes its registers and layout: everything that can fail but reading memory fails here, the
  /// guest then running again.
  writer::Status pause() override;
  void resume() override;
  size_t cpu_count() override { return states_.cpus.size(); }
  bool read_cpu(size_t index, format::RegisterFile& registers) override;
  std::vector<writer::MemoryRange> memory() override { return ranges_; }
  std::string_view vmcoreinfo() override { return states_.vmcoreinfo.empty() ? found_vmcoreinfo_ : states_.vmcoreinfo; }

  /// What the user should know of the dump that was taken. One sentence each.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Empty, or why the guest could not be resumed: it stays paused.
  const std::string& resume_problem() const { return resume_problem_; }

 private:
  writer::Status stop();
  std::optional<std::string> read_state();

  Qmp& qmp_;
  format::Machine machine_;
  std::string name_, directory_;
  bool ran_ = false, wants_vmcoreinfo_ = false;
  std::optional<Memory> memory_;
  std::vector<writer::MemoryRange> ranges_;
  CpuStates states_;
  std::string found_vmcoreinfo_;
  std::vector<std::string> notes_;
  std::string resume_problem_;
};

}  // namespace gcore::tools::qemu
