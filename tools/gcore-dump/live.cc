#include "tools/gcore-dump/live.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "tools/gcore-dump/scratch.h"
#include "writer/base/available_memory.h"
#include "writer/base/sparse_file.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;
using Kind = QmpError::Kind;
using reader::Expected;

constexpr char kFdName[] = "gcore-dump-live";
constexpr int64_t kFastest = int64_t{1} << 40;  // bytes a second

std::unexpected<QmpError> refused(std::string text) {
  return std::unexpected(QmpError{Kind::refused, std::move(text)});
}

/// Puts each page where `place` has it, neighbours together. Between the pages of its round through memory QEMU sends
/// those that the guest is about to change: they wait in memory for the round to come to them, since a file that is
/// written in no order is in many pieces on the disk, and the disk takes its time.
class PlacedMemory final : public reader::StreamMemory {
 public:
  explicit PlacedMemory(const SnapshotPlace& place) : place_(place), file_(place.file) {}

  Expected<void> begin(std::span<const reader::StreamBlock> blocks) override {
    blocks_.resize(blocks.size());
    uint64_t size = 0;
    for (const RamRegion& region : place_.regions) {
      // A device's block has the device's path before its name.
      const auto is_it = [&](const reader::StreamBlock& block) {
        return block.name == region.block || block.name.ends_with("/" + region.block);
      };
      const auto block = std::ranges::find_if(blocks, is_it);
      if (block == blocks.end() || region.offset % reader::kStreamPage != 0 || region.offset > block->size ||
          region.size > block->size - region.offset)
        return std::unexpected(
            reader::Error{reader::Error::Kind::unsupported, "the memory \"" + region.block + "\" is not in it"});
      blocks_[static_cast<size_t>(block - blocks.begin())].push_back({region.offset, region.size, size});
      size += region.size;
    }
    if (file_ < 0) {
      auto made = scratch_file(size, place_.directory);
      if (!made) return failed(made.error());
      scratch = std::move(*made);
      file_ = scratch.get();
    }
    if (ftruncate(file_, static_cast<off_t>(place_.start + size)) != 0) return failed(std::strerror(errno));
    written_.resize(size / reader::kStreamPage);
    return {};
  }
  Expected<void> page(size_t block, uint64_t offset, std::span<const std::byte> bytes, uint64_t) override {
    for (const Part& part : blocks_[block])
      if (offset >= part.offset && offset - part.offset < part.size)
        if (auto done = put(part.at + (offset - part.offset), bytes); !done) return done;
    return {};
  }
  Expected<void> fill(size_t block, uint64_t offset, std::byte value) override {
    const auto has_come = [&](const Part& part) {
      return offset >= part.offset && offset - part.offset < part.size &&
             written_[(part.at + (offset - part.offset)) / reader::kStreamPage];
    };
    if (value == std::byte{0} && std::ranges::none_of(blocks_[block], has_come)) return {};
    const std::vector<std::byte> bytes(reader::kStreamPage, value);
    return page(block, offset, bytes, 0);
  }
  /// All that has come is to be in the file.
  Expected<void> flush() {
    if (auto done = end_round(); !done) return done;
    return write_early();
  }

  base::UniqueFd scratch;  // where there is no dump's file

 private:
  /// Of a block, and where it is in all of memory.
  struct Part {
    uint64_t offset, size, at;
  };
  static constexpr size_t kMost = 128 << 10;
  static constexpr uint64_t kMostEarly = 256 << 20;

  Expected<void> put(uint64_t at, std::span<const std::byte> bytes) {
    written_[at / reader::kStreamPage] = true;
    if (at != next_ && next_ != 0) {
      // Two neighbours one after the other: the round goes on there.
      const auto before = at == last_early_ + reader::kStreamPage ? early_.find(last_early_) : early_.end();
      if (before == early_.end()) return keep_early(at, bytes);
      if (auto done = end_round(); !done) return done;
      pending_ = std::move(before->second);
      early_.erase(before);
    }
    early_.erase(at);
    if (auto done = append(at, bytes); !done) return done;
    for (auto it = early_.find(next_); it != early_.end(); it = early_.find(next_)) {
      if (auto done = append(next_, it->second); !done) return done;
      early_.erase(it);
    }
    return {};
  }
  Expected<void> append(uint64_t at, std::span<const std::byte> bytes) {
    next_ = at;
    if (pending_.size() >= kMost)
      if (auto done = end_round(); !done) return done;
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    next_ += bytes.size();
    return {};
  }
  Expected<void> keep_early(uint64_t at, std::span<const std::byte> bytes) {
    early_.insert_or_assign(at, std::vector<std::byte>(bytes.begin(), bytes.end()));
    last_early_ = at;
    return early_.size() < most_early_ ? Expected<void>() : flush();
  }
  /// What is pending ends before next_.
  Expected<void> end_round() {
    const int problem = base::write_at(file_, pending_, place_.start + next_ - pending_.size());
    pending_.clear();
    if (problem != 0) return failed(std::strerror(problem));
    return {};
  }
  Expected<void> write_early() {
    for (const auto& [at, bytes] : early_)
      if (const int problem = base::write_at(file_, bytes, place_.start + at); problem != 0)
        return failed(std::strerror(problem));
    early_.clear();
    return {};
  }
  Expected<void> failed(const std::string& why) const {
    const std::string what = scratch || file_ < 0 ? "a temporary file" : "the dump file";
    return std::unexpected(
        reader::Error{reader::Error::Kind::io, "cannot write it to " + what + " in " + place_.directory + ": " + why});
  }

