// An existing dump as a guest that the writer can dump again.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reader/dump/dump.h"
#include "reader/guest/guest.h"
#include "writer/dump.h"

namespace gcore::tools::convert {

/// A range of guest-physical memory that is to be kept; whole pages.
struct ChosenRange {
  uint64_t first, last;  // both are in it
};

/// A dump and, where its memory can be read from there, its file.
class DumpGuest : public writer::Guest {
 public:
  /// `fd` is the dump's own file, or -1 for one that is compressed or comes from a pipe: memory is then read through
  /// `dump`. Both must outlive the guest. `chosen`: only this memory, ascending and apart from each other; empty: all.
  DumpGuest(const reader::Dump& dump, int fd, std::vector<ChosenRange> chosen = {});

  std::string_view name() override { return name_; }
  format::Machine machine() override { return dump_.machine(); }
  writer::Status pause() override { return {}; }
  void resume() override {}
  size_t cpu_count() override { return cpus_.size(); }
  size_t cpu_number(size_t index) override { return cpus_[index].first; }
  bool read_cpu(size_t index, format::RegisterFile& registers) override;
  std::vector<writer::MemoryRange> memory() override { return ranges_; }
  size_t read_memory(uint64_t address, void* to, size_t size) override;
  Stretch known_memory(uint64_t address, uint64_t limit) override;
  std::string_view process_name(size_t cpu) override { return cpus_[cpu].second->process_name; }
  /// As the dump has it in a note, else as it was found in guest memory.
  std::string_view vmcoreinfo() override { return guest_.system().vmcoreinfo; }

  /// Called when memory cannot be read because the place where the dump is fails, or (`also_damage`) because it cannot
  /// be unpacked: the new dump would lack it.
  void on_trouble(std::function<void()> call, bool also_damage = false) {
    on_trouble_ = std::move(call);
    also_damage_ = also_damage;
  }

  /// What was wrong with the dump as its memory was read, one sentence each; thread-safe. It is recorded in the new
  /// dump, too.
  std::vector<std::string> found_meanwhile() const;

  std::optional<uint32_t> thread_id(size_t cpu) override {
    return thread_ids_.empty() ? std::nullopt : thread_ids_[cpu];
  }

  /// Looks for the threads of a Linux guest that run on its vCPUs, for thread_id().
  void find_running_threads();

  /// Why the dump was taken, if it says so itself (taken().has_reason), and for which signal on which vCPU.
  const writer::Reason& reason() const { return reason_; }
  /// What it says of how it was taken.
  const writer::EarlierDump& taken() const { return taken_; }
  /// The program that took it, "" when it does not say.
  const std::string& program() const { return program_; }
  /// What becomes different about memory: segments that are not whole pages. One sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  void collect_cpus();
  void collect_ranges(int fd);
  void choose_ranges();
  void read_info();
  void note_unread(uint64_t address, reader::Missing why);

  const reader::Dump& dump_;
  reader::Guest guest_{dump_};
  const std::vector<ChosenRange> chosen_;
  std::vector<std::pair<size_t, const reader::Cpu*>> cpus_;  // by number; nullptr: the dump's writer left it out
  std::function<void()> on_trouble_;
  bool also_damage_ = false;
  mutable std::mutex mutex_;                          // of what follows
  std::map<reader::Missing, uint64_t> first_unread_;  // what memory could not be read for, and where that was first
  std::vector<std::optional<uint32_t>> thread_ids_;   // as cpus_; empty: not known
  std::string name_, program_;
  writer::Reason reason_;
  writer::EarlierDump taken_;
  std::vector<writer::MemoryRange> ranges_;
  std::vector<std::string> notes_;
};

/// What `dialect` has no place for, of what the dump says. One sentence each. Found out by writing the notes in that
/// dialect and reading them again, so it needs a directory for a small temporary file.
reader::Expected<std::vector<std::string>> losses(const reader::Dump& dump, writer::Dialect dialect);

}  // namespace gcore::tools::convert
