// Stacks of all tasks and of all CPUs, as the guest itself printed them right before it was dumped (sysrq t and l).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "reader/guest/guest.h"
#include "reader/guest/linux/kernel.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/known_tasks.h"
#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

using reader::linux_guest::Frame;
using reader::linux_guest::Kernel;
using reader::linux_guest::Message;
using reader::linux_guest::Stack;
using reader::linux_guest::Task;

/// What the kernel prints of a task, or of a CPU.
struct Printed {
  int pid = 0;
  int parent = 0;
  char state = '?';
  std::string name{};
  std::string place{};               // of the program counter; of a CPU in the kernel
  std::vector<std::string> trace{};  // "schedule+0x5e/0xd0", innermost first, without those that it is not sure of
};

/// Adds a line to the trace, if it has a frame.
void take_frame(const std::string& line, Printed& printed) {
  static const Regex frame(R"(^ ([^ ?]+\+0x[0-9a-f]+/0x[0-9a-f]+( \[[^ ]+\])?)( \([A-Z]+\))?$)");
  RegexMatch match;
  if (regex_match(line, match, frame)) printed.trace.push_back(match[1]);
}

class LastWords : public testing::TestWithParam<Guest> {
 protected:
  void SetUp() override {
    oracle_ = &linux_oracle(GetParam().recipe());
    dump_ = open_dump(*oracle_);
    guest_ = std::make_unique<reader::Guest>(*dump_);
    auto kernel = Kernel::find(*dump_, guest_->system());
    ASSERT_TRUE(kernel) << kernel.error().text;
    kernel_ = std::move(*kernel);
    ASSERT_TRUE(kernel_->messages()) << kernel_->messages().error().text;
    ASSERT_TRUE(kernel_->tasks()) << kernel_->tasks().error().text;
    for (const Task& task : kernel_->tasks()->list) tasks_[task.pid] = &task;
  }

  /// By sysrq t.
  std::map<int, Printed> printed_tasks() const {
    static const Regex head(
        R"(^task:(.{1,15}?) +state:(.)(?:  running task   )? +stack: *\d+ +pid: *(\d+) +(?:tgid: *\d+ +)?ppid: *(\d+) .*)");
    std::map<int, Printed> printed;
    Printed* current = nullptr;
    uint32_t caller = 0;  // that prints all of it; others' lines may be in between
    for (const Message& message : kernel_->messages()->records) {
      RegexMatch match;
      if (message.text == "sysrq: Show State") caller = message.caller;
      if (message.caller != caller) continue;
      if (regex_match(message.text, match, head)) {
        current = &printed[std::stoi(match[3])];
        *current = {.pid = std::stoi(match[3]), .parent = std::stoi(match[4]), .state = match[2][0], .name = match[1]};
      } else if (current != nullptr && message.text.starts_with("Showing ")) {
        current = nullptr;  // of something else: workqueues
      } else if (current != nullptr) {
        take_frame(message.text, *current);
      }
    }
    return printed;
  }

  /// By sysrq l: of each CPU, whose number comes first. Several print at one time, each its own lines.
  std::map<unsigned, Printed> printed_cpus() const {
    static const Regex head(R"(^NMI backtrace for cpu (\d+)$)"),
        who(R"(^CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.{1,15}?) .*)"), place(R"(^(?:RIP: 0010:|pc : )([^ ]+)$)");
    std::map<unsigned, Printed> printed;
    std::map<uint32_t, Printed*> by_caller;
    for (const Message& message : kernel_->messages()->records) {
      RegexMatch match;
      Printed*& current = by_caller[message.caller];
      if (regex_match(message.text, match, head)) {
        current = &printed[static_cast<unsigned>(std::stoul(match[1]))];
        *current = {};  // it may have been asked more than once
      } else if (message.text.starts_with("task:") || message.text.starts_with("sysrq: ")) {
        current = nullptr;
      } else if (current == nullptr) {
        continue;
      } else if (regex_match(message.text, match, who)) {
        current->pid = std::stoi(match[2]);
        current->name = match[3];
      } else if (regex_match(message.text, match, place)) {
        // Of what an interrupt came upon it prints registers, and not the frame.
        current->place.empty() ? current->place = match[1] : current->trace.emplace_back(match[1]);
      } else {
        take_frame(message.text, *current);
      }
    }
    return printed;
  }

  static std::vector<std::string> texts(const Stack& stack) {
    std::vector<std::string> all;
    for (const Frame& frame : stack.frames) all.push_back(frame.place ? frame.place->text() : "??");
    return all;
  }