  const SnapshotPlace& place_;
  int file_;
  std::vector<std::vector<Part>> blocks_;
  std::vector<bool> written_;
  std::vector<std::byte> pending_;  // of the round
  uint64_t next_ = 0;               // where the round goes on; 0: it has not begun
  std::map<uint64_t, std::vector<std::byte>> early_;
  uint64_t last_early_ = 0;
  const uint64_t most_early_ = std::min(kMostEarly, base::available_memory() / 8) / reader::kStreamPage;
};

/// Makes QEMU's migration one that does not stop the guest, and puts back what it changed.
class MigrationSetup {
 public:
  explicit MigrationSetup(Qmp& qmp) : qmp_(qmp) {}
  ~MigrationSetup() {
    if (!capabilities_.empty()) (void)set_capabilities(capabilities_);
    if (bandwidth_) (void)set_bandwidth(*bandwidth_);
  }

  QmpResult<void> begin() {
    const auto now = qmp_.execute("query-migrate");
    if (!now) return std::unexpected(now.error());
    const json::Object* facts = now->getAsObject();
    const std::string status = facts ? facts->getString("status").value_or("none").str() : "none";
    if (status != "none" && status != "completed" && status != "failed" && status != "cancelled")
      return refused("a migration is under way (" + status + ")");
    auto before = list();
    if (!before) return std::unexpected(before.error());
    if (std::ranges::find(*before, std::string("background-snapshot"), &Capability::first) == before->end())
      return refused("QEMU " + qmp_.version() + " has no background-snapshot (6.0 and later have)");
    std::vector<Capability> wanted, changed;
    for (const auto& [name, state] : *before) {
      const bool want = name == "background-snapshot" || name == "events";
      if (want == state) continue;
      wanted.emplace_back(name, want);
      changed.emplace_back(name, state);
    }
    // Those that are off first: QEMU refuses background-snapshot beside others.
    std::ranges::stable_sort(wanted, {}, &Capability::second);
    capabilities_ = std::move(changed);
    if (auto set = set_capabilities(wanted); !set) return set;
    // An ordinary migration would stop the guest for good.
    const auto after = list();
    if (!after) return std::unexpected(after.error());
    if (std::ranges::find(*after, Capability("background-snapshot", true)) == after->end())
      return refused("QEMU did not take the capability background-snapshot");
    return widen();
  }

 private:
  using Capability = std::pair<std::string, bool>;

  QmpResult<std::vector<Capability>> list() {
    const auto answer = qmp_.execute("query-migrate-capabilities");
    if (!answer) return std::unexpected(answer.error());
    std::vector<Capability> all;
    if (const json::Array* entries = answer->getAsArray())
      for (const json::Value& entry : *entries)
        if (const json::Object* one = entry.getAsObject())
          all.emplace_back(one->getString("capability").value_or("").str(), one->getBoolean("state").value_or(false));
    return all;
  }
  QmpResult<void> set_capabilities(const std::vector<Capability>& wanted) {
    json::Array entries;
    for (const auto& [name, state] : wanted) entries.push_back(json::Object{{"capability", name}, {"state", state}});
    if (auto set = qmp_.execute("migrate-set-capabilities", json::Object{{"capabilities", std::move(entries)}}); !set)
      return std::unexpected(set.error());
    return {};
  }
  /// The default of max-bandwidth is 128 MiB a second.
  QmpResult<void> widen() {
    const auto answer = qmp_.execute("query-migrate-parameters");
    if (!answer) return std::unexpected(answer.error());
    const json::Object* facts = answer->getAsObject();
    const auto bandwidth = facts ? facts->getInteger("max-bandwidth") : std::nullopt;
    if (!bandwidth) return {};
    bandwidth_ = *bandwidth;
    return set_bandwidth(kFastest);
  }
  QmpResult<void> set_bandwidth(int64_t bandwidth) {
    if (auto set = qmp_.execute("migrate-set-parameters", json::Object{{"max-bandwidth", bandwidth}}); !set)
      return std::unexpected(set.error());
    return {};
  }

