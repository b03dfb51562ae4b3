#include "tools/gcore-inspect/html/linux.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

using reader::linux_guest::Kernel;
using reader::linux_guest::Message;
using reader::linux_guest::Module;
using reader::linux_guest::Task;

// What is beyond is counted, and the text modes have it.
constexpr size_t kMaxTasks = 5000, kMaxMessages = 5000;
constexpr const char* kLevels[] = {"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"};

void add_more(HtmlPage& page, size_t all, size_t shown, std::string_view mode) {
  if (all > shown) page.body += fmt::format("<p class=\"dim\">{} in all; {} shows them.</p>\n", all, mode);
}

void add_task_row(HtmlPage& page, const Job& job, const Task& task, size_t stack) {
  page.body += fmt::format(
      "<tr id=\"task-{}\" data-state=\"{}\"><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td "
      "class=\"n\">{}</td>"
      "<td>{}</td><td><details data-stack=\"{}\"><summary>{}</summary></details></td><td>{}</td></tr>\n",
      task.pid, escape(std::string(1, task.state)), task.tgid, task.pid, escape(std::string(1, task.state)),
      task.cpu ? std::to_string(*task.cpu) + (task.running_on || task.runs_unseen ? "*" : "") : "",
      escape(bracketed_name(task)), stack, escape(place_of(job, task)), escape(task.command_line));
}

void add_tasks(HtmlPage& page, const Job& job, const Kernel& kernel, json::OStream& data) {
  const auto& tasks = kernel.tasks();
  page.section("tasks", "Tasks");
  if (!tasks) {
    page.body += "<p class=\"dim\">" + escape(tasks.error().text) + "</p>\n";
    return;
  }
  std::vector<const Task*> shown;
  for (const Task& task : tasks->list)
    if (shown.size() < kMaxTasks) shown.push_back(&task);
  const std::vector<StackGroup> groups = stack_groups(job, shown);
  std::map<const Task*, size_t> stack_of;
  data.attributeArray("stacks", [&] {
    for (size_t i = 0; i < groups.size(); ++i) {
      for (const Task* task : groups[i].tasks) stack_of[task] = i;
      json::Array lines;
      for (const std::string& line : lines_of(groups[i].trace)) lines.push_back(utf8(line));
      if (groups[i].trace.user_pc) lines.push_back(fmt::format("from user mode, {:#x}", *groups[i].trace.user_pc));
      if (!groups[i].trace.why.empty()) lines.push_back("no further: " + utf8(groups[i].trace.why));
      data.value(std::move(lines));
    }
  });
  std::map<char, size_t> states;
  for (const Task* task : shown) ++states[task->state];
  page.body +=
      "<div class=\"tools\"><input id=\"task-filter\" type=\"search\" placeholder=\"name, PID or place\" "
      "aria-label=\"filter tasks\">";
  for (const auto& [state, count] : states)
    page.body += fmt::format(
        "<button type=\"button\" class=\"state\" data-state=\"{0}\" aria-pressed=\"false\">{0} {1}</button>",
        escape(std::string(1, state)), count);
  page.body += fmt::format("<span class=\"dim\" id=\"task-count\">{} with {}</span></div>\n",
                           counted(shown.size(), "task", "tasks"),
                           counted(groups.size(), "different stack", "different stacks"));
  page.body += "<div class=\"scroll list\"><table class=\"tasks\" id=\"task-table\"><thead>";
  page.row({"PID", "TID", "state", "CPU", "name", "where", "command"}, "th");
  page.body += "</thead><tbody>\n";
  for (const Task* task : shown) add_task_row(page, job, *task, stack_of.at(task));
  page.body += "</tbody></table></div>\n";
  add_more(page, tasks->list.size(), shown.size(), "--tasks");
}

/// When messages came: a line of time, as long as the guest was up.
void add_time(HtmlPage& page, std::span<const Message> messages, uint64_t uptime) {
  constexpr double kWidth = 1000;
  const uint64_t end = std::max({uptime, messages.empty() ? 0 : messages.back().time_ns, uint64_t{1}});
  const auto at = [&](uint64_t ns) {
    return kWidth * static_cast<double>(std::min(ns, end)) / static_cast<double>(end);
  };
  page.body +=
      "<svg class=\"time\" viewBox=\"0 0 1000 34\" preserveAspectRatio=\"none\" role=\"img\" "
      "aria-label=\"messages by time since boot\"><line x1=\"0\" x2=\"1000\" y1=\"30\" y2=\"30\"/>";
  int last = -1;
  for (const Message& message : messages) {
    const auto x = static_cast<int>(at(message.time_ns));
    const bool loud = message.level <= 4;
    if (x == last && !loud) continue;
    last = x;
    page.body += fmt::format("<line class=\"l{}\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"30\"/>",
                             std::min<int>(message.level, 7), x, x, loud ? 2 : 18);
  }
  page.body += fmt::format("</svg><p class=\"dim time\"><span>boot</span><span>{}</span></p>\n", uptime_text(end));
}

void add_messages(HtmlPage& page, const Kernel& kernel) {
  const auto& messages = kernel.messages();
  page.section("messages", "Messages");
  if (!messages) {
    page.body += "<p class=\"dim\">" + escape(messages.error().text) + "</p>\n";
    return;
  }
  std::span<const Message> shown = messages->records;
  if (shown.size() > kMaxMessages) shown = shown.last(kMaxMessages);
  add_time(page, shown, kernel.uptime_ns().value_or(0));
  page.body += "<div class=\"tools\"><label>up to level <select id=\"message-level\">";
  for (size_t level = 0; level < std::size(kLevels); ++level)
    page.body +=
        fmt::format("<option value=\"{}\"{}>{}</option>", level, level == 7 ? " selected" : "", kLevels[level]);
  page.body += "</select></label></div>\n<div class=\"scroll list\"><table id=\"message-table\"><tbody>\n";
  for (const Message& message : shown) {
    const size_t level = std::min<size_t>(message.level, std::size(kLevels) - 1);
    page.body += fmt::format(
        "<tr class=\"l{}\" data-level=\"{}\"><td class=\"n\">{}.{:06}</td><td>{}</td><td class=\"pre\">{}</td></tr>\n",
        level, level, message.time_ns / 1000000000, message.time_ns / 1000 % 1000000, kLevels[level],
        escape_lines(message.text));
  }
  page.body += "</tbody></table></div>\n";
  add_more(page, messages->records.size(), shown.size(), "--dmesg");
}

void add_modules(HtmlPage& page, const Kernel& kernel) {
  const auto& modules = kernel.modules();
  if (!modules || modules->empty()) return;
  page.section("modules", "Modules");
  page.body += "<div class=\"scroll list\"><table><thead>";
  page.row({"module", "size", "state", "uses", "used by", "taints"}, "th");
  page.body += "</thead><tbody>\n";
  for (const Module& module : *modules) {
    std::string used_by;
    for (const std::string& user : module.used_by) used_by += (used_by.empty() ? "" : ", ") + user;
    page.row({module.name, human_size(module.size), module.state,
              module.references < 0 ? "" : std::to_string(module.references), used_by, module.taints});
  }
  page.body += "</tbody></table></div>\n";
}

}  // namespace

void add_linux(HtmlPage& page, const Job& job, json::OStream& data) {
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr) return;
  add_tasks(page, job, *kernel, data);
  add_messages(page, *kernel);
  add_modules(page, *kernel);
}

}  // namespace gcore::tools::inspect
