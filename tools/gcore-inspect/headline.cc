#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <initializer_list>
#include <iterator>

#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

/// Value of a KEY=value line of VMCOREINFO.
std::string vmcoreinfo_value(std::string_view text, std::string_view key) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=')
      return printable(line.substr(key.size() + 1));
    at = end + 1;
  }
  return "";
}

/// "6 (SIGABRT)"; the numbers are the same in QNX and Linux up to 15.
std::string signal_name(unsigned number) {
  constexpr const char* kNames[] = {"",        "SIGHUP",  "SIGINT",  "SIGQUIT", "SIGILL", "SIGTRAP",
                                    "SIGABRT", "",        "SIGFPE",  "SIGKILL", "",       "SIGSEGV",
                                    "",        "SIGPIPE", "SIGALRM", "SIGTERM"};
  if (number >= std::size(kNames) || *kNames[number] == '\0') return std::to_string(number);
  return fmt::format("{} ({})", number, kNames[number]);
}

/// Seconds since 1970 as local time, with its zone.
std::string local_time(uint64_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  tm parts{};
  char text[64];
  if (localtime_r(&time, &parts) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &parts) == 0)
    return "";
  return text;
}

/// Why the dump was taken, as its writer recorded it.
std::string reason(const reader::DumpInfo& info) {
  const std::string kind = printable(info.reason_kind), detail = printable(info.reason_detail);
  if (kind.empty()) return detail;
  if (kind == "api") return detail.empty() ? "at the VMM's request" : detail;
  return detail.empty() ? kind : kind + " " + detail;
}

std::string join(std::initializer_list<std::string> parts) {
  std::string text;
  for (const std::string& part : parts)
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string file_fact(const reader::Dump& dump) {
  const bool packed = dump.compression() != "none";
  return fmt::format("{} ({} bytes{}), {} dialect, {}", human_size(dump.file_size()), dump.file_size(),
                     packed ? " unpacked" : "", dialect_name(dump.dialect()),
                     packed ? fmt::format("compressed with {}", dump.compression()) : "not compressed");
}

std::string machine_fact(const reader::Dump& dump) {
  std::string text = fmt::format("{}, {}, {} of memory", machine_name(dump.machine()),
                                 counted(dump.cpus().size(), "vCPU", "vCPUs"), human_size(dump.memory_bytes()));
  const bool big = dump.byte_order() == format::ByteOrder::big;
  if (!dump.is_64_bit() || big)
    text += fmt::format(" (ELF{}, {}-endian)", dump.is_64_bit() ? 64 : 32, big ? "big" : "little");
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> headline(const reader::Dump& dump) {
  const reader::DumpInfo& info = dump.info();
  const std::string host = printable(info.host), release = vmcoreinfo_value(dump.vmcoreinfo(), "OSRELEASE");
  const auto requested = info.requested_ns, paused = info.pause_ns;
  const std::string pause = paused ? fmt::format("guest paused {:.1f} ms", static_cast<double>(*paused) / 1e6) : "";
  std::vector<std::pair<std::string, std::string>> facts = {
      {"file", file_fact(dump)},
      {"machine", machine_fact(dump)},
      {"VM", printable(info.vm)},
      {"taken", join({requested ? local_time(*requested / 1000000000) : "", reason(info), pause})},
      {"by", join({printable(info.program), printable(info.writer), host.empty() ? "" : "on " + host})},
      {"guest", release.empty() ? "" : "Linux " + release},
      {"signal",
       dump.signal() == 0 ? "" : fmt::format("{}, on vCPU {}", signal_name(dump.signal()), dump.faulting_cpu())},
  };
  std::erase_if(facts, [](const auto& fact) { return fact.second.empty(); });
  return facts;
}

}  // namespace gcore::tools::inspect
