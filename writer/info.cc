#include "writer/info.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "writer/notes.h"

#ifndef GCORE_VERSION
#define GCORE_VERSION "unknown"
#endif

namespace gcore::writer {
namespace {

constexpr size_t kLongestString = 512, kUnavailableLimit = 6000;

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text.substr(0, kLongestString)) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') result += '\\';
    if (code >= ' ' && code < 0x7f) {
      result += c;
      continue;
    }
    char escape[8];  // bytes that may not be UTF-8 are taken as Latin-1, so that the object is always valid
    std::snprintf(escape, sizeof escape, "\\u%04x", code);
    result += escape;
  }
  return result + '"';
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "\"0x%" PRIx64 "\"", value);
  return text;
}

const char* machine_name(format::Machine machine) {
  switch (machine) {
    case format::Machine::x86:
      return "x86";
    case format::Machine::x86_64:
      return "x86_64";
    case format::Machine::aarch64:
      return "aarch64";
  }
  return "unknown";
}

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

// The registers for which the notes hold a 0 that the VMM did not supply.
std::string unavailable(const GuestState& state) {
  const auto all = format::registers(state.machine);
  const std::vector<size_t> extra = extra_registers(state);
  std::string list;
  for (const CpuState& cpu : state.cpus) {
    std::string names;
    const auto look_at = [&](size_t slot) {
      if (!cpu.registers.get_slot(slot)) names.append(names.empty() ? 0 : 1, ' ').append(all[slot].name);
    };
    for (size_t slot = 0; slot < all.size() && all[slot].core_offset >= 0; ++slot) look_at(slot);
    for (const size_t slot : extra) look_at(slot);
    if (names.empty()) continue;
    const std::string entry = "{\"vcpu\": " + std::to_string(cpu.index) + ", \"registers\": \"" + names + "\"}";
    if (list.size() + entry.size() > kUnavailableLimit) break;
    list += (list.empty() ? "" : ", ") + entry;
  }
  return "[" + list + "]";
}

std::string left_out(const GuestState& state) {
  std::string list;
  for (const size_t index : state.cpus_left_out) {
    if (list.size() > 1000) break;
    list += (list.empty() ? "" : ", ") + std::to_string(index);
  }
  return "[" + list + "]";
}

std::string host_name() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return {};
  return name;
}

}  // namespace

std::string info_json(const Info& info, const GuestState& state) {
  const auto number = [](auto value) { return std::to_string(value); };
  std::string json = "{\"format\": 1, \"program\": " + quoted(info.program);
  json += ", \"writer\": \"gcore " GCORE_VERSION "\", \"vm\": " + quoted(info.vm);
  json += ", \"host\": " + quoted(host_name());
  json += std::string(", \"machine\": \"") + machine_name(state.machine) + "\", \"dialect\": \"";
  json += info.dialect == Dialect::qnx ? "qnx" : "vmcore";
  json += "\", \"requested_ns\": " + number(info.requested.tv_sec * int64_t{1000000000} + info.requested.tv_nsec);
  json += std::string(", \"reason\": {\"kind\": \"") + kind_name(info.reason.kind) + "\", \"detail\": ";
  json += quoted(info.reason.detail) + ", \"signal\": " + number(info.reason.signal);
  json += ", \"cpu\": " + number(info.reason.cpu) + "}, \"pause_ns\": " + number(info.paused.count());
  json += ", \"consistency\": \"paused\", \"complete\": " + std::string(info.complete ? "true" : "false");
  json += ", \"pages\": {\"size\": 4096, \"written\": " + number(info.pages.written);
  json += ", \"zero\": " + number(info.pages.zero) + ", \"absent\": " + number(info.pages.absent);
  json += ", \"missing\": " + number(info.pages.missing) + "}, \"vcpus\": {\"count\": ";
  json += number(state.cpus.size() + state.cpus_left_out.size()) + ", \"left_out\": " + left_out(state);
  json += "}, \"unavailable\": " + unavailable(state);
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
