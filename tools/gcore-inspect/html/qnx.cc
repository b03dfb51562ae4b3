#include "tools/gcore-inspect/html/qnx.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

using reader::QnxTask;

// What is beyond is counted, and the text modes have it.
constexpr size_t kMaxThreads = 5000, kMaxLines = 5000;

void add_more(HtmlPage& page, size_t all, size_t shown, std::string_view mode) {
  if (all > shown) page.body += fmt::format("<p class=\"dim\">{} in all; {} shows them.</p>\n", all, mode);
}

struct Row {
  const QnxTask* task;
  const QnxTask::Thread* thread;  // nullptr: of a process without threads
};

std::string where(const Job& job, const QnxTask::Thread& thread) {
  const auto pc = program_counter(thread);
  const std::string name = symbol_name(job, pc);
  return !name.empty() ? name : pc ? fmt::format("{:#018x}", *pc) : "not known";
}

void add_row(HtmlPage& page, const Job& job, const Row& row, size_t stack) {
  const std::string vcpus = fmt::format("{}", fmt::join(vcpus_of(job, *row.task), ","));
  const auto cell = [&](const std::string& text) { page.body += "<td class=\"n\">" + escape(text) + "</td>"; };
  page.body += "<tr>";
  cell(std::to_string(row.task->process.pid));
  cell(vcpus);
  cell(row.thread != nullptr ? std::to_string(row.thread->id) : "");
  cell(row.task->root ? fmt::format("{:#x}", row.task->root->value) : "");
  page.body += "<td>" + escape(row.task->process.name) + "</td><td>";
  if (row.thread != nullptr)
    page.body += fmt::format("<details data-stack=\"{}\"><summary>{}</summary></details>", stack,
                             escape(where(job, *row.thread)));
  page.body += "</td></tr>\n";
}

void add_tasks(HtmlPage& page, const Job& job, json::OStream& data) {
  const auto& tasks = job.qnx_guest.tasks();
  page.section("tasks", "Processes");
  if (!tasks) {
    page.body += "<p class=\"dim\">" + escape(tasks.error().text) + "</p>\n";
    return;
  }
  std::vector<Row> rows;
  for (const QnxTask& task : tasks->list) {
    if (task.threads.empty()) rows.push_back({&task, nullptr});
    for (const QnxTask::Thread& thread : task.threads) rows.push_back({&task, &thread});
  }
  const size_t shown = std::min(rows.size(), kMaxThreads);
  data.attributeArray("stacks", [&] {
    for (size_t i = 0; i < shown; ++i) {
      json::Array lines;
      const Backtrace trace =
          rows[i].thread != nullptr ? backtrace_of(job, *rows[i].task, *rows[i].thread) : Backtrace{};
      for (const std::string& line : lines_of(trace)) lines.push_back(utf8(line));
      if (!trace.why.empty()) lines.push_back("no further: " + utf8(trace.why));
      data.value(std::move(lines));
    }
  });
  page.body += fmt::format(
      "<div class=\"tools\"><input id=\"task-filter\" type=\"search\" placeholder=\"name, PID or place\" "
      "aria-label=\"filter threads\"><span class=\"dim\" id=\"task-count\">{}, {}</span></div>\n"
      "<div class=\"scroll list\"><table class=\"tasks\" id=\"task-table\"><thead>",
      counted(tasks->list.size(), "process", "processes"), counted(rows.size(), "line", "lines"));
  page.row({"PID", "vCPU", "TID", "page tables", "name", "where"}, "th");
  page.body += "</thead><tbody>\n";
  for (size_t i = 0; i < shown; ++i) add_row(page, job, rows[i], i);
  page.body += "</tbody></table></div>\n";
  add_more(page, rows.size(), shown, "--tasks");
}

void add_messages(HtmlPage& page, const Job& job) {
  const auto messages = job.qnx_guest.messages();
  page.section("messages", "Messages");
  if (!messages) {
    page.body += "<p class=\"dim\">" + escape(messages.error().text) + "</p>\n";
    return;
  }
  std::vector<std::string_view> lines;
  for (std::string_view rest = *messages; !rest.empty();) {
    lines.push_back(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), lines.back().size() + 1));
  }
  const size_t shown = std::min(lines.size(), kMaxLines);
  page.body += "<div class=\"scroll list\"><table id=\"message-table\"><tbody>\n";
  for (const std::string_view line : std::span(lines).last(shown))
    page.body += "<tr><td class=\"pre\">" + escape(line) + "</td></tr>\n";
  page.body += "</tbody></table></div>\n";
  add_more(page, lines.size(), shown, "--dmesg");
}

}  // namespace

void add_qnx(HtmlPage& page, const Job& job, json::OStream& data) {
  if (!job.qnx_guest.is_there()) return;
  add_tasks(page, job, data);
  add_messages(page, job);
}

}  // namespace gcore::tools::inspect
