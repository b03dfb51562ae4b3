#include "reader/guest/linux/why.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "reader/guest/linux/why_parts.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kFramesShown = 40;

/// FNV-1a, 64 bits: the same on every machine and in every version.
uint64_t hash(std::string_view text) {
  uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return value;
}

Scene make_scene(const Kernel& kernel, Diagnosis& diagnosis) {
  Scene scene{.kernel = kernel};
  // The reason of most problems that follow, and of what was not found.
  if (kernel.dump().truncated())
    diagnosis.problems.push_back(
        fmt::format("a part of memory: the file is truncated at {}", kernel.dump().file_end()));
  if (const auto& tasks = kernel.tasks()) {
    scene.tasks = tasks->list;
    diagnosis.problems.insert(diagnosis.problems.end(), tasks->problems.begin(), tasks->problems.end());
  } else {
    diagnosis.problems.push_back(tasks.error().text);
  }
  if (const auto& messages = kernel.messages()) {
    scene.messages = messages->records;
  } else {
    diagnosis.problems.push_back(messages.error().text);
  }
  // Tasks need names, and have then said the same.
  if (!kernel.names() && std::ranges::find(diagnosis.problems, kernel.names().error().text) == diagnosis.problems.end())
    diagnosis.problems.push_back(kernel.names().error().text);
  const size_t cpus = kernel.dump().cpus().size();
  scene.current.resize(cpus);
  const auto note = [&](const Task& task) {
    if (task.running_on && *task.running_on < cpus) scene.current[*task.running_on] = &task;
  };
  std::ranges::for_each(scene.tasks, note);
  if (const auto& tasks = kernel.tasks()) std::ranges::for_each(tasks->idle, note);
  for (size_t cpu = 0; cpu < cpus; ++cpu) scene.stacks.push_back(kernel.stack_of_cpu(cpu));
  return scene;
}

/// A panic that an oops led to, and the oops, are one.
void merge_oops_into_panic(std::vector<Finding>& findings) {
  const auto panic = std::ranges::find(findings, Finding::Kind::panic, &Finding::kind);
  if (panic == findings.end()) return;
  const bool by_oops =
      panic->text.find("Fatal exception") != std::string::npos || panic->text.find("Oops") != std::string::npos;
  const auto last = std::ranges::find(findings.rbegin(), findings.rend(), Finding::Kind::oops, &Finding::kind);
  if (!by_oops || last == findings.rend()) return;
  panic->text += ", after: " + last->text;
  panic->key += "|" + last->key;
  panic->tasks.insert(panic->tasks.end(), last->tasks.begin(), last->tasks.end());
  panic->evidence.insert(panic->evidence.begin(), last->evidence.begin(), last->evidence.end());
  findings.erase(std::prev(last.base()));
}

}  // namespace

const Task* Scene::task_of_pid(int32_t pid) const {
  const auto task = std::ranges::find(tasks, pid, &Task::pid);
  return task == tasks.end() ? nullptr : &*task;
}

Involved involved(const Scene& scene, int32_t pid, std::string_view name, std::string role) {
  const Task* task = scene.task_of_pid(pid);
  const bool same = task && task->name == name;
  return {
      .pid = pid, .name = std::string(name), .address = same ? task->address : VirtAddr(0), .role = std::move(role)};
}

void add_task(Finding& finding, const Task& task, std::string role) {
  finding.tasks.push_back({.pid = task.pid, .name = task.name, .address = task.address, .role = std::move(role)});
}

std::string task_text(const Task& task) { return fmt::format("{} (PID {})", task.name, task.pid); }

Evidence stack_evidence(std::string text, const Stack& stack) {
  Evidence evidence{.kind = Evidence::Kind::stack, .text = std::move(text)};
  for (const Frame& frame : stack.frames) {
    if (evidence.lines.size() == kFramesShown) {
      evidence.lines.push_back("...");
      break;
    }
    evidence.lines.push_back((frame.is_guess ? "? " : "") +
                             (frame.place ? frame.place->text() : fmt::format("{:#x}", frame.pc.value)));
    evidence.addresses.push_back(VirtAddr(frame.pc.value - (frame.is_exact ? 0 : 1)));
  }
  return evidence;
}

Evidence message_evidence(const Message& message) {
  return {.kind = Evidence::Kind::message, .text = message.text, .time_ns = message.time_ns};
}

std::string_view plain_function(std::string_view name) {
  const size_t point = name.find('.', 1);
  return name.substr(0, point);
}

std::string without_numbers(std::string_view text) {
  const auto is_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (!is_word(text[at])) {
      out += text[at++];
      continue;
    }
    size_t end = at;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string_view word = text.substr(at, end - at);
    const bool hex = word.size() >= 6 && word.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
    if (hex || word.starts_with("0x") || is_digit(word[0])) {
      out += '#';
    } else {
      for (size_t i = 0; i < word.size(); ++i)
        if (!is_digit(word[i])) out += word[i];
    }
    at = end;
  }
  return out;
}

std::string key_of(const Stack& stack, size_t count) {
  std::string key;
  // What an interrupt does is of the moment.
  const Frame* interrupted = interrupted_frame(stack);
  bool begun = interrupted != nullptr;
  for (const Frame& frame : std::span(stack.frames).subspan(begun ? interrupted - stack.frames.data() : 0)) {
    if (count == 0) break;
    if (!frame.place || frame.is_guess) continue;
    const std::string_view name = plain_function(frame.place->symbol.name);
    if (!begun && is_waiting_function(name)) continue;
    begun = true;
    key += fmt::format("{}{}", key.empty() ? "" : "<", name);
    --count;
  }
  return key;
}

Diagnosis diagnose(const Kernel& kernel) {
  Diagnosis diagnosis;
  const Scene scene = make_scene(kernel, diagnosis);
  auto& findings = diagnosis.findings;
  find_in_messages(scene, findings);
  find_spinning(scene, findings);
  if (const auto waits = find_waits(kernel)) find_waiting(scene, *waits, hung_tasks(scene), findings);
  merge_oops_into_panic(findings);
  describe_cpus(scene, diagnosis);
  std::ranges::stable_sort(findings, {}, [](const Finding& finding) {
    // An oops is over when it has been printed, and its damage stays.
    return std::tuple(finding.is_past, finding.kind, finding.is_guess);
  });
  diagnosis.signature =
      findings.empty() ? "none" : fmt::format("{}-{:016x}", to_string(findings[0].kind), hash(findings[0].key));
  return diagnosis;
}

const char* to_string(Finding::Kind kind) {
  constexpr const char* kNames[] = {"panic",       "spinning",  "deadlock",         "oops",          "hard-lockup",
                                    "soft-lockup", "rcu-stall", "workqueue-lockup", "out-of-memory", "blocked"};
  return kNames[static_cast<size_t>(kind)];
}

const char* to_string(Evidence::Kind kind) {
  constexpr const char* kNames[] = {"message", "fact", "stack", "excerpt"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace gcore::reader::linux_guest
