// A guest that gets into one trouble after the other (tests/support/trouble_guest.h): each has to be named, with the
// right culprit, and nobody else accused.
#include "reader/guest/linux/why.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>

#include "reader/guest/linux/messages.h"
#include "reader/guest/linux/waiting.h"
#include "reader/guest/linux/why_rcu.h"
#include "tests/reader_linux/guests.h"
#include "tests/reader_linux/opened.h"
#include "tests/support/regex.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

using namespace reader::linux_guest;
using testing::AllOf;
using testing::AnyOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Why : public testing::TestWithParam<Guest> {
 protected:
  static TroubleGuest guest() { return trouble_guest(GetParam().machine, GetParam().kernel); }
  static Diagnosis of(const std::string& stage) { return diagnose(*Opened(guest().dump(stage)).kernel); }
  static bool is_arm() { return std::string(GetParam().machine) == "aarch64"; }
  /// Debian's arm64 kernels up to 6.1 have names for functions only, not for locks.
  static bool names_data() {
    const std::string series = GetParam().series;
    return !is_arm() || (series != "5.10." && series != "6.1.");
  }
};

std::vector<const Finding*> of_kind(const Diagnosis& diagnosis, Finding::Kind kind) {
  std::vector<const Finding*> found;
  for (const Finding& finding : diagnosis.findings)
    if (finding.kind == kind) found.push_back(&finding);
  return found;
}
std::set<Finding::Kind> kinds(const Diagnosis& diagnosis) {
  std::set<Finding::Kind> kinds;
  for (const Finding& finding : diagnosis.findings) kinds.insert(finding.kind);
  return kinds;
}
std::string names_in_role(const Finding& finding, std::string_view role) {
  std::string names;
  for (const Involved& task : finding.tasks)
    if (task.role == role) names += (names.empty() ? "" : " ") + task.name;
  return names;
}
std::string all_text(const Finding& finding) {
  std::string text = finding.text;
  for (const Evidence& evidence : finding.evidence) {
    text += "\n" + evidence.text;
    for (const std::string& line : evidence.lines) text += "\n  " + line;
  }
  return text;
}
const Finding* blocked(const Diagnosis& diagnosis, std::string_view name) {
  for (const Finding* finding : of_kind(diagnosis, Finding::Kind::blocked))
    if (!finding->tasks.empty() && finding->tasks[0].name == name) return finding;
  return nullptr;
}

TEST_P(Why, AccusesNobodyInABusyGuest) {
  const Diagnosis diagnosis = of("busy");
  EXPECT_THAT(diagnosis.findings, IsEmpty()) << why_text(diagnosis);
  EXPECT_EQ(diagnosis.signature, "none");
  EXPECT_THAT(why_text(diagnosis), HasSubstr("nothing found"));
  EXPECT_THAT(diagnosis.cpus, SizeIs(2));
  EXPECT_THAT(diagnosis.problems, IsEmpty());
}

TEST_P(Why, NamesADeadlock) {
  const Diagnosis diagnosis = of("mutex");
  ASSERT_THAT(diagnosis.findings, SizeIs(1)) << why_text(diagnosis);
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.kind, Finding::Kind::deadlock);
  EXPECT_FALSE(finding.is_guess);
  EXPECT_EQ(names_in_role(finding, "waits and holds"), "mutex-one mutex-two");
  EXPECT_EQ(names_in_role(finding, "waits"), "mutex-three");
  const std::string text = all_text(finding);
  EXPECT_THAT(text, HasSubstr("trouble_first_then_second+0x"));
  EXPECT_THAT(text, HasSubstr("trouble_second_then_first+0x"));
  EXPECT_THAT(text, HasSubstr("trouble_wants_first+0x"));
  if (names_data()) {
    EXPECT_TRUE(regex_search(text, Regex(R"(mutex-one \(PID \d+\) waits for mutex trouble_second \[trouble\])")))
        << text;
    EXPECT_TRUE(regex_search(text, Regex(R"(mutex-two \(PID \d+\) waits for mutex trouble_first \[trouble\])")))
        << text;
  }
}

TEST_P(Why, SaysWhoHasWhatTasksWaitFor) {
  const Diagnosis diagnosis = of("hung");
  EXPECT_EQ(kinds(diagnosis), (std::set{Finding::Kind::deadlock, Finding::Kind::blocked})) << why_text(diagnosis);
  const auto all_blocked = of_kind(diagnosis, Finding::Kind::blocked);
  EXPECT_THAT(all_blocked, SizeIs(5));
  // Of the same trouble in another boot, where locks have other addresses, the first one is to be the same.
  EXPECT_TRUE(std::ranges::is_sorted(all_blocked, {}, &Finding::key)) << why_text(diagnosis);

  const Finding* rwsem = blocked(diagnosis, "rwsem-writer");
  ASSERT_TRUE(rwsem) << why_text(diagnosis);
  EXPECT_EQ(names_in_role(*rwsem, "waits"), "rwsem-writer rwsem-behind");
  EXPECT_EQ(names_in_role(*rwsem, "holds (a guess)"), "rwsem-reader");
  EXPECT_THAT(rwsem->text, AllOf(HasSubstr("rwsem (to write)"), HasSubstr("one reader has it")));
  EXPECT_THAT(all_text(*rwsem), AllOf(HasSubstr("trouble_reads+0x"), HasSubstr("blocked for more than")));

  const Finding* held = blocked(diagnosis, "held-reader");
  ASSERT_TRUE(held);
  EXPECT_EQ(names_in_role(*held, "holds"), "held-writer");
  EXPECT_THAT(all_text(*held), HasSubstr("trouble_holds_rwsem+0x"));

  const Finding* rt_mutex = blocked(diagnosis, "rt-waiter");
  ASSERT_TRUE(rt_mutex) << why_text(diagnosis);
  EXPECT_EQ(names_in_role(*rt_mutex, "holds"), "rt-holder");
  EXPECT_THAT(rt_mutex->text, AllOf(HasSubstr("waits for rt_mutex "), HasSubstr("in trouble_wants_rt_mutex+0x"),
                                    HasSubstr("rt-holder (PID ")));
  EXPECT_THAT(all_text(*rt_mutex), HasSubstr("trouble_holds_rt_mutex+0x"));

  const Finding* semaphore = blocked(diagnosis, "sema-waiter");
  ASSERT_TRUE(semaphore);
  EXPECT_THAT(semaphore->text, AllOf(HasSubstr("semaphore"), HasSubstr("does not say who")));

  const Finding* completion = blocked(diagnosis, "never");
  ASSERT_TRUE(completion);
  EXPECT_THAT(completion->text, AllOf(HasSubstr("completion"), HasSubstr("trouble_waits_for_never+0x")));
  if (names_data()) {
    EXPECT_THAT(rwsem->text, HasSubstr("trouble_rwsem [trouble]"));
    EXPECT_THAT(held->text, HasSubstr("trouble_held_rwsem [trouble]"));
    EXPECT_THAT(rt_mutex->text, HasSubstr("trouble_rt_mutex [trouble]"));
    EXPECT_THAT(semaphore->text, HasSubstr("trouble_semaphore [trouble]"));
    EXPECT_THAT(completion->text, HasSubstr("trouble_never [trouble]"));
  }
}

