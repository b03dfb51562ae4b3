#include "tools/gcore-dump/guest.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "reader/dump/stream_registers.h"
#include "reader/dump/vmcoreinfo.h"
#include "tools/common/names.h"
#include "writer/dump.h"

namespace gcore::tools::qemu {
namespace {

using Kind = QmpError::Kind;

// `stop` waits for the guest's disk requests.
constexpr std::chrono::milliseconds kStopTimeout{60'000};

struct RunState {
  bool running = false;
  std::string name;  // "running", "paused", "watchdog", ...
};

QmpResult<RunState> query_state(Qmp& qmp) {
  const auto answer = qmp.execute("query-status");
  if (!answer) return std::unexpected(answer.error());
  const llvm::json::Object* facts = answer->getAsObject();
  if (!facts) return RunState{};
  return RunState{facts->getBoolean("running").value_or(false), facts->getString("status").value_or("").str()};
}

/// Adds the time since it was made, or since the last one, to one part after another.
class Stopwatch {
 public:
  void add_to(PauseTimes::Duration& part) {
    const auto now = std::chrono::steady_clock::now();
    part += now - last_;
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

std::expected<void, std::string> Guest::prepare(bool leave_paused) {
  leave_paused_ = leave_paused;
  auto memory = Memory::find(qmp_);
  if (!memory) return std::unexpected("cannot learn where the guest's memory is: " + memory.error());
  memory_ = std::move(*memory);
  found_vmcoreinfo_ = {};
  if (settings_.vmcore) found_vmcoreinfo_.search(memory_->readable(), qmp_, machine_, {});
  return {};
}

writer::Status Guest::stop() {
  const auto before = query_state(qmp_);
  if (!before) return writer::Status("cannot pause the guest: " + before.error().text);
  if (before->name == "inmigrate")
    return writer::Status("the guest has no state yet: QEMU waits for an incoming migration");
  resumes_ = qmp_.events_waiting("RESUME");
  if (before->name == "paused" && !settings_.watched) notes_.push_back(kPausedBefore);
  if (!before->running) return {};
  const auto stopped = qmp_.execute("stop", {}, kStopTimeout);
  if (!stopped) {
    // It may yet stop, when QEMU comes round to it.
    ran_ = stopped.error().kind != Kind::refused;
    return writer::Status("cannot pause the guest: " + stopped.error().text);
  }
  resumes_ = qmp_.events_waiting("RESUME");
  // QEMU may have paused it just before for a reason of its own (a watchdog, a panic, a disk error): that one holds.
  const auto after = query_state(qmp_);
  ran_ = !after || after->name == "paused";
  if (!after) return writer::Status("cannot pause the guest: " + after.error().text);
  return {};
}

std::optional<std::string> Guest::read_state() {
  Stopwatch stopwatch;
  const auto current = memory_ ? memory_->is_current(qmp_) : false;
  if (!current) return "cannot learn where the guest's memory is: " + current.error();
  if (!*current) {
    auto memory = Memory::find(qmp_);
    if (!memory) return "cannot learn where the guest's memory is: " + memory.error();
    memory_ = std::move(*memory);
  }
  stopwatch.add_to(times_.layout);
  CaptureLimits to{.directory = settings_.directory, .give_up = settings_.give_up};
  if (settings_.deadline.count() > 0) to.deadline = Clock::now() + settings_.deadline;
  auto ranges = memory_->ranges(qmp_, settings_.private_memory, to);
  if (!ranges) return "cannot read the guest's memory: " + ranges.error();
  ranges_ = std::move(*ranges);
  notes_.insert(notes_.end(), memory_->notes().begin(), memory_->notes().end());
  stopwatch.add_to(times_.copies);
  auto states = read_registers(qmp_, machine_, memory_->notes_dump(), memory_->regions().front().address);
  if (!states) return "cannot read the guest's registers: " + states.error();
  states_ = std::move(*states);
  notes_.insert(notes_.end(), states_.notes.begin(), states_.notes.end());
  vmcoreinfo_.clear();
  if (settings_.vmcore) {
    choose_vmcoreinfo();
    note_dropped_registers();
  }
  stopwatch.add_to(times_.registers);
  return std::nullopt;
}

void Guest::choose_vmcoreinfo() {
  std::vector<size_t> cpus;
  for (const CpuStates::Cpu& cpu : states_.cpus) cpus.push_back(cpu.number);
  std::vector<Readable> copies;
  for (const writer::MemoryRange& range : ranges_)
    if (range.is_copy) copies.push_back({.fd = range.fd, .start = range.fd_offset, .size = range.size});
  found_vmcoreinfo_.put_first(states_.vmcoreinfo);
  if (!found_vmcoreinfo_.is_confirmed(qmp_, machine_, cpus)) found_vmcoreinfo_.search(copies, qmp_, machine_, cpus);
  vmcoreinfo_ = found_vmcoreinfo_.best();
  if (vmcoreinfo_.empty())
    notes_.push_back(
        "the dump has no VMCOREINFO, without which drgn, crash and makedumpfile refuse a Linux guest's: none was found "
        "in "
        "the guest's memory");
}

/// What QEMU's own dump has no place for either.
void Guest::note_dropped_registers() {
  std::set<std::string> dropped;
  const auto all = format::registers(machine_);
  for (const CpuStates::Cpu& cpu : states_.cpus)
    for (const size_t slot : writer::registers_without_place(writer::Dialect::vmcore, cpu.registers))
      dropped.emplace(all[slot].name);
  if (!dropped.empty()) notes_.push_back(not_carried_over("vmcore", register_names(dropped)));
}

writer::Status Guest::pause() {
  notes_.clear();
  resume_problem_.clear();
  times_ = {};
  ran_ = gone_ = false;
  consistency_ = writer::Consistency::paused;
  const auto snapshot = go_on_meanwhile();
  if (!snapshot) return writer::Status(snapshot.error());
  if (*snapshot) return {};
  Stopwatch stopwatch;
  writer::Status stopped = stop();
  stopwatch.add_to(times_.stopping);
  if (!stopped) {
    let_go_on();
    return stopped;
  }
  const auto problem = read_state();
  memory_start_ = Clock::now();
  if (!problem) return {};
  resume();
  dump_ended();
  return writer::Status(*problem);
}

/// A snapshot, if one is wanted and the guest runs: false when it is to be paused instead.
std::expected<bool, std::string> Guest::go_on_meanwhile() {
  snapshot_.reset();
  if (settings_.live == Live::no || leave_paused_) return false;
  const auto state = query_state(qmp_);
  if (!state) return std::unexpected("cannot dump it while it runs: " + state.error().text);
  if (!state->running) return false;  // it stands still anyway
  const auto taken = take_live();
  if (taken) return true;
  forget_snapshot();
  const std::string why = "it cannot be dumped while it runs: " + taken.error().text;
  if (settings_.live == Live::always || taken.error().kind != Kind::refused)
    return std::unexpected(why + (taken.error().kind == Kind::refused ? "; --live=try pauses it then" : ""));
  notes_.push_back("the guest is paused meanwhile: " + why);
  return false;
}

void Guest::forget_snapshot() {
  snapshot_.reset();
  if (dump_file_ >= 0) (void)ftruncate(dump_file_, 0);  // where another one, or the writer, begins anew
}

std::expected<void, QmpError> Guest::take_live() {
  const auto cpus_now = count_cpus(qmp_);
  if (!cpus_now) return std::unexpected(cpus_now.error());
  constexpr size_t kMorePlugged = 64, kMoreRegions = 256;  // meanwhile
  const uint64_t room =
      writer::head_room(*cpus_now + kMorePlugged, memory_->regions().size() + kMoreRegions, reader::kMaxVmcoreinfoNote);
  // Where memory is the stream does not say: it has to be there before and after. (While firmware runs, it moves.)
  constexpr int kAttempts = 3;
  for (int attempt = 0;; ++attempt) {
    const SnapshotPlace place{memory_->regions(), dump_file_, dump_file_ < 0 ? 0 : room, settings_.directory};
    auto snapshot = take_snapshot(qmp_, place, settings_.give_up);
    if (!snapshot) return std::unexpected(snapshot.error());
    snapshot_ = std::move(*snapshot);
    const auto current = memory_->is_current(qmp_);
    if (!current) return std::unexpected(QmpError{Kind::closed, current.error()});
    if (*current) break;
    if (attempt + 1 == kAttempts)
      return std::unexpected(QmpError{Kind::refused, "the guest's memory is never for long where it was"});
    forget_snapshot();
    auto memory = Memory::find(qmp_);
    if (!memory) return std::unexpected(QmpError{Kind::closed, memory.error()});
    memory_ = std::move(*memory);
  }
  const auto refused = [](std::string why) { return std::unexpected(QmpError{Kind::refused, std::move(why)}); };
  auto cpus = reader::stream_registers(snapshot_->guest, machine_);
  if (!cpus) return refused(cpus.error().text);
  ranges_ = snapshot_->ranges;
  states_ = {};
  for (reader::Cpu& cpu : *cpus) states_.cpus.push_back({cpu.number, std::move(cpu.registers)});
  vmcoreinfo_.clear();
  if (settings_.vmcore) {
    choose_vmcoreinfo();
    note_dropped_registers();
  }
  consistency_ = writer::Consistency::snapshot;
  return {};
}

std::optional<std::chrono::nanoseconds> Guest::paused() {
  return snapshot_ ? std::optional(snapshot_->paused) : std::nullopt;
}

void Guest::resume() {
  if (snapshot_) return;  // it runs
  times_.memory = Clock::now() - memory_start_;
  Stopwatch stopwatch;
  const auto resumed = [this] {  // so often since the guest had stopped
    (void)qmp_.receive();        // if QEMU has gone, that shows in a moment
    return qmp_.events_waiting("RESUME") - resumes_;
  };
  bool torn = resumed() > 0;
  const bool by_us = ran_ && !leave_paused_;
  let_go_on();
  torn = torn || resumed() > (by_us ? 1 : 0);  // what came before our own has arrived by now
  if (torn) consistency_ = writer::Consistency::torn;
  stopwatch.add_to(times_.resuming);
}

void Guest::dump_ended() {
  ranges_.clear();
  snapshot_.reset();
  memory_.reset();
}

void Guest::let_go_on() {
  if (!ran_ || leave_paused_) return;
  ran_ = false;
  const auto resumed = tell_to_go_on(qmp_);
  if (resumed) return;
  resume_problem_ = resumed.error().text;
  if (resumed.error().kind != Kind::closed) return;
  // The connection has gone; the guest may be there yet, and nobody else knows that it is to go on. A QEMU that ends
  // takes a connection and drops it, for a moment.
  auto again = Qmp::connect(settings_.socket);
  for (int attempt = 0; attempt < 50 && !again && again.error().kind == Kind::closed; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    again = Qmp::connect(settings_.socket);
  }
  gone_ = (!again && again.error().kind == Kind::unavailable) || (again && (*again)->peer_pid() != qmp_.peer_pid());
  if (gone_) {
    resume_problem_.clear();
  } else if (!again) {
    resume_problem_ += "; connecting again: " + again.error().text;
  } else if (const auto second = tell_to_go_on(**again); second) {
    resume_problem_.clear();
  } else {
    resume_problem_ = second.error().text;
  }
}

/// A QEMU that hangs (a disk, a file system) may take its time, and nobody else knows that the guest is to go on: only
/// who is told to give up now leaves it paused.
QmpResult<void> Guest::tell_to_go_on(Qmp& qmp) {
  constexpr std::chrono::seconds kUntilItIsSaid{2};
  eventfd_t given_up_the_dump;
  (void)eventfd_read(settings_.give_up, &given_up_the_dump);  // what was given up for that is no reason to leave now
  qmp.set_interrupt(-1);
  auto resumed = qmp.execute("cont", {}, kUntilItIsSaid);
  if (!resumed && resumed.error().kind == Kind::deadline) {
    settings_.tell(
        "QEMU does not let the guest go on (no answer to `cont`): waiting until it does; a signal ends the wait "
        "and may leave the guest paused");
    qmp.set_interrupt(settings_.give_up);
    resumed = qmp.wait_on(std::chrono::hours(24 * 365));
  }
  if (!resumed) return std::unexpected(resumed.error());
  return {};
}

std::vector<writer::MemoryRange> Guest::memory() { return ranges_; }

size_t Guest::read_memory(uint64_t address, void* to, size_t size) {
  return memory_ ? memory_->read(address, to, size) : 0;
}

bool Guest::read_cpu(size_t index, format::RegisterFile& registers) {
  if (index >= states_.cpus.size()) return false;
  registers = states_.cpus[index].registers;
  return true;
}

}  // namespace gcore::tools::qemu
