// The parts of a diagnosis, each of which adds findings. Private to the reader.
#pragma once

#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/waiting.h"
#include "reader/guest/linux/why.h"

namespace gcore::reader::linux_guest {

/// What all parts look at. The task list may be empty, the vCPUs' stacks are there for each vCPU.
struct Scene {
  const Kernel& kernel;
  std::span<const Task> tasks{};
  std::span<const Message> messages{};
  std::vector<const Task*> current{};  // of each vCPU the task that runs there, idle ones included; nullptr: not known
  std::vector<Stack> stacks{};         // of each vCPU

  const Task* task_of_pid(int32_t pid) const;
};

/// What a task of the kernel was doing when an interrupt came, or nested ones did: nothing where none had come.
const Frame* interrupted_frame(const Stack& stack);

// why_messages.cc: what the kernel itself has said. Hung tasks are not findings: they are added to what is known of
// their tasks.
struct HungTask {
  int32_t pid = 0;
  std::string name{};
  uint64_t time_ns = 0;
  std::string text{};
};
void find_in_messages(const Scene& scene, std::vector<Finding>& findings);
std::vector<HungTask> hung_tasks(const Scene& scene);

// why_waits.cc
void find_waiting(const Scene& scene, const Waits& waits, std::span<const HungTask> hung,
                  std::vector<Finding>& findings);

// why_cpus.cc
void find_spinning(const Scene& scene, std::vector<Finding>& findings);
void describe_cpus(const Scene& scene, Diagnosis& diagnosis);

// --- words ---

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// What follows `mark`; nothing when it is not there.
inline std::optional<std::string_view> after(std::string_view text, std::string_view mark) {
  const size_t at = text.find(mark);
  return at == std::string_view::npos ? std::nullopt : std::optional(text.substr(at + mark.size()));
}

template <class T>
std::optional<T> leading_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

/// The task of that number that a message names, if it still is one of that name.
Involved involved(const Scene& scene, int32_t pid, std::string_view name, std::string role);
void add_task(Finding& finding, const Task& task, std::string role);
/// "mutex-one (PID 114)"
std::string task_text(const Task& task);
/// Its frames, as the kernel prints them; of a frame without a name its address.
Evidence stack_evidence(std::string text, const Stack& stack);
Evidence message_evidence(const Message& message);
/// The name of a function without what compilers append (".isra.0", ".cold"), for keys.
std::string_view plain_function(std::string_view name);
/// A text with each number as #: "CPU#1 stuck for 8s" as "CPU## stuck for #s".
std::string without_numbers(std::string_view text);
/// The functions of a stack from the first one that matters on, at most `count`, for keys.
std::string key_of(const Stack& stack, size_t count);

}  // namespace gcore::reader::linux_guest
