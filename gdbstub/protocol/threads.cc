// Which vCPU is meant, and the lists of them: qXfer:threads for GDB, the other two forms for older clients and LLDB.
#include <fmt/format.h>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"

namespace gcore::gdbstub {
namespace {

constexpr size_t kThreadsPerReply = 256;

Reply select_thread(Client& client, std::string_view arguments) {
  if (arguments.empty()) return error(client, "H needs an operation and a thread");
  const auto cpu = parse_thread(client, arguments.substr(1), client.cpu);
  if (!cpu) return error(client, "no such thread");
  if (arguments[0] == 'g') client.cpu = *cpu;
  return ok();
}

Reply thread_alive(Client& client, std::string_view arguments) {
  return parse_thread(client, arguments, client.cpu) ? ok() : error(client, "no such thread");
}

Reply current_thread(Client& client, std::string_view) { return {"QC" + thread_id(client, client.cpu)}; }

Reply next_threads(Client& client, std::string_view) {
  if (client.listed_threads >= client.target.cpu_count()) return {"l"};
  std::string list = "m";
  for (size_t n = 0; n < kThreadsPerReply && client.listed_threads < client.target.cpu_count(); ++n) {
    if (n > 0) list += ',';
    list += thread_id(client, listed_cpu(client, client.listed_threads++));
  }
  return {list};
}

Reply first_threads(Client& client, std::string_view arguments) {
  client.listed_threads = 0;
  return next_threads(client, arguments);
}

std::string extra_info(const Client& client, size_t cpu) {
  const std::string details = client.target.cpu_details(cpu);
  return client.target.cpu_name(cpu) + (details.empty() ? "" : ", " + details);
}

Reply thread_extra_info(Client& client, std::string_view arguments) {
  if (arguments.empty()) return error(client, "no such thread");
  const auto cpu = parse_thread(client, arguments.substr(1), client.cpu);
  if (!cpu) return error(client, "no such thread");
  return {to_hex(printable(extra_info(client, *cpu)))};
}

std::string threads_json(const Client& client) {
  std::string json = "[";
  for (size_t i = 0; i < client.target.cpu_count(); ++i) {
    const size_t cpu = listed_cpu(client, i);
    const bool faulted = cpu == client.target.faulting_cpu() && client.target.signal() != 0;
    json += fmt::format("{}{{\"tid\":{},\"name\":{},\"reason\":\"{}\"{}}}", i == 0 ? "" : ",", cpu + 1,
                        json_string(client.target.cpu_name(cpu)), faulted ? "signal" : "none",
                        faulted ? fmt::format(",\"signal\":{}", client.target.signal()) : "");
  }
  return json + "]";
}

Reply threads_info(Client& client, std::string_view) { return {threads_json(client)}; }

constexpr NamedHandler kHandlers[] = {
    {"H", select_thread},           {"T", thread_alive},
    {"qC", current_thread},         {"qfThreadInfo", first_threads},
    {"qsThreadInfo", next_threads}, {"qThreadExtraInfo", thread_extra_info},
    {"jThreadsInfo", threads_info},
};

}  // namespace

std::span<const NamedHandler> thread_handlers() { return kHandlers; }

std::string thread_id(const Client& client, size_t cpu) {
  return (client.multiprocess ? "p1." : "") + hex_number(cpu + 1);
}

std::optional<size_t> parse_thread(const Client& client, std::string_view id, size_t any) {
  if (!id.empty() && id[0] == 'p') {
    const size_t dot = id.find('.');
    const std::string_view process = id.substr(1, dot == std::string_view::npos ? dot : dot - 1);
    if (process != "-1" && process != "0" && parse_hex(process) != 1) return std::nullopt;
    if (dot == std::string_view::npos) return any;
    id = id.substr(dot + 1);
  }
  if (id == "-1" || id == "0") return any;
  const auto thread = parse_hex(id);
  if (!thread || *thread == 0 || *thread > client.target.cpu_count()) return std::nullopt;
  return *thread - 1;
}

size_t listed_cpu(const Client& client, size_t position) {
  const size_t first = client.target.faulting_cpu();
  if (position == 0) return first;
  return position <= first ? position - 1 : position;
}

}  // namespace gcore::gdbstub