  const LinuxOracle* oracle_ = nullptr;
  std::unique_ptr<reader::Dump> dump_;
  std::unique_ptr<reader::Guest> guest_;
  std::unique_ptr<Kernel> kernel_;
  std::map<int, const Task*> tasks_;
};

TEST_P(LastWords, OfAllTasksAreTheirStacks) {
  const auto printed = printed_tasks();
  const auto known = known_tasks(*oracle_);
  ASSERT_GT(printed.size(), 40U);
  size_t compared = 0, frames = 0;
  for (const auto& [pid, task] : tasks_) {
    const auto said = known.find(pid);
    const bool has_slept = said != known.end() && !task->running_on && task->switches == said->second.switches;
    const auto found = printed.find(pid);
    if (!has_slept) continue;  // it came later, or has been somewhere else since
    ASSERT_NE(found, printed.end()) << pid << " " << task->name;
    SCOPED_TRACE(found->second.name + " (PID " + std::to_string(pid) + ")");
    EXPECT_EQ(task->name, found->second.name);
    // Children of the process that asked are the first one's when it has ended.
    if (!said->second.parent_asked || task->parent != 1) {
      EXPECT_EQ(task->parent, found->second.parent);
    }
    if (task->state == 'R') continue;  // woken, and not yet running
    EXPECT_EQ(task->state, found->second.state);
    EXPECT_EQ(texts(kernel_->stack_of(*task)), found->second.trace);
    ++compared;
    frames += found->second.trace.size();
  }
  EXPECT_GT(compared, 30U);
  EXPECT_GT(frames, 150U);
  // And none is missing: kernel threads do not end, save workers.
  for (const auto& [pid, task] : printed)
    if (task.parent == 2 && !task.name.starts_with("kworker")) {
      EXPECT_TRUE(tasks_.contains(pid)) << task.name;
    }
}

/// x86_64's CPUs say where they are when they idle, too.
class LastWordsOfX86 : public LastWords {
 protected:
  /// What is the same wherever a CPU is in its idle loop: the frames outside of it.
  static std::vector<std::string> outside_idle_loop(const std::vector<std::string>& trace) {
    auto loop = std::ranges::find_if(trace, [](const auto& frame) { return frame.starts_with("do_idle+0x"); });
    if (loop == trace.end())
      loop = std::ranges::find_if(trace, [](const auto& frame) { return frame.starts_with("cpu_startup_entry+0x"); });
    return loop == trace.end() ? std::vector<std::string>{} : std::vector(loop + 1, trace.end());
  }
};

/// Each CPU has an idle task, with a stack that it is in, or was when it last left it. Those of all CPUs lead to the
/// same place, but the first one's, which has booted the others.
TEST_P(LastWordsOfX86, OfAllCpusAreTheirStacks) {
  const auto printed = printed_cpus();
  EXPECT_EQ(printed.size(), dump_->cpus().size());
  std::vector<Printed> printed_idle;
  for (const auto& [cpu, said] : printed) {
    if (cpu == 0 || said.pid != 0) continue;
    EXPECT_EQ(said.name, "swapper/" + std::to_string(cpu));
    printed_idle.push_back(said);
  }
  ASSERT_FALSE(printed_idle.empty()) << "the guest was asked until a CPU idled";
  const auto& idle_tasks = kernel_->tasks()->idle;
  EXPECT_EQ(idle_tasks.size(), dump_->cpus().size());
  for (const Task& task : idle_tasks) {
    if (task.cpu == 0U) continue;
    SCOPED_TRACE(task.name + (task.running_on ? " on its CPU" : ""));
    const Stack stack = kernel_->stack_of(task);
    EXPECT_TRUE(stack.complete) << stack.why_ended;
    const auto frames = texts(stack);
    for (const Printed& idle : printed_idle) {
      const auto outside = outside_idle_loop(idle.trace);
      EXPECT_THAT(outside, testing::SizeIs(testing::Ge(2U)));
      // Where the loop itself was left differs, and so it does in cpu_startup_entry() between two rounds of it.
      const auto own = outside_idle_loop(frames);
      EXPECT_EQ(own, std::vector(outside.end() - std::min(own.size(), outside.size()), outside.end()));
      EXPECT_GE(own.size() + 1, outside.size());
      // And where both are at the same place, all of it is the same.
      if (task.running_on && !frames.empty() && frames[0] == idle.place) {
        EXPECT_EQ(std::vector(frames.begin() + 1, frames.end()), idle.trace);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Each, LastWords, testing::ValuesIn(kIsolating), guest_name);
INSTANTIATE_TEST_SUITE_P(One, LastWordsOfX86, testing::Values(kIsolating[0]), guest_name);

}  // namespace
}  // namespace gcore::tests