  Qmp& qmp_;
  std::vector<Capability> capabilities_;  // as they were
  std::optional<int64_t> bandwidth_;
};

/// QEMU's stream as it comes. It lets QEMU get ahead: to be woken for each page costs both of them more than to copy
/// it.
class Pipe {
 public:
  Pipe(int fd, int give_up)
      : fd_(fd), give_up_(give_up), worth_reading_(std::max(fcntl(fd, F_GETPIPE_SZ), kLeast) / 8) {}

  /// read() that ends when it is told to.
  Expected<size_t> read(std::span<std::byte> to) const {
    for (;;) {
      pollfd both[2] = {{fd_, POLLIN, 0}, {give_up_, POLLIN, 0}};
      if (poll(both, 2, -1) < 0 && errno == EINTR) continue;
      const bool is_written_to = both[0].revents == POLLIN && both[1].revents == 0;
      if (int there = 0; is_written_to && ioctl(fd_, FIONREAD, &there) == 0 && there < worth_reading_)
        (void)ppoll(&both[1], 1, &kMeanwhile, nullptr);
      if (both[1].revents != 0) return std::unexpected(reader::Error{reader::Error::Kind::io, "told to end"});
      const ssize_t got = ::read(fd_, to.data(), to.size());
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) return std::unexpected(reader::Error{reader::Error::Kind::io, std::strerror(errno)});
    }
  }

 private:
  static constexpr int kLeast = 4096;
  static constexpr timespec kMeanwhile{0, 250'000};  // in 700 us QEMU has filled a pipe of 1 MiB

  int fd_, give_up_;
  int worth_reading_;  // bytes
};

/// A process that reads on when this one no longer does, or was killed: a QEMU whose snapshot breaks off leaves memory
/// protected (7.2), and its guest stands still at the next write.
class Drainer {
 public:
  explicit Drainer(int stream) {
    std::erase_if(left_behind(), [](pid_t child) { return waitpid(child, nullptr, WNOHANG) != 0; });
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    const base::UniqueFd theirs(ends[0]);
    lifeline_ = base::UniqueFd(ends[1]);
    child_ = fork();
    if (child_ == 0) drain(stream, theirs.get());
  }
  bool is_there() const { return child_ > 0; }
  ~Drainer() {
    take_over();
    if (child_ > 0) left_behind().push_back(child_);
  }
  Drainer(const Drainer&) = delete;
  Drainer& operator=(const Drainer&) = delete;
  /// It takes over, and is waited for: QEMU has closed its end, or has gone.
  void finish() {
    lifeline_.reset();
    if (child_ > 0) waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  void take_over() { lifeline_.reset(); }

 private:
  /// Who may have something to read yet: the next one looks after them. One thread at a time.
  static std::vector<pid_t>& left_behind() {
    static std::vector<pid_t> children;
    return children;
  }
  /// In the child of a process with threads: system calls only.
  [[noreturn]] static void drain(int stream, int lifeline) {
    setsid();
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    // The two lowest numbers: there may be few of them.
    if (lifeline == 0) lifeline = dup(lifeline);
    dup2(stream, 0);
    dup2(lifeline, 1);
    stream = 0;
    lifeline = 1;
    close_range(2, ~0U, 0);  // the other end of the lifeline, too
    char bytes[1 << 16];
    while (read(lifeline, bytes, sizeof bytes) < 0 && errno == EINTR) {
    }
    ssize_t got = 0;
    do got = read(stream, bytes, sizeof bytes);
    while (got > 0 || (got < 0 && errno == EINTR));
    _exit(0);
  }

  pid_t child_ = -1;
  base::UniqueFd lifeline_;
};

struct MigrationEnd {
  std::string status, why;
};

/// The migration has written all, or failed: waits until QEMU has also put it away.
QmpResult<MigrationEnd> wait_for_end(Qmp& qmp) {
  constexpr std::chrono::milliseconds kStep{5}, kPatience{3'600'000};
  for (std::chrono::milliseconds waited{0}; waited < kPatience; waited += kStep) {
    const auto answer = qmp.execute("query-migrate");
    if (!answer) return std::unexpected(answer.error());
    const json::Object* facts = answer->getAsObject();
    MigrationEnd end;
    if (facts) end.status = facts->getString("status").value_or("").str();
    if (facts) end.why = facts->getString("error-desc").value_or("").str();
    if (end.status == "completed" || end.status == "failed" || end.status == "cancelled") return end;
    std::this_thread::sleep_for(kStep);
  }
  return std::unexpected(QmpError{Kind::deadline, "QEMU does not end its background-snapshot"});
}

/// QEMU's own pause, by its events.
class PauseOfQemu {
 public:
  /// Before it begins.
  explicit PauseOfQemu(const Qmp& qmp) : stops_(qmp.events_waiting("STOP")), resumes_(qmp.events_waiting("RESUME")) {}

