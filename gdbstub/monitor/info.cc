// `monitor info ...`: the forms that QEMU's monitor has, in its layout, because scripts read them.
// Registers are in monitor_registers.cc.
#include <fmt/format.h>

#include <algorithm>

#include "gdbstub/monitor/monitor.h"

namespace gcore::gdbstub {
namespace {

/// -a, as in QEMU, is all vCPUs.
MonitorResult registers_info(Client& client, std::span<const std::string> words) {
  if (words.empty()) return registers_text(client, client.monitor_cpu());
  if (words.size() > 1 || words[0] != "-a") return std::unexpected("say info registers, or with -a for every vCPU");
  std::string text;
  for (size_t cpu = 0; cpu < client.target.cpu_count(); ++cpu) {
    if (text.size() > kMaxMonitorText) return text + fmt::format("the list goes on; see monitor cpu {}\n", cpu);
    text += registers_text(client, cpu);
  }
  return text;
}

/// What QEMU says of a guest that stands still.
MonitorResult status_info(Client&, std::span<const std::string>) { return "VM status: paused\n"; }

MonitorResult version_info(Client& client, std::span<const std::string>) { return client.options.program + "\n"; }

constexpr char kNoPaging[] = "PG disabled\n";

bool is_unpaged(const Client& client) {
  constexpr uint64_t kPaging = uint64_t{1} << 31;  // CR0.PG
  const auto control = client.register_value(client.monitor_cpu(), "cr0");
  return client.target.arch() != Arch::aarch64 && !client.root && control && (*control & kPaging) == 0;
}

std::string access(const Mapping& mapping) {
  return fmt::format("{}{}{}", mapping.user ? 'u' : '-', mapping.read ? 'r' : '-', mapping.write ? 'w' : '-');
}

/// Runs with the same rights are one line. Lines, and nothing else: scripts take each apart. What they leave out is
/// said where there are none, and by `monitor map`.
class MemText : public MappingText {
 public:
  explicit MemText(const Client& client) {
    constexpr uint64_t kFiveLevels = 1 << 12;  // CR4.LA57
    if (client.target.arch() != Arch::x86_64) return;
    const uint64_t control = client.register_value(client.monitor_cpu(), "cr4").value_or(0);
    address_bits_ = (control & kFiveLevels) != 0 ? 57 : 48;
  }
  bool add(const Mapping& mapping) override {
    if (run_ && run_->start + run_->size == mapping.start && access(*run_) == access(mapping)) {
      run_->size += mapping.size;
      return true;
    }
    flush();
    run_ = mapping;
    return text_.size() <= kMaxScriptText;
  }
  std::string finish(const std::string& note) override {
    flush();
    return text_.empty() ? note_line(note) : std::move(text_);
  }

 private:
  void flush() {
    if (!run_) return;
    text_ += fmt::format("{:016x}-{:016x} {:016x} {}\n", run_->start, shown_end(run_->start, run_->size), run_->size,
                         access(*run_));
    run_.reset();
  }
  /// QEMU counts in what tables translate, and extends the sign: after the last page no 0 stands, but the bit above.
  uint64_t shown_end(uint64_t start, uint64_t size) const {
    if (address_bits_ == 64) return start + size;
    const uint64_t limit = uint64_t{1} << address_bits_, end = (start & (limit - 1)) + size;
    return (end & limit >> 1) != 0 ? end | -limit : end;
  }

