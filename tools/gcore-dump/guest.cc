#include "tools/gcore-dump/guest.h"

#include "tools/gcore-dump/vmcoreinfo.h"

namespace gcore::tools::qemu {
namespace {

// `stop` waits for the guest's disk requests.
constexpr std::chrono::milliseconds kStopTimeout{60'000};

}  // namespace

writer::Status Guest::stop() {
  const auto answer = qmp_.execute("query-status");
  if (!answer) return writer::Status("cannot pause the guest: " + answer.error().text);
  const llvm::json::Object* facts = answer->getAsObject();
  const llvm::StringRef state = facts ? facts->getString("status").value_or("") : "";
  ran_ = facts && facts->getBoolean("running").value_or(false);
  if (state == "inmigrate") return writer::Status("the guest has no state yet: QEMU waits for an incoming migration");
  if (!ran_) return {};
  const auto stopped = qmp_.execute("stop", {}, kStopTimeout);
  if (stopped) return {};
  // It may yet stop, when QEMU comes round to it.
  if (stopped.error().kind == QmpError::Kind::deadline) (void)qmp_.execute("cont");
  return writer::Status("cannot pause the guest: " + stopped.error().text);
}

std::optional<std::string> Guest::read_state() {
  auto memory = Memory::find(qmp_);
  if (!memory) return "cannot learn where the guest's memory is: " + memory.error();
  memory_ = std::move(*memory);
  notes_ = memory_->notes();
  auto states = read_registers(qmp_, machine_, memory_->regions().front().address);
  if (!states) return "cannot read the guest's registers: " + states.error();
  states_ = std::move(*states);
  notes_.insert(notes_.end(), states_.notes.begin(), states_.notes.end());
  auto ranges = memory_->ranges(qmp_, directory_);
  if (!ranges) return "cannot read the guest's memory: " + ranges.error();
  ranges_ = std::move(*ranges);
  return std::nullopt;
}

writer::Status Guest::pause() {
  notes_.clear();
  resume_problem_.clear();
  if (wants_vmcoreinfo_)  // a problem here is one a moment later, too, and is told then
    if (const auto memory = Memory::find(qmp_)) found_vmcoreinfo_ = find_vmcoreinfo(*memory);
  if (writer::Status stopped = stop(); !stopped) return stopped;
  const auto problem = read_state();
  if (!problem) return {};
  resume();
  return writer::Status(*problem);
}

void Guest::resume() {
  ranges_.clear();
  memory_.reset();
  if (!ran_) return;
  ran_ = false;
  if (const auto resumed = qmp_.execute("cont"); !resumed) resume_problem_ = resumed.error().text;
}

bool Guest::read_cpu(size_t index, format::RegisterFile& registers) {
  if (index >= states_.cpus.size()) return false;
  registers = states_.cpus[index];
  return true;
}

}  // namespace gcore::tools::qemu
