// `monitor info ...`: the forms that QEMU's monitor has, in its layout, because scripts read them.
#include <fmt/format.h>

#include <cctype>

#include "gdbstub/monitor.h"
#include "gdbstub/registers.h"

namespace gcore::gdbstub {
namespace {

std::string upper(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) out += static_cast<char>(std::toupper(c));
  return out;
}

/// NAME=VALUE, several a line; a register that the dump does not have is all question marks.
std::string registers_text(const Client& client, size_t cpu) {
  std::string text;
  size_t column = 0;
  const char* group = "";
  for (const Register& reg : register_set(client.target.arch()).all) {
    const auto low = client.register_value(cpu, reg.low);
    const auto high = reg.high[0] == 0 ? std::nullopt : client.register_value(cpu, reg.high);
    if (column > 0 && (std::string_view(group) != reg.group || column + 2 * reg.bytes > 90)) {
      text += '\n';
      column = 0;
    }
    group = reg.group;
    const size_t digits = 2 * size_t{reg.bytes};
    const uint64_t mask = reg.bytes >= 8 ? UINT64_MAX : (uint64_t{1} << (8 * reg.bytes)) - 1;
    std::string value(digits, '?');
    if (low && reg.high[0] == 0) value = fmt::format("{:0{}x}", *low >> reg.shift & mask, digits);
    if (low && high) value = fmt::format("{:0{}x}{:016x}", *high, digits - 16, *low);
    const std::string item = fmt::format("{}{}={}", column == 0 ? "" : " ", upper(reg.name), value);
    text += item;
    column += item.size();
  }
  return text + "\n";
}

/// -a, as in QEMU, is all vCPUs.
MonitorResult registers_info(Client& client, std::span<const std::string> words) {
  if (words.empty())
    return fmt::format("{}\n{}", client.target.cpu_name(client.cpu), registers_text(client, client.cpu));
  if (words.size() > 1 || words[0] != "-a") return std::unexpected("say info registers, or with -a for every vCPU");
  std::string text;
  for (size_t cpu = 0; cpu < client.target.cpu_count() && text.size() < kMaxMonitorText; ++cpu)
    text += fmt::format("\nCPU#{}\n{}", cpu, registers_text(client, cpu));
  return text;
}

/// What QEMU says of a guest that stands still.
MonitorResult status_info(Client&, std::span<const std::string>) { return "VM status: paused\n"; }

MonitorResult version_info(Client& client, std::span<const std::string>) { return client.options.program + "\n"; }

std::string access(const Mapping& mapping) {
  return fmt::format("{}{}{}", mapping.user ? 'u' : '-', mapping.read ? 'r' : '-', mapping.write ? 'w' : '-');
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
  client.target.mappings(client.space(), [&](const Mapping& mapping) {
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
  return text.empty() ? "nothing is mapped\n" : text;
}

MonitorResult tlb_info(Client& client, std::span<const std::string>) {
  std::string text;
  client.target.mappings(client.space(), [&](const Mapping& mapping) {
    const uint64_t page = mapping.page_size == 0 ? mapping.size : mapping.page_size;
    for (uint64_t at = 0; at < mapping.size; at += page) {
      if (text.size() > kMaxMonitorText) {
        text += "the list goes on; see monitor map START\n";
        return false;
      }
      text += fmt::format("{:016x}: {:016x} {}{}{}{}\n", mapping.start + at, mapping.physical + at,
                          mapping.execute ? '-' : 'X', page > 4096 ? 'P' : '-', mapping.user ? 'U' : '-',
                          mapping.write ? 'W' : '-');
      if (mapping.size - at <= page) break;
    }
    return true;
  });
  return text.empty() ? "nothing is mapped\n" : text;
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
    text += fmt::format("{} thread {}: {}{}{}\n", cpu == client.cpu ? '*' : ' ', cpu + 1, client.target.cpu_name(cpu),
                        details.empty() ? "" : ", ", details);
  }
  return text;
}

constexpr MonitorCommand kTopics[] = {
    {"registers", "", "", registers_info}, {"mem", "", "", mem_info},     {"tlb", "", "", tlb_info},
    {"version", "", "", version_info},     {"mtree", "", "", mtree_info}, {"cpus", "", "", cpus_info},
    {"status", "", "", status_info},
};

}  // namespace

MonitorResult monitor_info(Client& client, std::span<const std::string> words) {
  if (words.empty()) return client.target.summary() + client.target.describe(client.space()) + "\n";
  for (const MonitorCommand& topic : kTopics)
    if (topic.name == words[0]) return topic.run(client, words.subspan(1));
  return std::unexpected(fmt::format(
      "there is no \"{}\": say registers, mem, tlb, mtree -f, version, cpus, status, or nothing", words[0]));
}

}  // namespace gcore::gdbstub
