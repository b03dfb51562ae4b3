#include "writer/info.h"

#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "writer/notes.h"
#include "writer/utf8.h"

#ifndef GCORE_VERSION
#define GCORE_VERSION "unknown"
#endif

namespace gcore::writer {
namespace {

constexpr size_t kUnavailableLimit = 6000, kLeftOutLimit = 1000, kSourceDefectsLimit = 2000;
// What everything but the list of missing ranges takes at most: four texts, two lists, and all the rest, which has been
// counted generously. So that list may be empty, and nothing is ever cut in two.
constexpr size_t kRestLimit = 2500;
static_assert(4 * (kLongestText + 2) + kUnavailableLimit + kLeftOutLimit + kSourceDefectsLimit + kRestLimit <=
              kInfoSize);

std::string quoted(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const auto code = static_cast<unsigned char>(text.front());
    std::string character(text.substr(0, std::max<size_t>(length, 1)));
    if (code == '"' || code == '\\') character.insert(0, 1, '\\');
    if (length == 0 || code < ' ' || code == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", code);
      character = escape;
    }
    if (result.size() + character.size() > kLongestText + 1) break;
    result += character;
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result + '"';
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "\"0x%" PRIx64 "\"", value);
  return text;
}

const char* consistency_name(Consistency consistency) {
  switch (consistency) {
    case Consistency::paused:
      return "paused";
    case Consistency::snapshot:
      return "snapshot";
    case Consistency::torn:
      return "torn";
  }
  return "unknown";
}

// What of the registers that its notes have room for the VMM did not set, for each vCPU in turn.
class Unavailable {
 public:
  Unavailable(const GuestState& state, Dialect dialect) : dialect_(dialect), of_qnx_(qnx_registers(state)) {}

  RegisterSet of(const CpuState& cpu) {
    RegisterSet set = dialect_ == Dialect::qnx ? of_qnx_ : of_vmcore(cpu);
    for (size_t slot = 0; slot < set.size(); ++slot)
      if (set[slot] && cpu.registers.get_slot(slot)) set.reset(slot);
    return set;
  }

 private:
  // Two kinds at most: with vector registers and without.
  const RegisterSet& of_vmcore(const CpuState& cpu) {
    auto& kind = of_vmcore_[cpu.registers.get("v0.lo").has_value() ? 1 : 0];
    if (!kind) kind = vmcore_registers(cpu);
    return *kind;
  }

  Dialect dialect_;
  RegisterSet of_qnx_;
  std::optional<RegisterSet> of_vmcore_[2];
};

// The registers for which the notes hold a 0 that the VMM did not supply. Neighbours that lack the same share an entry.
std::string unavailable(const GuestState& state, Dialect dialect) {
  const auto all = format::registers(state.machine);
  Unavailable registers(state, dialect);
  std::string list;
  size_t vcpus = 0;
  bool is_full = false;
  for (size_t first = 0, end = 0; first < state.cpus.size(); first = end) {
    const RegisterSet set = registers.of(state.cpus[first]);
    const size_t index = state.cpus[first].index;
    for (end = first + 1; end < state.cpus.size(); ++end)
      if (state.cpus[end].index != index + (end - first) || registers.of(state.cpus[end]) != set) break;
    if (set.none()) continue;
    vcpus += end - first;
    std::string entry = "{\"vcpu\": " + std::to_string(index);
    if (end - first > 1) entry += ", \"to\": " + std::to_string(index + (end - first) - 1);
    entry += ", \"registers\": \"";
    for (size_t slot = 0, names = 0; slot < all.size(); ++slot)
      if (set[slot]) entry.append(names++ == 0 ? 0 : 1, ' ').append(all[slot].name);
    entry += "\"}";
    is_full = is_full || list.size() + entry.size() + 2 > kUnavailableLimit;
    if (!is_full) list += (list.empty() ? "" : ", ") + entry;
  }
  return "\"unavailable_vcpus\": " + std::to_string(vcpus) + ", \"unavailable\": [" + list + "]";
}

std::string left_out(const GuestState& state) {
  std::string list;
  for (const size_t index : state.cpus_left_out) {
    const std::string entry = (list.empty() ? "" : ", ") + std::to_string(index);
    if (list.size() + entry.size() > kLeftOutLimit) break;
    list += entry;
  }
  return "[" + list + "]";
}

// The first of them, where there are many: the count tells.
std::string source_defects(const std::vector<std::string>& defects) {
  std::string list;
  for (const std::string& defect : defects) {
    const std::string entry = (list.empty() ? "" : ", ") + quoted(defect);
    if (list.size() + entry.size() > kSourceDefectsLimit) break;
    list += entry;
  }
  return "\"source_defects\": [" + list + "], \"source_defects_count\": " + std::to_string(defects.size()) + ", ";
}

std::string host_name() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return {};
  return name;
}

}  // namespace

