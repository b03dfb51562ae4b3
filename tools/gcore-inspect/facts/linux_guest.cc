#include "tools/gcore-inspect/facts/linux_guest.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "reader/guest/linux/task_place.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/facts/symbols.h"
#include "writer/format/machine.h"

namespace gcore::tools::inspect {

using reader::VirtAddr;
using reader::linux_guest::Kernel;
using reader::linux_guest::Stack;
using reader::linux_guest::Task;

namespace {

/// " at core.c:123", by --symbols; "" when nobody knows.
std::string source_line(const Job& job, VirtAddr address) {
  const auto found = job.symbols != nullptr ? job.symbols->frames(address.value) : std::vector<SourceFrame>{};
  if (found.empty() || found.front().line == 0) return "";
  return fmt::format(" at {}:{}", printable(found.front().file), found.front().line);
}

/// What the kernel says when it cannot go on, or nearly so.
bool is_disaster(std::string_view text) {
  constexpr std::string_view kWords[] = {
      "Kernel panic - not syncing", "Oops: ",          "Internal error: ", "BUG: ", "Unable to handle kernel",
      "general protection fault",   "watchdog: BUG: ", "Out of memory: "};
  return std::ranges::any_of(kWords, [&](std::string_view words) { return text.find(words) == 0; });
}

/// The last such message; of a panic that, whatever came after it.
std::string last_words(const Kernel& kernel) {
  const reader::linux_guest::Message* last = nullptr;
  if (!kernel.messages()) return "";
  for (const auto& message : kernel.messages()->records) {
    if (!is_disaster(message.text)) continue;
    last = &message;
    if (message.text.starts_with("Kernel panic")) break;
  }
  if (last == nullptr) return "";
  const std::string_view text = last->text;
  return fmt::format("[{}] {}", uptime_text(last->time_ns), printable(text.substr(0, text.find('\n'))));
}

std::string up_and_load(const Kernel& kernel) {
  const auto uptime = kernel.uptime_ns();
  const std::string up = uptime ? uptime_text(*uptime) : "how long is not known";
  const auto load = kernel.load();
  if (!load) return up + ", load not known";
  const auto number = [](uint32_t hundredths) { return fmt::format("{}.{:02}", hundredths / 100, hundredths % 100); };
  return fmt::format("{}, load {} {} {}", up, number(load->one), number(load->five), number(load->fifteen));
}

}  // namespace

const reader::Expected<std::unique_ptr<Kernel>>& LinuxGuest::kernel() const {
  std::call_once(once_, [&] { kernel_ = Kernel::find(guest_.dump(), guest_.system()); });
  return kernel_;
}

const Kernel* LinuxGuest::kernel_or_null() const { return kernel() ? kernel()->get() : nullptr; }

const Kernel* kernel_for(const Job& job, std::string_view attempt, int& status) {
  const auto& kernel = job.linux_guest.kernel();
  if (kernel) return kernel->get();
  if (const auto refused = refuse_of_qnx(job, attempt)) {
    status = *refused;
    return nullptr;
  }
  status = job.program.fail(attempt, printable(kernel.error().text));
  return nullptr;
}

std::string where(const Job& job, const reader::Cpu& cpu) {
  const auto pc = program_counter(cpu);
  if (std::string text = symbol_name(job, pc); !text.empty()) return text;
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  const auto place = kernel != nullptr && pc ? kernel->lookup(VirtAddr(*pc)) : std::nullopt;
  return place ? printable(place->text()) : "";
}

std::string where_and_what(const Job& job, const reader::Cpu& cpu) {
  std::string text = where(job, cpu);
  if (const auto task = task_of_cpu(job, cpu.index)) text += (text.empty() ? "" : ", ") + task_name(*task);
  if (const auto* task = qnx_task_of_cpu(job, cpu); task != nullptr && cpu.process_name.empty())
    text += (text.empty() ? "" : ", ") + task_name(task->process) + " by its page tables";
  return text;
}

std::optional<Task> task_of_cpu(const Job& job, size_t vcpu) {
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  const auto address = kernel != nullptr ? kernel->current_task(vcpu) : std::nullopt;
  return address ? kernel->task_at(*address) : std::nullopt;
}

std::string task_name(const Task& task) {
  const std::string name = printable(task.name);
  if (task.pid == 0 && !task.boots) return name + " (idle)";
  return task.is_process() ? fmt::format("{} (PID {})", name, task.pid)
                           : fmt::format("{} (PID {}, thread {})", name, task.tgid, task.pid);
}

std::string bracketed_name(const Task& task) {
  return task.is_kernel_thread ? "[" + printable(task.name) + "]" : printable(task.name);
}

Backtrace backtrace_of(const Job& job, const Stack& stack) {
  Backtrace trace;
  for (const auto& frame : stack.frames) {
    Frame shown{.pc = frame.pc.value, .is_guess = frame.is_guess};
    if (job.symbols != nullptr) shown.functions = job.symbols->frames(frame.pc.value - (frame.is_exact ? 0 : 1));
    if (!shown.functions.empty() && !frame.is_exact && shown.functions.back().offset != 0)
      ++shown.functions.back().offset;
    if (frame.place) shown.place = printable(frame.place->text());
    trace.frames.push_back(std::move(shown));
  }
  if (!stack.complete) trace.why = printable(stack.why_ended);
  if (stack.user) trace.user_pc = stack.user->registers.get(format::machine_info(job.dump.machine()).program_counter);
  return trace;
}

std::string frame_text(const Frame& frame) {
  if (frame.functions.empty() || (frame.functions.back().line == 0 && !frame.place.empty()))
    return frame.place.empty() ? "??" : frame.place;
  return function_text(frame.functions.back());
}

std::string place_of(const Job& job, const Task& task) {
  using reader::linux_guest::TaskPlace;
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  const TaskPlace place = kernel != nullptr ? reader::linux_guest::place_of(*kernel, task) : TaskPlace{};
  std::string text = printable(place.text());
  if (place.frame) text += source_line(job, VirtAddr(place.frame->pc.value - (place.frame->is_exact ? 0 : 1)));
  return text;
}

std::vector<StackGroup> stack_groups(const Job& job, std::span<const Task* const> tasks) {
  std::vector<StackGroup> groups;
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr) return groups;
  const auto pc = format::machine_info(job.dump.machine()).program_counter;
  std::map<std::pair<std::vector<uint64_t>, std::string>, size_t> known;  // by what makes stacks equal
  for (const Task* task : tasks) {
    const Stack stack = kernel->stack_of(*task);
    std::vector<uint64_t> key{stack.complete ? 1u : 0u, stack.user ? 1u : 0u};
    if (stack.user) key.push_back(stack.user->registers.get(pc).value_or(0));
    for (const auto& frame : stack.frames) key.push_back(frame.pc.value * 2 + (frame.is_guess ? 1 : 0));
    const auto [at, is_new] = known.emplace(std::pair(std::move(key), stack.why_ended), groups.size());
    if (is_new) groups.push_back({backtrace_of(job, stack), {}});
    groups[at->second].tasks.push_back(task);
  }
  return groups;
}

