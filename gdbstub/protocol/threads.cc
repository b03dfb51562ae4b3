// Which vCPU is meant, and the lists of them: qXfer:threads for GDB, the other two forms for older clients and LLDB.
#include <fmt/format.h>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"
#include "writer/base/text.h"

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
  const size_t count = client.thread_count();
  if (client.listed_threads >= count) return {"l"};
  std::string list = "m";
  for (size_t n = 0; n < kThreadsPerReply && client.listed_threads < count; ++n) {
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
  return {to_hex(base::printable(extra_info(client, *cpu), base::Printable::ascii_lines))};
}

std::string threads_json(const Client& client) {
  std::string json = "[";
  for (size_t i = 0; i < client.thread_count(); ++i) {
    const size_t cpu = listed_cpu(client, i);
    const bool faulted = cpu == client.target.faulting_cpu() && client.target.signal() != 0;
    json +=
        fmt::format("{}{{\"tid\":{},\"name\":{},\"reason\":\"{}\"{}}}", i == 0 ? "" : ",", thread_number(client, cpu),
                    json_string(client.target.cpu_name(cpu)), faulted ? "signal" : "none",
                    faulted ? fmt::format(",\"signal\":{}", client.target.signal()) : "");
  }
  return json + "]";
}

Reply threads_info(Client& client, std::string_view) { return {threads_json(client)}; }

constexpr NamedHandler kHandlers[] = {
    {"H", select_thread, Asks::threads},
    {"T", thread_alive, Asks::threads},
    {"qC", current_thread},
    {"qfThreadInfo", first_threads, Asks::threads},
    {"qsThreadInfo", next_threads, Asks::threads},
    {"qThreadExtraInfo", thread_extra_info, Asks::threads},
    {"jThreadsInfo", threads_info, Asks::threads},
};

}  // namespace

std::span<const NamedHandler> thread_handlers() { return kHandlers; }

std::string thread_id(const Client& client, size_t cpu) {
  return (client.multiprocess ? "p1." : "") + hex_number(thread_number(client, cpu));
}

uint64_t thread_number(const Client& client, size_t cpu) {
  const auto tasks = client.shown_tasks();
  const size_t task = cpu - client.target.cpu_count();
  return client.is_cpu(cpu) || task >= tasks.size() ? cpu + 1 : kFirstTaskId + tasks[task].number;
}

void show_tasks(Client& client, bool on) {
  client.tasks = on;
  client.threads_document.clear();
  if (on) client.target.want_threads();
  if (!on && !client.is_cpu(client.cpu)) client.cpu = client.target.faulting_cpu();
}

std::optional<size_t> parse_thread(Client& client, std::string_view id, size_t any) {
  if (!id.empty() && id[0] == 'p') {
    const size_t dot = id.find('.');
    const std::string_view process = id.substr(1, dot == std::string_view::npos ? dot : dot - 1);
    if (process != "-1" && process != "0" && parse_hex(process) != 1) return std::nullopt;
    if (dot == std::string_view::npos) return any;
    id = id.substr(dot + 1);
  }
  if (id == "-1" || id == "0") return any;
  const auto thread = parse_hex(id);
  if (!thread || *thread == 0) return std::nullopt;
  if (client.is_cpu(*thread - 1)) return *thread - 1;
  const auto tasks = client.shown_tasks();
  if (*thread <= kFirstTaskId || tasks.empty()) return std::nullopt;
  if (client.tasks_by_number.empty())
    for (size_t i = 0; i < tasks.size(); ++i) client.tasks_by_number.emplace(tasks[i].number, i);
  const auto found = client.tasks_by_number.find(*thread - kFirstTaskId);
  if (found == client.tasks_by_number.end()) return std::nullopt;
  return client.target.cpu_count() + found->second;
}

size_t listed_cpu(const Client& client, size_t position) {
  const size_t first = client.target.faulting_cpu();
  if (!client.is_cpu(position)) return position;
  if (position == 0) return first;
  return position <= first ? position - 1 : position;
}

}  // namespace gcore::gdbstub
