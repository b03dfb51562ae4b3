// `monitor info ...`: the forms that QEMU's monitor has, in its layout, because scripts read them.
// Registers are in monitor_registers.cc.
#include <fmt/format.h>

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

std::string access(const Mapping& mapping) {
  return fmt::format("{}{}{}", mapping.user ? 'u' : '-', mapping.read ? 'r' : '-', mapping.write ? 'w' : '-');
}

/// A list is empty because nothing is mapped, or because of what the note says.
std::string list_text(const std::string& list, std::string_view note) {
  return (list.empty() && note.empty() ? "nothing is mapped\n" : list) + note_line(note);
}

/// Runs with the same rights are one line.
MonitorResult mem_info(Client& client, std::span<const std::string>) {
  std::string text;
  std::optional<Mapping> run;
  const auto flush = [&] {
    if (run)
      text += fmt::format("{:016x}-{:016x} {:016x} {}\n", run->start, run->start + run->size, run->size, access(*run));
    run.reset();
  };
  const std::string note = client.target.mappings(client.monitor_space(), [&](const Mapping& mapping) {
    if (run && run->start + run->size == mapping.start && access(*run) == access(mapping)) {
      run->size += mapping.size;
      return true;
    }
    flush();
    run = mapping;
    if (text.size() <= kMaxMonitorText) return true;
    run.reset();
    text += "the list goes on; see monitor map START\n";
    return false;
  });
  flush();
  return list_text(text, note);
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
MonitorResult tlb_info(Client& client, std::span<const std::string>) {
  const bool x86 = client.target.arch() != Arch::aarch64;
  std::string text;
  const std::string note = client.target.mappings(client.monitor_space(), [&](const Mapping& mapping) {
    const uint64_t page = mapping.page_size == 0 ? mapping.size : mapping.page_size;
    for (uint64_t at = 0; at < mapping.size; at += page) {
      if (text.size() > kMaxMonitorText) {
        text += "the list goes on; see monitor map START\n";
        return false;
      }
      text += fmt::format("{:016x}: {:016x} {}\n", mapping.start + at, mapping.physical + at,
                          x86 && mapping.page_size != 0 ? page_attributes(client, mapping.start + at)
                                                        : access(mapping) + (mapping.execute ? 'x' : '-'));
      if (mapping.size - at <= page) break;
    }
    return true;
  });
  return list_text(text, note);
}

MonitorResult mtree_info(Client& client, std::span<const std::string>) {
  std::string text =
      "FlatView #0\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n Root memory region: system\n";
  for (const Segment& segment : client.target.segments()) {
    text +=
        fmt::format("  {:016x}-{:016x} (prio 0, ram): ram\n", segment.address, segment.address + (segment.size - 1));
    if (text.size() > kMaxMonitorText) return text + "the list goes on\n";
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
    {"registers", "", "", registers_info}, {"mem", "", "", mem_info},     {"tlb", "", "", tlb_info},
    {"version", "", "", version_info},     {"mtree", "", "", mtree_info}, {"cpus", "", "", cpus_info},
    {"status", "", "", status_info},
};

std::string hint_text(const Client& client) {
  const std::string hint = missing_file_hint(client.target, client.options.exec_file);
  return hint.empty() ? "" : hint + "\n";
}

}  // namespace

MonitorResult monitor_info(Client& client, std::span<const std::string> words) {
  if (words.empty()) return client.target.summary() + hint_text(client) + space_text(client);
  for (const MonitorCommand& topic : kTopics)
    if (topic.name == words[0]) return topic.run(client, words.subspan(1));
  return std::unexpected(fmt::format(
      "there is no \"{}\": say registers, mem, tlb, mtree -f, version, cpus, status, or nothing", words[0]));
}

}  // namespace gcore::gdbstub