reader::linux_guest::Diagnosis diagnosis_of(const Job& job, const Kernel& kernel) {
  auto diagnosis = diagnose(kernel);
  if (job.symbols == nullptr) return diagnosis;
  for (auto& finding : diagnosis.findings)
    for (auto& evidence : finding.evidence)
      for (size_t i = 0; i < evidence.addresses.size() && i < evidence.lines.size(); ++i)
        evidence.lines[i] += source_line(job, evidence.addresses[i]);
  return diagnosis;
}

std::string uptime_text(uint64_t ns) {
  const uint64_t seconds = ns / 1000000000;
  if (seconds < 60) return fmt::format("{}.{:02} s", seconds, ns / 10000000 % 100);
  std::string text = fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
  if (const uint64_t days = seconds / 86400; days != 0)
    text = fmt::format("{} {}, {}", days, days == 1 ? "day" : "days", text);
  return text;
}

std::vector<std::pair<std::string, std::string>> linux_facts(const Job& job) {
  std::vector<std::pair<std::string, std::string>> facts;
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr) return facts;
  // Where not even names are there, the line about these says it all.
  if (kernel->names() || kernel->uptime_ns() || kernel->load()) facts.emplace_back("up", up_and_load(*kernel));
  if (const std::string words = last_words(*kernel); !words.empty()) facts.emplace_back("message", words);
  if (!kernel->names()) facts.emplace_back("names", printable(kernel->names().error().text));
  return facts;
}

}  // namespace gcore::tools::inspect