TEST_P(Why, NamesAFrozenFileSystemAndADiskThatDoesNotAnswer) {
  const Diagnosis diagnosis = of("storage");
  EXPECT_EQ(kinds(diagnosis), (std::set{Finding::Kind::out_of_memory, Finding::Kind::blocked})) << why_text(diagnosis);
  EXPECT_THAT(of_kind(diagnosis, Finding::Kind::blocked), SizeIs(3)) << why_text(diagnosis);
  const Finding *frozen = blocked(diagnosis, "touch"), *disk = blocked(diagnosis, "dd");
  ASSERT_TRUE(frozen && disk) << why_text(diagnosis);
  EXPECT_TRUE(regex_search(frozen->text,
                           Regex(R"(^touch \(PID \d+\) waits for percpu_rwsem \(to read\) s_writers of ext4 on loop0 )"
                                 R"(\(0x[0-9a-f]+\) in \w+[^,]*, for \d+\.\d s; this file system is frozen )")))
      << frozen->text;
  EXPECT_THAT(frozen->key, HasSubstr("s_writers of ext4:"));
  EXPECT_TRUE(regex_search(disk->text, Regex(R"(^dd \(PID \d+\) waits for input or output in \w+[^,]*, for \d+\.\d s; )"
                                             R"(loop2 has not answered one request for \d+\.\d s$)")))
      << disk->text;
  EXPECT_EQ(disk->key, "blocked|input or output");
}

// The vCPU may be in an interrupt at the moment of the dump, such as the one that still prints the report.
TEST_P(Why, NamesASoftLockup) {
  const auto diagnosis = of("soft");
  const auto found = of_kind(diagnosis, Finding::Kind::soft_lockup);
  const auto now = std::ranges::find(found, false, &Finding::is_past);
  ASSERT_NE(now, found.end()) << why_text(diagnosis);
  EXPECT_EQ(names_in_role(**now, "runs"), "soft-lockup");
  EXPECT_THAT((*now)->text, AllOf(HasSubstr("CPU 1 is stuck"), HasSubstr("trouble_never_schedules+0x")));
  EXPECT_THAT(all_text(**now), HasSubstr("stack of vCPU 1"));
  EXPECT_THAT(diagnosis.cpus[1], AllOf(HasSubstr("soft-lockup"), HasSubstr("trouble_never_schedules+0x")));
}

TEST_P(Why, NamesAnRcuStall) {
  const auto diagnosis = of("rcu");
  const auto found = of_kind(diagnosis, Finding::Kind::rcu_stall);
  const auto now = std::ranges::find(found, false, &Finding::is_past);
  ASSERT_NE(now, found.end()) << why_text(diagnosis);
  // Where the kernel preempted the reader before it saw the stall, it names that, and no CPU.
  const Opened opened(guest().dump("rcu"));
  const bool was_preempted = std::ranges::any_of(opened.kernel->messages()->records, [](const Message& message) {
    return message.text.find("Tasks blocked on level-") != message.text.npos;
  });
  if (was_preempted) {
    EXPECT_EQ(names_in_role(**now, "reads"), "rcu-reader");
    EXPECT_THAT((*now)->text, AllOf(HasSubstr("RCU stall: rcu-reader (PID "), HasSubstr("off the CPU within an RCU")));
    EXPECT_THAT(all_text(**now), AllOf(HasSubstr("stack of rcu-reader"), HasSubstr("trouble_stays_in_rcu+0x")));
  } else {
    EXPECT_EQ(names_in_role(**now, "runs"), "rcu-reader");
    EXPECT_THAT((*now)->text, AllOf(HasSubstr("CPU 1"), HasSubstr("trouble_stays_in_rcu+0x")));
  }
  EXPECT_THAT((*now)->key, HasSubstr("trouble_stays_in_rcu"));
  // Who writes the report goes on, though it has locks that others wait for.
  EXPECT_THAT(of_kind(diagnosis, Finding::Kind::spinning), IsEmpty());
  // What was before is told as what was before.
  const auto lockups = of_kind(diagnosis, Finding::Kind::soft_lockup);
  const auto lockup =
      std::ranges::find_if(lockups, [](auto* finding) { return names_in_role(*finding, "runs") == "soft-lockup"; });
  ASSERT_NE(lockup, lockups.end());
  EXPECT_TRUE((*lockup)->is_past);
}

TEST_P(Why, NamesTheTaskThatStallsRcuOffTheCpu) {
  const Opened opened(guest().dump("rcu-asleep"));
  const auto diagnosis = diagnose(*opened.kernel);
  const auto& messages = opened.kernel->messages()->records;
  const bool can_be = std::ranges::none_of(messages, [](const Message& message) {
    return message.text.find("cannot be preempted here") != message.text.npos;
  });
  const auto found = of_kind(diagnosis, Finding::Kind::rcu_stall);
  const auto now = std::ranges::find(found, false, &Finding::is_past);
  ASSERT_EQ(now != found.end(), can_be) << why_text(diagnosis);
  if (!can_be) return;
  EXPECT_EQ(names_in_role(**now, "reads"), "rcu-sleeper");
  EXPECT_THAT((*now)->text, AllOf(HasSubstr("RCU stall: rcu-sleeper (PID "), HasSubstr("off the CPU within an RCU")));
  EXPECT_THAT(all_text(**now), AllOf(HasSubstr("stack of rcu-sleeper"), HasSubstr("trouble_sleeps_in_rcu+0x")));
  // When it has ended the kernel's report still has its name.
  const auto afterwards = of("oops");
  const auto later = of_kind(afterwards, Finding::Kind::rcu_stall);
  const auto of_sleeper =
      std::ranges::find_if(later, [](auto* finding) { return names_in_role(*finding, "reads") == "rcu-sleeper"; });
  ASSERT_NE(of_sleeper, later.end());
  EXPECT_TRUE((*of_sleeper)->is_past);
}

