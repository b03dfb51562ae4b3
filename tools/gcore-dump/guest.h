// A guest that QEMU runs, as the writer sees it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/gcore-dump/live.h"
#include "tools/gcore-dump/memory.h"
#include "tools/gcore-dump/qmp.h"
#include "tools/gcore-dump/registers.h"
#include "tools/gcore-dump/vmcoreinfo.h"
#include "writer/guest.h"

namespace gcore::tools::qemu {

/// Said of a guest that nobody seems to have had a reason to pause.
inline constexpr char kPausedBefore[] =
    "the guest was paused before: by its user, or by a gcore-dump that was killed; it stays so (QMP's `cont` lets it "
    "go "
    "on)";

/// Whether the guest goes on while its memory is copied.
enum class Live : uint8_t {
  no,
  always,  // or there is no dump
  if_possible,
};

/// What a dump's pause consisted of.
struct PauseTimes {
  using Duration = std::chrono::steady_clock::duration;
  Duration stopping{0};   // until every vCPU stood
  Duration layout{0};     // is the memory where it was
  Duration copies{0};     // made by QEMU, or aside: of what no shared file holds and is not read in place
  Duration registers{0};  // of every vCPU; and which VMCOREINFO is the kernel's
  Duration memory{0};     // the writer: memory into the dump
  Duration resuming{0};
};

/// Pausing is QMP `stop`, and resuming `cont`, but only when the guest ran before: one that the user or QEMU itself
/// paused (a watchdog's or a panic's action) stays paused. Uses the connection during a dump; nobody else may then.
class Guest : public writer::Guest {
 public:
  struct Settings {
    std::string name;
    std::string socket;     // of QMP: where to connect again if the connection breaks while the guest is paused
    std::string directory;  // where copies of private memory go
    Memory::Private private_memory = Memory::Private::in_place;
    Live live = Live::no;
    bool watched = false;                   // by a gcore-dump that has said in which state it found the guest
    bool vmcore = false;                    // the dump is to be of that dialect
    std::chrono::milliseconds deadline{0};  // for what QEMU copies while the guest is paused; 0: none
    int give_up = -1;                       // an eventfd, readable when the dump, or a wait for QEMU, is to be given up
    std::function<void(const std::string&)> tell;  // says a sentence at once; called on the dumper's thread
  };
  Guest(Qmp& qmp, format::Machine machine, Settings settings)
      : qmp_(qmp), machine_(machine), settings_(std::move(settings)) {}

  /// To be called before a dump is requested: learns what can be learnt while the guest runs. `leave_paused`: QEMU is
  /// about to pause the guest, or has, because of what the dump is taken for, so it is not to be resumed. The error is
  /// a sentence.
  std::expected<void, std::string> prepare(bool leave_paused);

  std::string_view name() override { return settings_.name; }
  format::Machine machine() override { return machine_; }
  void dump_file(int fd) override { dump_file_ = fd; }
  /// Stops the guest and takes its registers and layout: everything that can fail but reading memory fails here, the
  /// guest then running again.
  writer::Status pause() override;
  void resume() override;
  writer::Consistency consistency() override { return consistency_; }
  std::optional<std::chrono::nanoseconds> paused() override;
  void dump_ended() override;
  size_t cpu_count() override { return states_.cpus.size(); }
  size_t cpu_number(size_t index) override { return states_.cpus[index].number; }
  bool read_cpu(size_t index, format::RegisterFile& registers) override;
  std::vector<writer::MemoryRange> memory() override;
  size_t read_memory(uint64_t address, void* to, size_t size) override;
  std::string_view vmcoreinfo() override { return vmcoreinfo_; }

  /// What the user should know of the dump that was taken. One sentence each.
  const std::vector<std::string>& notes() const { return notes_; }
  const PauseTimes& times() const { return times_; }
  /// Empty, or why the guest could not be resumed: it stays paused.
  const std::string& resume_problem() const { return resume_problem_; }
  /// QEMU ended while the guest was paused: there is nothing to resume.
  bool gone() const { return gone_; }
  /// Somebody else let the guest go on while it was dumped.
  bool torn() const { return consistency_ == writer::Consistency::torn; }

 private:
  using Clock = std::chrono::steady_clock;

  std::expected<bool, std::string> go_on_meanwhile();
  std::expected<void, QmpError> take_live();
  void forget_snapshot();
  writer::Status stop();
  std::optional<std::string> read_state();
  void choose_vmcoreinfo();
  void note_dropped_registers();
  void let_go_on();
  QmpResult<void> tell_to_go_on(Qmp& qmp);

  Qmp& qmp_;
  format::Machine machine_;
  Settings settings_;
  int dump_file_ = -1;
  bool ran_ = false, leave_paused_ = false, gone_ = false;
  size_t resumes_ = 0;  // RESUME events when the guest had stopped
  writer::Consistency consistency_ = writer::Consistency::paused;
  std::optional<Memory> memory_;
  std::optional<Snapshot> snapshot_;
  std::vector<writer::MemoryRange> ranges_;
  CpuStates states_;
  VmcoreinfoSearch found_vmcoreinfo_;
  std::string vmcoreinfo_;
  std::vector<std::string> notes_;
  std::string resume_problem_;
  PauseTimes times_;
  Clock::time_point memory_start_;
};

}  // namespace gcore::tools::qemu