  /// QEMU 7.2 leaves the guest stopped when it fails between its own stop and start. A guest that has gone on since was
  /// stopped by somebody else.
  void let_run(Qmp& qmp) const {
    const auto answer = qmp.execute("query-status");
    const json::Object* facts = answer ? answer->getAsObject() : nullptr;
    if (qmp.events_waiting("RESUME") > resumes_) return;
    if (facts && facts->getString("status").value_or("") == "paused") (void)qmp.execute("cont");
  }
  std::chrono::nanoseconds duration(const Qmp& qmp) const {
    const auto stopped = qmp.event_after("STOP", stops_), resumed = qmp.event_after("RESUME", resumes_);
    return stopped && resumed && resumed->time > stopped->time ? resumed->time - stopped->time
                                                               : std::chrono::nanoseconds(0);
  }

 private:
  size_t stops_, resumes_;
};

/// While it exists nothing interrupts QMP.
class Uninterrupted {
 public:
  Uninterrupted(Qmp& qmp, int interrupt) : qmp_(qmp), interrupt_(interrupt) { qmp_.set_interrupt(-1); }
  ~Uninterrupted() { qmp_.set_interrupt(interrupt_); }
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;

 private:
  Qmp& qmp_;
  int interrupt_;
};

QmpResult<void> start_migration(Qmp& qmp, int write_end) {
  if (auto given = qmp.execute("getfd", json::Object{{"fdname", kFdName}}, Qmp::kTimeout, write_end); !given)
    return std::unexpected(given.error());
  auto started = qmp.execute("migrate", json::Object{{"uri", std::string("fd:") + kFdName}});
  if (started) return {};
  if (started.error().kind == Kind::refused) (void)qmp.execute("closefd", json::Object{{"fdname", kFdName}});
  return std::unexpected(started.error());
}

}  // namespace

QmpResult<Snapshot> take_snapshot(Qmp& qmp, const SnapshotPlace& place, int give_up) {
  if (!qmp.passes_descriptors()) return refused("QMP is on TCP, by which no descriptor can be handed to QEMU");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(QmpError{Kind::unavailable, std::strerror(errno)});
  base::UniqueFd read_end(ends[0]), write_end(ends[1]);
  fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
  // What is changed is put back, too; the stream's end is what is waited for long.
  const Uninterrupted uninterrupted(qmp, give_up);
  MigrationSetup setup(qmp);
  if (auto begun = setup.begin(); !begun) return std::unexpected(begun.error());
  Drainer drainer(read_end.get());
  if (!drainer.is_there()) return std::unexpected(QmpError{Kind::unavailable, std::strerror(errno)});
  const PauseOfQemu pause(qmp);
  if (auto started = start_migration(qmp, write_end.get()); !started) return std::unexpected(started.error());
  write_end.reset();

  PlacedMemory memory(place);
  reader::SavedGuest guest;
  const Pipe pipe(read_end.get(), give_up);
  Expected<void> saved =
      reader::read_qemu_stream({[&](std::span<std::byte> bytes) { return pipe.read(bytes); }}, memory, guest);
  if (saved)
    if (auto flushed = memory.flush(); !flushed) saved = std::unexpected(flushed.error());
  drainer.take_over();  // of what is not wanted any more
  read_end.reset();
  const auto end = wait_for_end(qmp);
  if (end) drainer.finish();
  pause.let_run(qmp);
  (void)qmp.receive();
  if (!end) return std::unexpected(end.error());
  if (end->status != "completed" && saved) return refused("background-snapshot " + end->status + ": " + end->why);
  if (!saved) {
    const Kind kind = saved.error().kind == reader::Error::Kind::unsupported ? Kind::refused : Kind::unavailable;
    return std::unexpected(QmpError{kind, saved.error().text + (end->why.empty() ? "" : "; QEMU says: " + end->why)});
  }
  Snapshot snapshot{std::move(memory.scratch), {}, std::move(guest), pause.duration(qmp)};
  uint64_t at = place.start;
  for (const RamRegion& region : place.regions) {
    snapshot.ranges.push_back({.address = region.address,
                               .size = region.size,
                               .fd = snapshot.scratch ? snapshot.scratch.get() : place.file,
                               .fd_offset = at,
                               .is_copy = true});
    at += region.size;
  }
  return snapshot;
}

}  // namespace gcore::tools::qemu