/// The kernel's words, of kernels and moments that are rare in a test: each of a task that the guest has.
TEST_P(Why, UnderstandsWhoStallsRcu) {
  const Opened opened(guest().dump("mutex"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  const Scene scene{.kernel = *opened.kernel, .tasks = tasks->list};
  const auto pid = [&](std::string_view name) { return std::ranges::find(tasks->list, name, &Task::name)->pid; };
  const std::string one = std::to_string(pid("mutex-one")), two = std::to_string(pid("mutex-two"));
  const auto told = [&](std::vector<std::string> report) {
    return stalled_text(stalled_cpus(report), stalling_readers(scene, report));
  };
  const std::string off = ", taken off the CPU within an RCU read-side critical section,";
  const std::string first = "mutex-one (PID " + one + ")", second = "mutex-two (PID " + two + ")";
  EXPECT_EQ(told({"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                  "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P" + one + "/1:b..l P" + two}),
            first + ", " + second + off);
  EXPECT_EQ(told({"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                  "rcu: \t1-....: (5250 ticks this GP) idle=1ce4/1/0x4000000000000000",
                  "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P" + one}),
            "CPU 1, " + first);
  EXPECT_EQ(told({"rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D P" + two +
                  " } 2100 jiffies s: 185 root: 0x2/T"}),
            "CPU 1, " + second);
  EXPECT_EQ(
      told({"rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 0-.... } 21 jiffies s: 5 root: 0x1/."}),
      "CPU 0");
  EXPECT_EQ(told({"rcu: \tTasks blocked on level-1 rcu_node (CPUs 0-63): P999999"}),
            "PID 999999, which is no more" + off);
  EXPECT_EQ(
      told({"rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P" + one + "/1:b..l",
            "task:another one      state:R  running task     stack:0     pid:" + one + "   ppid:2      flags:0x8"}),
      "another one (PID " + one + ")" + off);
  EXPECT_EQ(
      told({"INFO: rcu_tasks detected stalls on tasks:", "00000000b92b832d: .. nvcsw: 1/1 holdout: 1 idle_cpu: -1/7",
            "task:mutex-two       state:R  running task     stack:    0 pid:" + two + " ppid:     2 flags:0x4000"}),
      second + ", which has not given up its CPU by itself,");
  EXPECT_EQ(told({"INFO: rcu_tasks_trace detected stalls on tasks:", "P" + one + ": ... nesting: 1N cpu: 2",
                  "task:mutex-one       state:D stack:15080 pid:" + one + " ppid:     2 flags:0x00004000"}),
            first + ", within a critical section of RCU tasks trace,");
  EXPECT_EQ(told({"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                  "rcu: \t0-...!: (1 GPs behind) idle=9b2/1/0x4000000000000000 softirq=1089198/1089202 fqs=0",
                  "rcu: \t12-...!: (3 ticks this GP) idle=cfe/1/0x4000000000000002 softirq=1055108/1055110 fqs=0"}),
            "CPU 0, 12");
  EXPECT_EQ(told({"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"}), "") << "it names nobody";
}

TEST_P(Why, NamesTheKthreadThatDoesNotComeToACpuAndWhatRunsThere) {
  const auto diagnosis = of("rcu-starved");
  const auto found = of_kind(diagnosis, Finding::Kind::rcu_stall);
  const auto now = std::ranges::find(found, false, &Finding::is_past);
  ASSERT_NE(now, found.end()) << why_text(diagnosis);
  const Finding& finding = **now;
  EXPECT_THAT(names_in_role(finding, "waits for a CPU"), AnyOf("rcu_preempt", "rcu_sched"));
  EXPECT_EQ(names_in_role(finding, "runs"), "rcu-starver");
  EXPECT_TRUE(regex_search(
      finding.text, Regex(R"(^RCU stall: rcu_\w+ \(PID \d+\), which ends grace periods, does not come to CPU 1, )"
                          R"(which runs rcu-starver \(PID \d+\) in \w+)")))
      << finding.text;
  EXPECT_THAT(all_text(finding), AllOf(HasSubstr("kthread starved for "), HasSubstr("stack of vCPU 1"),
                                       HasSubstr("trouble_starves_rcu+0x")));
  EXPECT_EQ(finding.key, "rcu-stall|starved kthread");
  // When it runs again, it is over.
  const auto later = of("oops");
  for (const Finding* past : of_kind(later, Finding::Kind::rcu_stall)) EXPECT_TRUE(past->is_past) << why_text(later);
}

/// Messages that no guest here comes to, one a text, all of one moment and caller (0: not known).
std::vector<Message> said(std::vector<std::string> texts, uint64_t time_ns, uint32_t caller = 0) {
  std::vector<Message> messages;
  for (std::string& text : texts) messages.push_back({.time_ns = time_ns, .caller = caller, .text = std::move(text)});
  return messages;
}

/// What is looked at of such messages in a guest that runs these tasks.
Scene scene_of(const Opened& opened, std::vector<const Task*> current) {
  Scene scene{.kernel = *opened.kernel, .current = std::move(current)};
  if (opened.kernel->tasks()) scene.tasks = opened.kernel->tasks()->list;
  for (size_t vcpu = 0; vcpu < scene.current.size(); ++vcpu) scene.stacks.push_back(opened.kernel->stack_of_cpu(vcpu));
  return scene;
}
std::vector<Finding> found_in(Scene scene, const std::vector<Message>& messages) {
  scene.messages = messages;
  std::vector<Finding> findings;
  find_in_messages(scene, findings);
  return findings;
}
/// The one that there is.
Finding told_in(const Scene& scene, const std::vector<Message>& messages) {
  const std::vector<Finding> findings = found_in(scene, messages);
  EXPECT_THAT(findings, SizeIs(1));
  return findings.empty() ? Finding{} : findings[0];
}

/// Words of kernel/watchdog_hld.c (6.1) and kernel/watchdog.c (6.5 and later).
TEST_P(Why, UnderstandsWhoseCpuIsLockedUpHard) {
  const Opened opened(guest().dump("soft"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  const auto stuck = std::ranges::find(tasks->list, std::string_view("soft-lockup"), &Task::name);
  ASSERT_NE(stuck, tasks->list.end());
  ASSERT_EQ(opened.kernel->cpu_number(1), 1u);
  const Scene scene = scene_of(opened, {nullptr, &*stuck});
  const auto told = [&](const std::vector<Message>& messages) { return told_in(scene, messages); };
  const uint64_t now = stuck->last_run_ns.value_or(0) + 1;
  const std::string pid = std::to_string(stuck->pid), who = "soft-lockup (PID " + pid + ")";
  const std::vector<std::string> registers{"CPU: 1 PID: " + pid + " Comm: soft-lockup Tainted: G           O 6.1.0",
                                           "RIP: 0010:trouble_holds+0x1c/0x40 [trouble]", "Call Trace:", " <TASK>",
                                           " trouble_thread+0x2a/0x50 [trouble]"};
  const auto with_registers = [&](std::vector<std::string> lines) {
    lines.insert(lines.end(), registers.begin(), registers.end());
    return lines;
  };

  // The CPU sees it itself, by an NMI; and still runs that task.
  const Finding own = told(said(with_registers({"NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"}), now));
  EXPECT_EQ(own.kind, Finding::Kind::hard_lockup);
  EXPECT_EQ(own.text, "hard lockup: CPU 1 is stuck in trouble_holds+0x1c/0x40 [trouble], run by " + who);
  EXPECT_FALSE(own.is_past);
  EXPECT_EQ(names_in_role(own, "runs"), "soft-lockup");
  EXPECT_EQ(own.key, "hard-lockup|trouble_holds");
  EXPECT_THAT(all_text(own), AllOf(HasSubstr("stack of vCPU 1"), HasSubstr("trouble_never_schedules+0x"),
                                   HasSubstr("trouble_thread+0x2a")));

  // Another CPU sees it, and has the one that is stuck report of itself: two callers.
  auto two = said({"watchdog: Watchdog detected hard LOCKUP on cpu 1", "Modules linked in: trouble(O)",
                   "Sending NMI from CPU 0 to CPUs 1:"},
                  now, 0x80000000);
  const auto by_nmi = said(with_registers({"NMI backtrace for cpu 1"}), now, static_cast<uint32_t>(stuck->pid));
  two.insert(two.end(), by_nmi.begin(), by_nmi.end());
  EXPECT_EQ(told(two).text, own.text);
  EXPECT_EQ(told(two).key, own.key);
  EXPECT_THAT(all_text(told(two)), HasSubstr("trouble_thread+0x2a"));

  // No report at all: what the CPU has run since is what is stuck there, and where it is.
  const Finding bare = told(said({"watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"}, now));
  EXPECT_THAT(bare.text,
              AllOf(HasSubstr("CPU 1 is stuck in trouble_never_schedules+0x"), HasSubstr(", run by " + who)));
  EXPECT_FALSE(bare.is_past);

  // aarch64's marks in a trace, and the registers of a program's.
  EXPECT_EQ(told(said({"watchdog: Watchdog detected hard LOCKUP on cpu 1", "pc : 0000aaaac3a21f80",
                       "Call trace:", " handle_percpu_devid_irq+0x8c/0x150", " el1h_64_irq+0x6c/0x70",
                       " trouble_holds+0x1c/0x40 [trouble] (PK)", " kthread+0xe8/0xec"},
                      now))
                .text,
            own.text);

  // The task came to the CPU later, or the CPU is idle: it is over.
  if (stuck->last_run_ns) {  // a kernel without sched_info does not say when
    ASSERT_GT(now, 2u);
    const Finding before =
        told(said(with_registers({"NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"}), now - 2));
    EXPECT_TRUE(before.is_past);
    EXPECT_THAT(before.text, HasSubstr("CPU 1 was stuck in trouble_holds+0x1c/0x40"));
  }
  const Finding unknown = told(said({"NMI watchdog: Watchdog detected hard LOCKUP on cpu 0"}, now));
  EXPECT_EQ(unknown.text, "hard lockup: CPU 0 was stuck in a function that the kernel did not name");
  EXPECT_TRUE(unknown.is_past);
  EXPECT_THAT(unknown.tasks, IsEmpty());
}

/// A CPU that idles is in the report when RCU's kthread has not come round to note that it does.
TEST_P(Why, SaysOfSeveralStalledCpusWhichIsStuck) {
  const Opened opened(guest().dump("soft"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  const auto stuck = std::ranges::find(tasks->list, std::string_view("soft-lockup"), &Task::name);
  ASSERT_NE(stuck, tasks->list.end());
  const Scene scene = scene_of(opened, {nullptr, &*stuck});
  const auto messages = said({"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                              "rcu: \t0-...!: (3 ticks this GP) idle=9b2/0/0x0 softirq=1089198/1089202 fqs=0",
                              "rcu: \t1-...!: (1 GPs behind) idle=cfe/1/0x4000000000000002 softirq=1055108/1055110",
                              "rcu: \t(detected by 0, t=5252 jiffies, g=161, q=499 ncpus=2)",
                              "rcu: rcu_sched kthread starved for 5250 jiffies! g161 f0x0 ->state=0x0 ->cpu=1"},
                             stuck->last_run_ns.value_or(0) + 1);
  const Finding finding = told_in(scene, messages);
  EXPECT_FALSE(finding.is_past);
  EXPECT_THAT(finding.text, AllOf(HasSubstr("RCU stall: CPU 1 does not let a grace period end, in "),
                                  HasSubstr("run by soft-lockup (PID ")));
}

/// Another CPU prints in the middle of a line, which then is in several records.
TEST_P(Why, JoinsLinesThatAnotherCpuCutOff) {
  const Opened opened(guest().dump("mutex"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  const auto reader = std::ranges::find(tasks->list, std::string_view("mutex-one"), &Task::name);
  ASSERT_NE(reader, tasks->list.end());
  const std::string pid = std::to_string(reader->pid);
  constexpr uint32_t kCpu0 = 0x80000000, kCpu1 = 0x80000001;
  std::vector<Message> messages;
  const auto say = [&](uint32_t caller, std::string text, bool is_continuation = false) {
    messages.push_back(
        {.time_ns = 1'000'000'000, .is_continuation = is_continuation, .caller = caller, .text = std::move(text)});
  };
  say(kCpu0, "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
  say(kCpu0, "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1):");
  say(kCpu1, "usb 1-1: new device");
  say(kCpu0, " P" + pid + "/1:b..l", true);
  say(kCpu1, "usb 1-1: no driver");
  say(kCpu0, "", true);
  say(kCpu0, "rcu: \t(detected by 0, t=752 jiffies, g=-295, q=11 ncpus=2)");
  EXPECT_EQ(told_in(scene_of(opened, {nullptr, nullptr}), messages).text,
            "RCU stall: mutex-one (PID " + pid +
                "), taken off the CPU within an RCU read-side critical section, did not let a grace "
                "period end");
}

/// Words of kernel/workqueue.c; Debian's kernels do not watch their workqueues, those of others do.
TEST_P(Why, UnderstandsWhoseWorkDoesNotGetDone) {
  const Opened opened(guest().dump("soft"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  const auto stuck = std::ranges::find(tasks->list, std::string_view("soft-lockup"), &Task::name);
  ASSERT_NE(stuck, tasks->list.end());
  const auto worker =
      std::ranges::find_if(tasks->list, [](const Task& task) { return task.name.starts_with("kworker/1:"); });
  ASSERT_NE(worker, tasks->list.end());
  const Scene scene = scene_of(opened, {nullptr, &*stuck});
  const auto report = [&](const std::string& cpu) {
    const std::string pool = "cpus=" + cpu + " node=0 flags=0x0 nice=0 ";
    return std::vector<std::string>{"BUG: workqueue lockup - pool " + pool + "stuck for 72s!",
                                    "Showing busy workqueues and worker pools:",
                                    "workqueue events: flags=0x0",
                                    "  pwq 10: cpus=5 node=0 flags=0x0 nice=0 active=1/256 refcnt=4",
                                    "    in-flight: 999999:another_work",
                                    "  pwq 4: " + pool + "active=15/256 refcnt=16",
                                    "    in-flight: " + std::to_string(worker->pid) + ":trouble_work [trouble]",
                                    "    pending: psi_avgs_work, psi_avgs_work",
                                    "BUG: workqueue lockup - pool " + pool + "stuck for 102s!",
                                    "Showing busy workqueues and worker pools:",
                                    "  pwq 4: " + pool + "active=15/256 refcnt=16",
                                    "    in-flight: " + std::to_string(worker->pid) + ":trouble_work [trouble]"};
  };
  const auto told = [&](const std::string& cpu) {
    return told_in(scene, said(report(cpu), stuck->last_run_ns.value_or(0) + 1));
  };
  const std::string at = " (PID " + std::to_string(worker->pid) + ") was at trouble_work";
  const Finding now = told("1");
  EXPECT_EQ(now.kind, Finding::Kind::workqueue_lockup);
  EXPECT_FALSE(now.is_past);
  EXPECT_EQ(now.text, "workqueue lockup: no work of the pool of CPU 1 gets done, " + worker->name + at +
                          ", the CPU runs soft-lockup (PID " + std::to_string(stuck->pid) + ")");
  EXPECT_EQ(now.key, "workqueue-lockup|trouble_work");
  EXPECT_THAT(all_text(now), AllOf(HasSubstr("stuck for 72s"), HasSubstr("stuck for 102s"),
                                   HasSubstr("stack of vCPU 1"), HasSubstr("trouble_never_schedules+0x")));
  const Finding before = told("0");
  EXPECT_TRUE(before.is_past);
  EXPECT_EQ(before.text, "workqueue lockup: no work of the pool of CPU 0 got done for 72s, " + worker->name + at);
  EXPECT_EQ(before.key, now.key);
}

/// Words of arch/x86/kernel/dumpstack.c and mm/oom_kill.c.
TEST_P(Why, UnderstandsRareDeathsAndKillings) {
  const Opened opened(guest().dump("busy"));
  Scene scene{.kernel = *opened.kernel, .current = {nullptr, nullptr}, .stacks = {{}, {}}};
  const auto told = [&](std::vector<std::string> texts) {
    return told_in(scene, said(std::move(texts), 1'000'000'000));
  };
  const Finding death = told({"segment not present: 0000 [#1] PREEMPT SMP PTI",
                              "CPU: 1 PID: 99 Comm: loader Not tainted 6.1.0", "RIP: 0010:loads_it+0x1c/0x40 [it]"});
  EXPECT_EQ(death.kind, Finding::Kind::oops);
  EXPECT_EQ(death.text,
            "segment not present: 0000 [#1] PREEMPT SMP PTI, in loads_it+0x1c/0x40 [it], run by loader (PID 99)");
  const Finding killed = told({"Out of memory (oom_kill_allocating_task): Killed process 99 (loader) total-vm:2048kB"});
  EXPECT_EQ(killed.kind, Finding::Kind::out_of_memory);
  EXPECT_THAT(killed.text, HasSubstr("loader (PID 99) was killed"));
  for (const char* harmless :
       {"usb 1-1: Product: 0000 [device]", "pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601",
        "Killed process accounting is on", "eth0: link up [#]"})
    EXPECT_THAT(found_in(scene, said({harmless}, 1'000'000'000)), IsEmpty()) << harmless;
}

/// A CPU that idles has no task to be told of, and others that the report shows were not on it.
TEST_P(Why, TakesForAStalledCpusTaskOnlyThatCpusOwn) {
  const Opened opened(guest().dump("busy"));
  Scene scene{.kernel = *opened.kernel, .current = {nullptr, nullptr}, .stacks = {{}, {}}};
  const auto told = [&](std::vector<std::string> dumped) {
    std::vector<std::string> texts{"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                                   "rcu: \t1-...!: (0 ticks this GP) idle=9b24/0/0x0 softirq=31/31 fqs=0",
                                   "rcu: \t(detected by 0, t=5252 jiffies, g=1009, q=11 ncpus=2)"};
    texts.insert(texts.end(), dumped.begin(), dumped.end());
    for (const char* line :
         {"rcu: rcu_preempt kthread starved for 5252 jiffies! g1009 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x402 ->cpu=1",
          "rcu: RCU grace-period kthread stack dump:",
          "task:rcu_preempt     state:I stack:0     pid:15    ppid:2      flags:0x00004000"})
      texts.emplace_back(line);
    return told_in(scene, said(std::move(texts), 1'000'000'000)).text;
  };
  EXPECT_EQ(told({"Sending NMI from CPU 0 to CPUs 1:",
                  "NMI backtrace for cpu 1 skipped: idling at native_safe_halt+0xb/0x10"}),
            "RCU stall: CPU 1 did not let a grace period end");
  EXPECT_EQ(told({"Task dump for CPU 1:",
                  "task:in two words    state:R  running task     stack:    0 pid:   99 ppid:     2 flags:0x00000008"}),
            "RCU stall: CPU 1 did not let a grace period end, run by in two words (PID 99)");
}

/// Words of kernel/panic.c, lib/dump_stack.c, arch/x86/kernel/dumpstack.c, kernel/sched/core.c.
TEST_P(Why, TellsReportsApartAndWhoRanThem) {
  const Opened opened(guest().dump("busy"));
  Scene scene{.kernel = *opened.kernel, .current = {nullptr, nullptr}, .stacks = {{}, {}}};
  const auto found = [&](const std::vector<Message>& messages) { return found_in(scene, messages); };
  const std::vector<std::string> oops{
      "BUG: kernel NULL pointer dereference, address: 0000000000000008",
      "#PF: supervisor write access in kernel mode",
      "Oops: 0002 [#1] PREEMPT SMP NOPTI",
      "CPU: 1 PID: 99 Comm: its loader Kdump: loaded Tainted: G           OE      6.1.0-50-amd64 #1  Debian 6.1.176-1",
      "RIP: e030:loads_it+0x1c/0x40 [it]",
      "Call Trace:",
      " <TASK>",
      " starts_it+0x20/0x30 [it]",
      "---[ end trace 0000000000000000 ]---"};
  const std::string words = oops[0] + ", in loads_it+0x1c/0x40 [it], run by its loader (PID 99)";
  auto findings = found(said(oops, 1, 99));
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].text, words);
  EXPECT_EQ(names_in_role(findings[0], "ran it"), "its loader");

  // A report without an end, of the same task, and what another says meanwhile.
  std::vector<std::string> two{"BUG: scheduling while atomic: its loader/99/0x00000002",
                               "CPU: 1 PID: 99 Comm: its loader Not tainted 6.1.0-50-amd64 #1  Debian 6.1.176-1",
                               "Call Trace:", " __schedule_bug+0x42/0x4e", " waits_for_it+0x20/0x30 [it]"};
  two.insert(two.end(), oops.begin(), oops.end());
  auto messages = said(std::move(two), 1, 99);
  const auto killing = said({"Out of memory: Killed process 7 (dd) total-vm:2048kB, anon-rss:4kB"}, 1, 2);
  messages.insert(messages.begin() + 3, killing.begin(), killing.end());
  findings = found(messages);
  ASSERT_THAT(findings, SizeIs(3));
  EXPECT_EQ(findings[0].text, "BUG: scheduling while atomic: its loader/99/0x00000002, run by its loader (PID 99)");
  EXPECT_EQ(findings[1].kind, Finding::Kind::out_of_memory);
  EXPECT_EQ(findings[2].text, words);

  // A program may write the same.
  messages = said(oops, 1, 99);
  for (Message& message : messages) message.facility = 1;
  EXPECT_THAT(found(messages), IsEmpty());
  EXPECT_THAT(found(said({"BUG: arch topology borken", "     the MC domain not a subset of the DIE domain"}, 1)),
              IsEmpty());

  const auto hung = said({"INFO: task dd:99 blocked in I/O wait for more than 120 seconds.",
                          "INFO: task rm:98 blocked for more than 120 seconds.",
                          "INFO: task rm:98 is blocked on a mutex likely owned by task cp:97."},
                         1);
  scene.messages = hung;
  std::string tasks;
  for (const HungTask& task : hung_tasks(scene)) tasks += task.name + ":" + std::to_string(task.pid) + " ";
  EXPECT_EQ(tasks, "dd:99 rm:98 ");
}

/// Words of mm/oom_kill.c, mm/show_mem.c, mm/hugetlb.c.
TEST_P(Why, SuspectsNoLeakWhereHugePagesAreSetAside) {
  const Opened opened(guest().dump("busy"));
  Scene scene{.kernel = *opened.kernel, .current = {nullptr, nullptr}, .stacks = {{}, {}}};
  const uint64_t pages = (500 << 20) / opened.kernel->guest().page_size.value_or(4096);
  const auto told = [&](std::vector<std::string> huge) {
    std::vector<std::string> texts{"dd invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0",
                                   "Mem-Info:",
                                   "active_anon:100 inactive_anon:20 isolated_anon:0\n active_file:10 inactive_file:10"
                                   " isolated_file:0\n free:100 free_pcp:0 free_cma:0"};
    texts.insert(texts.end(), huge.begin(), huge.end());
    texts.push_back(std::to_string(pages) + " pages RAM");
    texts.emplace_back("0 pages reserved");
    for (size_t pid = 1000; pid < 2000; ++pid)  // of each process a line
      texts.push_back(std::to_string(pid) + "     0  " + std::to_string(pid) + "     5616      512   65536  0 sh");
    texts.emplace_back("Out of memory: Killed process 99 (busybox) total-vm:2048kB, anon-rss:4kB");
    return told_in(scene, said(std::move(texts), 1)).text;
  };
  const std::string words = "out of memory: busybox (PID 99) was killed; dd had asked for memory";
  EXPECT_THAT(told({}), AllOf(testing::StartsWith(words), HasSubstr("is a guess")));
  EXPECT_EQ(told({"Node 0 hugepages_total=160 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB",
                  "Node 1 hugepages_total=80 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB"}),
            words);
}

/// A cgroup's freezer, say: ps shows state D.
TEST_P(Why, TakesNoFrozenTaskForABlockedOne) {
  const Opened opened(guest().dump("hung"));
  ASSERT_TRUE(opened.kernel->tasks()) << opened.kernel->tasks().error().text;
  std::vector<Task> tasks = opened.kernel->tasks()->list;
  const auto never = std::ranges::find(tasks, std::string_view("never"), &Task::name);
  ASSERT_NE(never, tasks.end());
  const auto index = static_cast<size_t>(never - tasks.begin());
  EXPECT_TRUE(find_waits(*opened.kernel, tasks).by_task.contains(index));
  never->state_bits = 0x8000;
  EXPECT_FALSE(find_waits(*opened.kernel, tasks).by_task.contains(index));
}

TEST_P(Why, SaysThatAllVcpusAreIdle) {
  const Opened opened(guest().dump("spin"));  // where no vCPU is in user mode
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  ASSERT_THAT(tasks->idle, SizeIs(2));
  const auto spins = std::ranges::find(tasks->list, std::string_view("spin-waiter"), &Task::name);
  ASSERT_NE(spins, tasks->list.end());
  Scene scene{.kernel = *opened.kernel, .tasks = tasks->list};
  for (size_t vcpu = 0; vcpu < 2; ++vcpu) scene.stacks.push_back(opened.kernel->stack_of_cpu(vcpu));
  const auto described = [&](std::vector<const Task*> current) {
    scene.current = std::move(current);
    Diagnosis diagnosis;
    describe_cpus(scene, diagnosis);
    return diagnosis;
  };
  const Diagnosis idle = described({&tasks->idle[0], &tasks->idle[1]});
  EXPECT_TRUE(idle.all_idle);
  EXPECT_THAT(idle.cpus,
              testing::ElementsAre(testing::StartsWith("vCPU 0: idle in "), testing::StartsWith("vCPU 1: idle in ")));
  EXPECT_THAT(why_text(idle), HasSubstr("\n\nall vCPUs are idle\nvCPU 0: idle in "));
  for (const auto& diagnosis :
       {described({&tasks->idle[0], &*spins}), described({&tasks->idle[0], nullptr}), diagnose(*opened.kernel)}) {
    EXPECT_FALSE(diagnosis.all_idle);
    EXPECT_THAT(why_text(diagnosis), testing::Not(HasSubstr("all vCPUs are idle")));
  }
  scene.stacks.clear();
  EXPECT_FALSE(described({}).all_idle) << "a dump without vCPUs says nothing";
}

TEST_P(Why, NamesAnOops) {
  const auto diagnosis = of("oops");
  const auto found = of_kind(diagnosis, Finding::Kind::oops);
  ASSERT_THAT(found, SizeIs(1)) << why_text(diagnosis);
  EXPECT_EQ(names_in_role(*found[0], "ran it"), "oops-maker");
  EXPECT_THAT(found[0]->text, AllOf(HasSubstr("NULL pointer dereference"), HasSubstr("0000000000000008"),
                                    HasSubstr("in trouble_writes_to_null+0x"), HasSubstr(", run by oops-maker (PID ")));
  EXPECT_THAT(all_text(*found[0]), HasSubstr(is_arm() ? "x29: " : "RAX: "));  // registers
}

TEST_P(Why, NamesWhomTheKillerKilledAndGuessesAtALeak) {
  const Opened opened(guest().dump("leak"));
  const auto diagnosis = diagnose(*opened.kernel);
  const auto found = of_kind(diagnosis, Finding::Kind::out_of_memory);
  ASSERT_THAT(found, SizeIs(1)) << why_text(diagnosis);
  EXPECT_EQ(names_in_role(*found[0], "was killed"), "busybox");
  // Mostly the leaker; anybody may be the one that asks when there is no more.
  std::string asked;
  for (const Message& message : opened.kernel->messages()->records) {
    const size_t mark = message.text.find(" invoked oom-killer");
    if (mark != std::string::npos && asked.empty()) asked = message.text.substr(0, mark);
  }
  EXPECT_THAT(found[0]->text, AllOf(HasSubstr("; " + asked + " had asked for memory"), HasSubstr("is a guess")));
}

TEST_P(Why, NamesTheCpuThatSpinsAndGuessesTheHolder) {
  const auto diagnosis = of("spin");
  const auto found = of_kind(diagnosis, Finding::Kind::spinning);
  ASSERT_THAT(found, SizeIs(1)) << why_text(diagnosis);
  EXPECT_EQ(&diagnosis.findings[0], found[0]);
  EXPECT_EQ(names_in_role(*found[0], "spins"), "spin-waiter");
  EXPECT_EQ(names_in_role(*found[0], "holds (a guess)"), "spin-holder");
  EXPECT_THAT(found[0]->text,
              AllOf(HasSubstr("vCPU 0"), HasSubstr("in trouble_spins"), HasSubstr("with interrupts off"),
                    HasSubstr("held by vCPU 1"), HasSubstr("trouble_holds_spinlock+0x")));
  if (names_data()) {
    EXPECT_THAT(found[0]->text, HasSubstr("trouble_spinlock [trouble]"));
  }
}

/// As guests do that know of their hypervisor; arch/x86/kernel/kvm.c, arch/x86/xen/spinlock.c.
TEST_P(Why, NamesTheCpuThatHaltsUntilALockIsFree) {
  const Opened opened(guest().dump("spin"));
  const auto& tasks = opened.kernel->tasks();
  ASSERT_TRUE(tasks) << tasks.error().text;
  Scene scene{.kernel = *opened.kernel, .tasks = tasks->list, .current = {nullptr, nullptr}};
  for (const Task& task : tasks->list)
    if (task.running_on) scene.current.at(*task.running_on) = &task;
  for (size_t vcpu = 0; vcpu < 2; ++vcpu) scene.stacks.push_back(opened.kernel->stack_of_cpu(vcpu));
  const std::vector<Frame> spins = scene.stacks[0].frames;
  ASSERT_TRUE(!spins.empty() && spins[0].place);
  const auto found = [&](std::vector<std::string_view> inner, const std::vector<Frame>& outer) {
    auto& frames = scene.stacks[0].frames;
    frames.clear();
    for (const std::string_view name : inner) {
      frames.push_back(spins[0]);
      frames.back().place->symbol.name = name;
    }
    frames.insert(frames.end(), outer.begin(), outer.end());
    std::vector<Finding> findings;
    find_spinning(scene, findings);
    return findings;
  };
  for (const std::vector<std::string_view>& inner :
       {std::vector<std::string_view>{},
        {"native_halt", "kvm_wait"},
        {"pv_native_safe_halt", "kvm_wait"},
        {"xen_hypercall_sched_op", "xen_poll_irq_timeout", "xen_poll_irq", "xen_qlock_wait"}}) {
    const auto findings = found(inner, spins);
    ASSERT_THAT(findings, SizeIs(1)) << inner.size();
    EXPECT_THAT(findings[0].text, AllOf(HasSubstr("spin-waiter"), HasSubstr("in trouble_spins")));
  }
  EXPECT_THAT(found({"native_halt", "stop_this_cpu"}, {}), IsEmpty());
  EXPECT_THAT(found({"native_halt", "stop_this_cpu"}, spins), IsEmpty());
}

TEST_P(Why, NamesAPanic) {
  const auto diagnosis = of("panic");
  ASSERT_FALSE(diagnosis.findings.empty());
  const Finding& finding = diagnosis.findings[0];
  EXPECT_EQ(finding.kind, Finding::Kind::panic) << why_text(diagnosis);
  EXPECT_TRUE(
      regex_match(finding.text, Regex(R"(the kernel panicked while busybox \(PID \d+\) ran: trouble: as it was told)")))
      << finding.text;
  const std::string text = all_text(finding);
  EXPECT_THAT(text, HasSubstr("which ran panic"));
  EXPECT_THAT(finding.key, HasSubstr("|trouble_write"));  // though this kernel, after an oops, says nothing of it
  // The compiler may put what is rarely run into a part of its own.
  EXPECT_TRUE(regex_search(text, Regex(R"(trouble_write(\.cold)?\+0x)"))) << text;
}

/// The one boot has each trouble among others, the other has it as the first that is told of.
TEST_P(Why, GivesTheSameSignatureInTwoBoots) {
  struct Stages {
    Finding::Kind kind;
    const char *first, *again;
  };
  std::set<std::string> signatures{of("spin").signature, of("panic").signature};
  for (const auto& [kind, first, again] :
       {Stages{Finding::Kind::out_of_memory, "leak", "leak-again"},
        Stages{Finding::Kind::rcu_stall, "rcu", "rcu-again"}, Stages{Finding::Kind::oops, "oops", "oops-again"},
        Stages{Finding::Kind::deadlock, "mutex", "mutex-again"}}) {
    const Diagnosis one = of(first), two = of(again);
    ASSERT_FALSE(two.findings.empty()) << again;
    const Finding& told = two.findings[0];
    EXPECT_EQ(told.kind, kind) << why_text(two);
    EXPECT_THAT(two.signature, testing::StartsWith(to_string(kind) + std::string("-")));
    std::vector<std::string> keys;
    for (const Finding* finding : of_kind(one, kind)) keys.push_back(finding->key);
    EXPECT_THAT(keys, Contains(told.key)) << why_text(one) << "\n\n" << why_text(two);
    signatures.insert(two.signature);
  }
  EXPECT_THAT(signatures, SizeIs(6)) << "each trouble has its own";

  const std::string deadlock = of("mutex-again").signature;
  EXPECT_EQ(of("mutex").signature, deadlock);
  EXPECT_EQ(of("hung").signature, deadlock);  // more tasks that wait do not change it
  EXPECT_EQ(of("leak").signature, deadlock);  // nor does what came after
}

/// The frames of the call trace that follows a message, as the kernel prints them, without those that it is not sure
/// of. Nothing where the dump may have come before all of it was printed, unless `is_whole` says that it did not.
std::optional<std::vector<std::string>> printed_trace(std::span<const Message> messages, size_t at,
                                                      bool is_whole = false) {
  std::vector<std::string> frames;
  bool inside = false;
  for (size_t i = at + 1; i < messages.size(); ++i) {
    if (messages[i].caller != messages[at].caller) continue;  // another CPU's or task's, in between
    std::string line = messages[i].text;
    if (line.starts_with("Call Trace:") || line.starts_with("Call trace:")) {
      inside = true;
    } else if (inside && regex_search(line, Regex("^ [^ ?]+\\+0x"))) {
      // Newer kernels mark where the trace begins: by a pc (P, 6.12), by a task's registers (T, 7.x).
      if (line.ends_with(" (P)") || line.ends_with(" (T)")) line.resize(line.size() - 4);
      frames.push_back(line.substr(1));
    } else if (inside && !line.starts_with(" ?") && !line.starts_with(" <")) {  // " <TASK>", " <IRQ>"
      return frames;
    } else if (line.starts_with("INFO: ")) {
      break;
    }
  }
  return is_whole ? std::optional(frames) : std::nullopt;
}
std::vector<std::string> texts(std::span<const Frame> frames) {
  std::vector<std::string> all;
  for (const Frame& frame : frames) all.push_back(frame.place ? frame.place->text() : "??");
  return all;
}

TEST_P(Why, HasTheStacksThatTheKernelPrinted) {
  const Opened opened(guest().dump("hung"));
  const auto& messages = opened.kernel->messages()->records;
  size_t compared = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    RegexMatch match;
    // The module's own: others may be late on a busy host, and go on.
    const Regex hung(
        "^INFO: task (mutex-.*|rwsem-.*|held-reader|rt-waiter|sema-waiter|never):([0-9]+) blocked for more");
    const auto printed = printed_trace(messages, i);
    if (!regex_search(messages[i].text, match, hung) || !printed) continue;
    const auto& tasks = opened.kernel->tasks()->list;
    const auto task = std::ranges::find(tasks, std::stoi(match[2]), &Task::pid);
    ASSERT_NE(task, tasks.end()) << messages[i].text;
    EXPECT_EQ(texts(opened.kernel->stack_of(*task).frames), *printed) << messages[i].text;
    ++compared;
  }
  EXPECT_GE(compared, 8U);
}

/// And of a CPU that was interrupted. By the time of "oops" the report is whole.
TEST_P(Why, HasTheStackOfACpuThatTheKernelPrinted) {
  const Opened then(guest().dump("soft")), later(guest().dump("oops"));
  const Stack stack = then.kernel->stack_of_cpu(1);
  const auto from = std::ranges::find_if(stack.frames, [](const Frame& frame) {
    return frame.place && frame.place->symbol.name == "trouble_never_schedules";
  });
  ASSERT_NE(from, stack.frames.end());
  const auto own = texts(std::span(from + 1, stack.frames.end()));
  const auto& messages = later.kernel->messages()->records;
  const auto told = std::ranges::find_if(messages, [](const Message& message) {
    return message.text.starts_with("RIP: 0010:trouble_never_schedules") ||
           message.text.starts_with("pc : trouble_never_schedules");
  });
  ASSERT_NE(told, messages.end());
  const auto found = printed_trace(messages, static_cast<size_t>(told - messages.begin()), true);
  ASSERT_TRUE(found && !found->empty());
  const auto& printed = *found;
  // aarch64's own trace lacks who called the function: it does not look into the link register.
  EXPECT_EQ(is_arm() ? std::vector{own.back()} : own, is_arm() ? std::vector{printed.back()} : printed);
}

TEST_P(Why, PrintsMessagesAsTheGuestDoes) {
  const Opened opened(guest().dump("hung"));
  ASSERT_TRUE(opened.kernel->messages()) << opened.kernel->messages().error().text;
  const std::string text = dmesg_text(*opened.kernel->messages());
  const std::string said = guest().dmesg();
  // Messages may have come after the guest printed them.
  ASSERT_GE(text.size(), said.size());
  EXPECT_EQ(text.substr(0, said.size()), said);
  EXPECT_EQ(opened.kernel->messages()->lost, 0U);
}

TEST_P(Why, IsEqualWhenAskedTwice) {
  const Opened opened(guest().dump("spin"));
  EXPECT_EQ(why_text(diagnose(*opened.kernel)), why_text(diagnose(*opened.kernel)));
}

INSTANTIATE_TEST_SUITE_P(Guests, Why, testing::ValuesIn(kGuests), guest_name);

}  // namespace
}  // namespace gcore::tests