const char* kind_name(Reason::Kind kind) {
  switch (kind) {
    case Reason::Kind::api:
      return "api";
    case Reason::Kind::signal:
      return "signal";
    case Reason::Kind::watchdog:
      return "watchdog";
    case Reason::Kind::panic:
      return "panic";
  }
  return "unknown";
}

std::string info_json(const Info& info, const GuestState& state) {
  const auto number = [](auto value) { return std::to_string(value); };
  std::string json = "{\"format\": 1, \"program\": " + quoted(info.program);
  json += ", \"writer\": \"gcore " GCORE_VERSION "\", \"vm\": " + quoted(info.vm);
  json += ", \"host\": " + quoted(host_name());
  json += std::string(", \"machine\": \"") + format::machine_name(state.machine) + "\", \"dialect\": \"";
  json += info.dialect == Dialect::qnx ? "qnx" : "vmcore";
  json += "\", ";
  if (const auto requested = info.taken.requested) json += "\"requested_ns\": " + number(requested->count()) + ", ";
  json += "\"reason\": {";
  if (info.taken.has_reason)
    json += std::string("\"kind\": \"") + kind_name(info.reason.kind) +
            "\", \"detail\": " + quoted(info.reason.detail) + ", ";
  json += "\"signal\": " + number(info.reason.signal) + ", \"cpu\": " + number(info.reason.cpu) + "}, ";
  if (const auto paused = info.taken.paused) json += "\"pause_ns\": " + number(paused->count()) + ", ";
  if (info.taken.consistency)
    json += std::string("\"consistency\": \"") + consistency_name(*info.taken.consistency) + "\", ";
  if (!info.taken.defects.empty()) json += source_defects(info.taken.defects);
  json += "\"complete\": " + std::string(info.complete ? "true" : "false");
  json += ", \"pages\": {\"size\": 4096, \"written\": " + number(info.pages.written);
  json += ", \"zero\": " + number(info.pages.zero) + ", \"absent\": " + number(info.pages.absent);
  json += ", \"missing\": " + number(info.pages.missing) + "}, \"vcpus\": {\"count\": ";
  json += number(state.cpus.size() + state.cpus_left_out.size()) + ", \"left_out\": " + left_out(state);
  if (info.dialect == Dialect::vmcore && state.has_thread_ids()) json += ", \"pr_pid\": \"threads\"";
  json += "}, " + unavailable(state, info.dialect);
  json += ", \"missing_ranges\": " + number(info.missing_ranges) + ", \"missing\": [";

  constexpr size_t kEnd = 4;  // "]}", at least one blank, and the newline
  const char* separator = "";
  for (const auto& [address, size] : info.missing) {
    const std::string entry = separator + ("[" + hex(address) + ", " + hex(size)) + "]";
    if (json.size() + entry.size() + kEnd > kInfoSize) break;
    json += entry;
    separator = ", ";
  }
  json += "]}";
  json.resize(kInfoSize - 1, ' ');
  return json + '\n';
}

}  // namespace gcore::writer