  unsigned address_bits_ = 64;
  std::string text_;
  std::optional<Mapping> run_;
};

MonitorResult mem_info(Client& client, std::span<const std::string>) {
  if (is_unpaged(client)) return kNoPaging;
  return list_mappings(client, std::make_unique<MemText>(client));
}

/// A page's attributes as its table entry has them: no-execute, global, large, dirty, accessed, cache disabled,
/// write-through, user, writable. QEMU's P is bit 7, also of a last-level entry, where it is a part of the memory type.
std::string page_attributes(const Client& client, uint64_t address) {
  constexpr std::pair<char, unsigned> kBits[] = {{'X', 63}, {'G', 8}, {'P', 7}, {'D', 6}, {'A', 5},
                                                 {'C', 4},  {'T', 3}, {'U', 2}, {'W', 1}};
  const Walk walk = client.target.walk(client.monitor_space(), address);
  const auto entry = walk.steps.empty() ? std::nullopt : walk.steps.back().entry;
  std::string text;
  for (const auto& [letter, bit] : kBits) {
    text += !entry ? '?' : (*entry >> bit & 1) != 0 ? letter : '-';
  }
  return text;
}

/// QEMU has this for x86 alone; other machines' pages are shown with what may be done with them.
class TlbText : public MappingText {
 public:
  explicit TlbText(const Client& client) : client_(client), x86_(client.target.arch() != Arch::aarch64) {}
  bool add(const Mapping& mapping) override {
    const uint64_t page = mapping.page_size == 0 ? mapping.size : mapping.page_size;
    for (uint64_t at = 0; at < mapping.size; at += page) {
      if (text_.size() > kMaxScriptText) return false;
      text_ += fmt::format("{:016x}: {:016x} {}\n", mapping.start + at, mapping.physical + at,
                           x86_ && mapping.page_size != 0 ? page_attributes(client_, mapping.start + at)
                                                          : access(mapping) + (mapping.execute ? 'x' : '-'));
      if (mapping.size - at <= page) break;
    }
    return true;
  }
  std::string finish(const std::string& note) override { return text_.empty() ? note_line(note) : std::move(text_); }

 private:
  const Client& client_;
  bool x86_;
  std::string text_;
};

MonitorResult tlb_info(Client& client, std::span<const std::string>) {
  if (is_unpaged(client)) return kNoPaging;
  return list_mappings(client, std::make_unique<TlbText>(client));
}

MonitorResult mtree_info(Client& client, std::span<const std::string>) {
  std::string text =
      "FlatView #0\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n Root memory region: system\n";
  for (const Segment& segment : client.target.segments()) {
    text +=
        fmt::format("  {:016x}-{:016x} (prio 0, ram): ram\n", segment.address, segment.address + (segment.size - 1));
    if (text.size() > kMaxScriptText) break;
  }
  return text;
}

MonitorResult cpus_info(Client& client, std::span<const std::string>) {
  std::string text;
  for (size_t cpu = 0; cpu < client.target.cpu_count(); ++cpu) {
    const std::string details = client.target.cpu_details(cpu);
    text += fmt::format("{} thread {}: {}{}{}\n", cpu == client.monitor_cpu() ? '*' : ' ', cpu + 1,
                        client.target.cpu_name(cpu), details.empty() ? "" : ", ", details);
  }
  return text;
}

constexpr MonitorCommand kTopics[] = {
    {"registers", "", "", registers_info, Asks::nothing},
    {"mem", "", "", mem_info},
    {"tlb", "", "", tlb_info},
    {"version", "", "", version_info, Asks::nothing},
    {"mtree", "", "", mtree_info, Asks::nothing},
    {"cpus", "", "", cpus_info, Asks::nothing},
    {"status", "", "", status_info, Asks::nothing},
};

std::string hint_text(const Client& client) {
  const std::string remarks = client.options.made_file != nullptr ? client.options.made_file->remarks() : "";
  if (client.took_made_file) return remarks;
  const std::string hint = missing_file_hint(client.target, client.options.exec_file);
  return remarks + (hint.empty() ? "" : hint + "\n") + moved_symbols_advice(client.target, client.options.exec_file);
}

}  // namespace

Asks info_asks(std::span<const std::string> words) {
  if (words.empty()) return Asks::all;
  const auto found = std::ranges::find(kTopics, words[0], &MonitorCommand::name);
  return found == std::end(kTopics) ? Asks::nothing : found->asks;
}

MonitorResult monitor_info(Client& client, std::span<const std::string> words) {
  if (words.empty()) return client.target.summary() + hint_text(client) + space_text(client);
  for (const MonitorCommand& topic : kTopics)
    if (topic.name == words[0]) return topic.run(client, words.subspan(1));
  return std::unexpected(fmt::format(
      "there is no \"{}\": say registers, mem, tlb, mtree -f, version, cpus, status, or nothing", words[0]));
}

}  // namespace gcore::gdbstub
