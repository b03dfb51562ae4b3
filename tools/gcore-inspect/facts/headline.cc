#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <initializer_list>
#include <iterator>
#include <utility>

#include "tools/gcore-inspect/facts/guest.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {
namespace {

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
  if (kind == "api") return detail.empty() ? "at the VMM's request" : "on request (" + detail + ")";
  return detail.empty() ? kind : kind + " " + detail;
}

std::string join(std::initializer_list<std::string> parts) {
  std::string text;
  for (const std::string& part : parts)
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string file_fact(const reader::Dump& dump) {
  const std::string_view kind = dump.compression();
  const bool whole = kind == "gzip" || kind == "zstd";
  const std::string format = dump.foreign_format().empty() ? fmt::format("{} dialect", dialect_name(dump.dialect()))
                                                           : std::string(dump.foreign_format());
  return fmt::format("{} ({} bytes{}), {}, {}", human_size(dump.file_size()), dump.file_size(),
                     whole ? " unpacked" : "", format,
                     whole                 ? fmt::format("compressed with {}", kind)
                     : kind == "snappy"    ? "compressed with snappy"
                     : kind == "kdump"     ? "kdump-compressed"
                     : kind == "flattened" ? "flattened"
                                           : "not compressed");
}

std::string machine_fact(const reader::Dump& dump) {
  std::string text = fmt::format("{}, {}, {} of memory", format::machine_name(dump.machine()),
                                 counted(dump.cpus().size(), "vCPU", "vCPUs"), human_size(dump.memory_bytes()));
  const bool big = dump.byte_order() == format::ByteOrder::big;
  if (!dump.is_64_bit() || big)
    text += fmt::format(" (ELF{}, {}-endian)", dump.is_64_bit() ? 64 : 32, big ? "big" : "little");
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> headline(const reader::Guest& guest) {
  const reader::Dump& dump = guest.dump();
  const reader::DumpInfo& info = dump.info();
  const auto requested = info.requested_ns, paused = info.pause_ns;
  const std::string pause = paused ? fmt::format("guest paused {:.1f} ms", static_cast<double>(*paused) / 1e6) : "";
  std::vector<std::pair<std::string, std::string>> facts = {
      {"file", file_fact(dump)},
      {"machine", machine_fact(dump)},
      {"VM", printable(info.vm.empty() ? dump.foreign_name() : info.vm)},
      {"taken", join({requested ? local_time(*requested / 1000000000) : "", reason(info), pause})},
      {"by", writer_fact(dump)},
  };
  for (const std::string& notice : dump.notices()) facts.emplace_back("note", notice);
  for (auto& fact : guest_facts(guest)) facts.push_back(std::move(fact));
  if (dump.signal() != 0)
    facts.emplace_back("signal", fmt::format("{}, on vCPU {}", signal_name(dump.signal()), dump.faulting_cpu()));
  std::erase_if(facts, [](const auto& fact) { return fact.second.empty(); });
  return facts;
}

}  // namespace gcore::tools::inspect
