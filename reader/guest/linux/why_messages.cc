// What the kernel itself has said went wrong. The words are those of kernel/panic.c, arch/x86/kernel/dumpstack.c,
// arch/x86/mm/fault.c, arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c, kernel/watchdog.c, kernel/hung_task.c,
// kernel/rcu/tree_stall.h and kernel/workqueue.c.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "reader/guest/linux/why_memory.h"
#include "reader/guest/linux/why_parts.h"
#include "reader/guest/linux/why_rcu.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kReport = 400;  // records that belong to one report at most
constexpr size_t kExcerpt = 60;  // lines of one that are shown
constexpr size_t kMaxFindings = 100;
constexpr size_t kMaxMessage = 64 << 10;
constexpr size_t kCalls = 4;  // functions of a call trace that make a key

/// Any other that ends in die(), "segment not present: 0000 [#1] PREEMPT SMP PTI": its count comes after a number.
bool is_death(std::string_view text) {
  const size_t mark = text.find(" [#");
  const size_t colon = text.substr(0, std::min(mark, text.size())).rfind(": ");
  if (mark == text.npos || colon == text.npos) return false;
  const std::string_view code = text.substr(colon + 2, mark - colon - 2);
  return !code.empty() && code.find_first_not_of("0123456789abcdef") == code.npos &&
         leading_number<uint32_t>(text.substr(mark + 3));
}

bool begins_oops(std::string_view text) {
  if (contains(text, "soft lockup") || contains(text, "BUG: workqueue lockup")) return false;
  if (text == "BUG: arch topology borken") return false;  // of CPUs as some virtual machines show them: harmless
  return text.starts_with("BUG: ") || text.starts_with("Oops: ") || text.starts_with("general protection fault") ||
         text.starts_with("kernel BUG at ") || text.starts_with("invalid opcode: ") ||
         text.starts_with("divide error: ") || text.starts_with("Unable to handle kernel ") ||
         text.starts_with("Internal error: ") || text.starts_with("stack segment: ") ||
         text.starts_with("traps: PANIC: double fault") || is_death(text);
}

/// "INFO: task mutex-one:114 blocked for more than 3 seconds.", of kernels 7.x also "... blocked in I/O wait for more
/// than 3 seconds."
bool is_of_hung_task(std::string_view text) {
  return text.starts_with("INFO: task ") &&
         (contains(text, " blocked for more than ") || contains(text, " blocked in I/O wait for more than "));
}

/// "RIP: 0010:trouble_writes_to_null+0x15/0x30 [trouble]", of a paravirtualized kernel of Xen "RIP: e030:...",
/// "pc : trouble_writes_to_null+0x14/0x28 [trouble]"; of user mode, "pc : 0000aaaac3a21f80", it is no function.
std::optional<std::string_view> function_at_fault(std::string_view text) {
  if (const auto rip = after(text, "RIP: 0010:")) return rip;
  if (const auto rip = after(text, "RIP: e030:")) return rip;
  if (!text.starts_with("pc : ")) return std::nullopt;
  text.remove_prefix(5);
  const bool is_address = text.size() == 16 && text.find_first_not_of("0123456789abcdef") == text.npos;
  return is_address ? std::nullopt : std::optional(text);
}
std::string_view function_name(std::string_view place) {
  return plain_function(place.substr(0, place.find_first_of("+ ")));
}

/// Messages as they were meant: the rest of one that somebody else's cut off is with its beginning.
std::vector<Message> joined(std::span<const Message> messages) {
  std::vector<Message> all;
  std::map<uint32_t, size_t> latest;  // of each caller
  for (const Message& message : messages) {
    const auto before = message.is_continuation && message.caller != 0 ? latest.find(message.caller) : latest.end();
    if (before != latest.end() && all[before->second].text.size() < kMaxMessage) {
      all[before->second].text += message.text;
    } else {
      latest[message.caller] = all.size();
      all.push_back(message);
    }
  }
  return all;
}

class MessageReader {
 public:
  MessageReader(const Scene& scene, std::vector<Finding>& findings)
      : scene_(scene), messages_(joined(scene.messages)), findings_(findings) {}

  void read() {
    for (size_t i = 0; i < messages_.size() && findings_.size() < kMaxFindings; ++i) {
      const std::string_view text = messages_[i].text;
      if (messages_[i].facility != 0) continue;  // a program's, by /dev/kmsg
      if (const auto said = after(text, "Kernel panic - not syncing: "); said && !text.starts_with("---[")) {
        panic(i, *said);
      } else if (begins_oops(text)) {
        if (size_t& told = told_[messages_[i].caller]; i >= told) told = oops(i);
      } else if (contains(text, "soft lockup - CPU#")) {
        lockup(i, Finding::Kind::soft_lockup, *after(text, "soft lockup - CPU#"));
      } else if (const auto cpu = after(text, "hard LOCKUP on cpu ")) {
        lockup(i, Finding::Kind::hard_lockup, *cpu);
      } else if (contains(text, "detected stalls on") || contains(text, "self-detected stall on") ||
                 contains(text, "detected expedited stalls on")) {
        rcu_stall(i);
      } else if (const auto pool = after(text, "BUG: workqueue lockup - pool ")) {
        workqueue_lockup(i, *pool);
      } else if (is_of_killer(text)) {
        tell_out_of_memory(scene_, messages_, i, findings_);
      }
    }
  }

 private:
  struct Report {
    size_t begin = 0, end = 0;  // records
    std::string function{};     // "name+0x15/0x30 [module]" where the CPU was
    std::string interrupted{};  // likewise, where the report came in an interrupt: what that interrupted
    std::string calls{};        // the functions of its call trace, for keys
    std::optional<int32_t> pid{};
    std::string comm{};
    std::vector<std::string> lines{};
  };

  /// What follows a record and comes from the same task or CPU, up to the end of its trace.
  Report report_from(size_t begin) const {
    Report report{.begin = begin, .end = begin + 1};
    bool in_trace = false, after_interrupt = false, is_interrupt = false;
    size_t calls = 0;
    for (size_t i = begin; i < messages_.size() && i < begin + kReport; ++i) {
      const Message& message = messages_[i];
      if (message.caller != 0 && messages_[begin].caller != 0 && message.caller != messages_[begin].caller) continue;
      const std::string_view text = message.text;
      // What has a number of its own comes before the trace: "BUG: kernel NULL pointer ...", "Oops: 0002 [#1] SMP".
      if (i != begin && (is_another(text) || (in_trace && begins_oops(text)))) break;
      report.end = i + 1;
      report.lines.push_back(message.text);
      after_interrupt |= text.starts_with(" </IRQ>");
      if (const auto function = function_at_fault(text)) {
        if (report.function.empty()) report.function = *function;
        if (after_interrupt && report.interrupted.empty()) report.interrupted = *function;
      }
      if (const auto comm = after(text, " Comm: "); comm && report.comm.empty()) take_comm(text, *comm, report);
      if (text.starts_with("Call Trace:") || text.starts_with("Call trace:")) {
        in_trace = true;
      } else if (in_trace && text.starts_with(" ") && contains(text, "+0x") && !text.starts_with(" ?")) {
        std::string_view call = text.substr(text.find_first_not_of(' '));
        // aarch64's marks of how it came to a frame: " (P)", where something was interrupted, " (PK)"
        if (call.ends_with(')')) call = call.substr(0, call.rfind(" ("));
        if (is_interrupt) report.interrupted = call;
        is_interrupt = is_interrupt_entry(function_name(call));
        add_call(function_name(call), calls, report);
      }
      if (text.starts_with("---[ end ")) break;
    }
    return report;
  }
  static bool is_another(std::string_view text) {
    return contains(text, "Kernel panic - not syncing: ") || contains(text, "soft lockup - CPU#") ||
           contains(text, "hard LOCKUP on cpu ") || contains(text, "invoked oom-killer: ") || is_of_hung_task(text) ||
           contains(text, "detected stalls on ") || contains(text, "self-detected stall on ") ||
           contains(text, "detected expedited stalls on ") || contains(text, "workqueue lockup - pool ");
  }
  /// Those of aarch64, which has no line between an interrupt and what that interrupted.
  static bool is_interrupt_entry(std::string_view name) {
    return name == "el1h_64_irq" || name == "el1h_64_fiq" || name == "el1_irq" || name == "el1_fiq";
  }
  /// Functions that make a report, and are in its trace.
  static bool is_reporting(std::string_view name) {
    return name.starts_with("dump_") || name.starts_with("show_") || name.starts_with("panic") ||
           name.starts_with("__die") || name.starts_with("die") || name.starts_with("oops_") ||
           name.starts_with("exc_") || name.starts_with("asm_exc_") || name.starts_with("page_fault_oops") ||
           name == "vpanic";
  }
  /// One more function of the trace, `calls` of which the report has.
  static void add_call(std::string_view name, size_t& calls, Report& report) {
    if (calls < kCalls && !is_reporting(name)) report.calls += fmt::format("{}{}", calls++ == 0 ? "" : "<", name);
  }
  static void take_comm(std::string_view text, std::string_view comm, Report& report) {
    size_t end = comm.find(" Kdump: loaded ");  // where a kernel waits for a crash
    if (end == std::string_view::npos) end = comm.find(" Tainted: ");
    if (end == std::string_view::npos) end = comm.find(" Not tainted");
    if (end == std::string_view::npos) end = comm.find(' ');
    report.comm = comm.substr(0, end);
    if (const auto pid = after(text, " PID: ")) report.pid = leading_number<int32_t>(*pid);
  }

  static void add_excerpt(Finding& finding, Report&& report, const char* text) {
    report.lines.resize(std::min(report.lines.size(), kExcerpt));
    finding.evidence.push_back({.kind = Evidence::Kind::excerpt, .text = text, .lines = std::move(report.lines)});
  }
  /// What is said again and again has its first and its latest message.
  static void add_latest(Finding& finding, Evidence&& message) {
    const auto second = finding.evidence.begin() + 1;
    if (second != finding.evidence.end() && second->kind == Evidence::Kind::message) {
      *second = std::move(message);
    } else {
      finding.evidence.insert(second, std::move(message));
    }
  }
  void add_named(Finding& finding, std::optional<int32_t> pid, std::string_view name, std::string role) const {
    if (pid) finding.tasks.push_back(involved(scene_, *pid, name, std::move(role)));
  }
  static std::string who(const Report& report) {
    return report.pid ? fmt::format(", run by {} (PID {})", report.comm, *report.pid) : "";
  }

  void panic(size_t i, std::string_view said) {
    for (const Finding& finding : findings_)
      if (finding.kind == Finding::Kind::panic) return;  // there is but one
    Report report = report_from(i);
    std::vector<size_t> panicking;  // vCPUs
    for (size_t vcpu = 0; vcpu < scene_.stacks.size(); ++vcpu)
      if (std::ranges::any_of(scene_.stacks[vcpu].frames, is_panic)) panicking.push_back(vcpu);
    if (!panicking.empty()) complete_panic(panicking[0], report);
    Finding finding{.kind = Finding::Kind::panic, .time_ns = messages_[i].time_ns};
    const std::string whose = report.pid ? fmt::format(" while {} (PID {}) ran", report.comm, *report.pid) : "";
    finding.text = fmt::format("the kernel panicked{}: {}", whose, said);
    finding.evidence.push_back(message_evidence(messages_[i]));
    add_excerpt(finding, std::move(report), "the kernel's report");
    add_named(finding, report.pid, report.comm, "ran panic");
    finding.key = fmt::format("panic|{}|{}", without_numbers(said), report.calls);
    for (const size_t vcpu : panicking)
      finding.evidence.push_back(
          stack_evidence(fmt::format("stack of vCPU {}, which ran panic", vcpu), scene_.stacks[vcpu]));
    findings_.push_back(std::move(finding));
  }

  static bool is_panic(const Frame& frame) {
    return frame.place && (frame.place->symbol.name == "panic" || frame.place->symbol.name == "vpanic");
  }
  /// After an oops a kernel panics without a word on who did so, and from where.
  void complete_panic(size_t vcpu, Report& report) const {
    if (const Task* task = scene_.current[vcpu]; task && !report.pid) {
      report.pid = task->pid;
      report.comm = task->name;
    }
    if (!report.calls.empty()) return;
    const auto& frames = scene_.stacks[vcpu].frames;
    const auto last = std::ranges::find_if(frames.rbegin(), frames.rend(), is_panic);
    size_t calls = 0;
    for (auto frame = last.base(); frame != frames.end() && calls < kCalls; ++frame) {
      if (!frame->place || frame->is_guess) continue;
      const std::string_view name = plain_function(frame->place->symbol.name);
      add_call(name, calls, report);
    }
  }

  /// The record that it ends at.
  size_t oops(size_t i) {
    Report report = report_from(i);
    Finding finding{.kind = Finding::Kind::oops, .time_ns = messages_[i].time_ns};
    finding.text =
        fmt::format("{}{}{}", messages_[i].text, report.function.empty() ? "" : ", in " + report.function, who(report));
    finding.evidence.push_back(message_evidence(messages_[i]));
    add_excerpt(finding, std::move(report), "the kernel's report, with registers");
    add_named(finding, report.pid, report.comm, "ran it");
    finding.key =
        fmt::format("oops|{}|{}|{}", without_numbers(messages_[i].text), function_name(report.function), report.calls);
    findings_.push_back(std::move(finding));
    return report.end;
  }

  /// "1 stuck for 8s! [soft-lockup:257]"
  void lockup(size_t i, Finding::Kind kind, std::string_view rest) {
    const auto cpu = leading_number<uint32_t>(rest);
    if (!cpu) return;
    Report report = report_from(i);
    if (const size_t open = rest.find('['), close = rest.rfind(']');
        kind == Finding::Kind::soft_lockup && open < close && close != std::string_view::npos) {
      const std::string_view task = rest.substr(open + 1, close - open - 1);
      const size_t colon = task.rfind(':');
      report.comm = task.substr(0, colon);
      if (colon != std::string_view::npos) report.pid = leading_number<int32_t>(task.substr(colon + 1));
    }
    const bool soft = kind == Finding::Kind::soft_lockup;
    if (!report.pid) add_report_of_cpu(*cpu, report);
    Finding finding{.kind = kind, .time_ns = messages_[i].time_ns};
    if (const Task* runs = running_since(messages_[i].time_ns, *cpu); runs && !report.pid) {
      report.pid = runs->pid;
      report.comm = runs->name;
    }
    finding.is_past = !runs_since(messages_[i].time_ns, *cpu, report.pid);
    complete(report, *cpu, !finding.is_past);
    finding.text = fmt::format(
        "{} lockup: CPU {} {} in {}{}", soft ? "soft" : "hard", *cpu, finding.is_past ? "was stuck" : "is stuck",
        report.function.empty() ? "a function that the kernel did not name" : report.function, who(report));
    finding.evidence.push_back(message_evidence(messages_[i]));
    add_named(finding, report.pid, report.comm, "runs");
    finding.key = fmt::format("{}|{}", to_string(kind), function_name(report.function));
    // Said again every few seconds: one finding a CPU and task, with the latest message.
    for (Finding& before : findings_) {
      if (before.kind != kind || before.tasks.empty() || finding.tasks.empty() ||
          before.tasks[0].pid != finding.tasks[0].pid)
        continue;
      add_latest(before, std::move(finding.evidence[0]));
      return;
    }
    if (!finding.is_past) add_stack_of_cpu(finding, *cpu);
    add_excerpt(finding, std::move(report), "the kernel's report");
    findings_.push_back(std::move(finding));
  }

  std::optional<size_t> vcpu_of(uint32_t cpu) const {
    for (size_t vcpu = 0; vcpu < scene_.current.size(); ++vcpu)
      if (scene_.kernel.cpu_number(vcpu) == cpu) return vcpu;
    return std::nullopt;
  }
  /// The task that a CPU has run since that time without a pause; nullptr where it has not, or is idle.
  const Task* running_since(uint64_t time_ns, uint32_t cpu) const {
    const auto vcpu = vcpu_of(cpu);
    const Task* task = vcpu ? scene_.current[*vcpu] : nullptr;
    return task && task->pid != 0 && task->last_run_ns.value_or(0) <= time_ns ? task : nullptr;
  }
  bool runs_since(uint64_t time_ns, uint32_t cpu, std::optional<int32_t> pid) const {
    const Task* task = running_since(time_ns, cpu);
    return task && pid == task->pid;
  }
  /// Whether the function of that text is called, at some distance, by an interrupt of that frame.
  static bool is_within(const Stack& stack, const Frame& interrupted, std::string_view text) {
    return std::any_of(stack.frames.data(), &interrupted, [&](const Frame& frame) {
      return frame.place && function_name(frame.place->text()) == function_name(text);
    });
  }
  /// Of a CPU that is stuck: what it was at, and not the interrupt that came meanwhile. A dump may come while the
  /// kernel still writes its report: the stack of the CPU, if that still is at it, has what is missing there.
  void complete(Report& report, uint32_t cpu, bool still) const {
    if (!report.interrupted.empty()) report.function = report.interrupted;
    const auto vcpu = vcpu_of(cpu);
    if (!still || !vcpu) return;
    const Stack& stack = scene_.stacks[*vcpu];
    const Frame* frame = interrupted_frame(stack);
    const bool is_named = !report.function.empty() && (!frame || !is_within(stack, *frame, report.function));
    if (is_named || stack.frames.empty()) return;
    if (!frame) frame = &stack.frames.front();
    if (frame && frame->place) report.function = frame->place->text();
  }
  void add_stack_of_cpu(Finding& finding, uint32_t cpu) const {
    if (const auto vcpu = vcpu_of(cpu))
      finding.evidence.push_back(stack_evidence(fmt::format("stack of vCPU {}", *vcpu), scene_.stacks[*vcpu]));
  }

  void rcu_stall(size_t i) {
    Report report = report_from(i);
    Finding finding{.kind = Finding::Kind::rcu_stall, .time_ns = messages_[i].time_ns};
    const bool by_itself = contains(messages_[i].text, "self-detected");
    auto cpus = stalled_cpus(report.lines);
    if (const uint32_t caller = messages_[i].caller; cpus.empty() && by_itself && caller >> 31 != 0)
      cpus.push_back(caller & INT32_MAX);  // the line that says so is still to come
    // Of several the report may have some that only nobody has asked: those that do not go on are who stalls.
    std::vector<uint32_t> stuck;
    std::ranges::copy_if(cpus, std::back_inserter(stuck),
                         [&](uint32_t each) { return running_since(messages_[i].time_ns, each); });
    if (!stuck.empty()) cpus = stuck;
    const auto readers = stalling_readers(scene_, report.lines);
    const uint32_t cpu = cpus.empty() ? 0 : cpus[0];
    if (!by_itself) forget_who_reports(report);
    if (!cpus.empty() && !by_itself) add_report_of_cpu(cpu, report);
    const Task* runs = cpus.empty() ? nullptr : running_since(messages_[i].time_ns, cpu);
    if (runs && !report.pid) {
      report.pid = runs->pid;
      report.comm = runs->name;
    }
    const bool cpu_goes_on = !runs || runs->pid != report.pid;
    finding.is_past =
        cpu_goes_on && std::ranges::none_of(readers, [](const RcuReader& reader) { return reader.is_in_it; });
    // Of a CPU that idles nobody but that kthread notes that it does not read.
    const auto starved = starved_kthread(scene_, report.lines);
    const bool starves = starved && is_still(*starved, messages_[i].time_ns);
    // A CPU that is stuck itself keeps that kthread from running, too.
    const bool is_starved = finding.is_past && starved &&
                            (starves || (readers.empty() && std::ranges::find(cpus, starved->cpu) == cpus.end()));
    if (is_starved) {
      cpus.clear();
      tell_starved(*starved, starves, report, finding);
    } else {
      complete(report, cpu, !cpu_goes_on);
      finding.text = "RCU stall: " + stall_text(stalled_text(cpus, readers), finding.is_past);
      if (!cpus.empty())
        finding.text += fmt::format("{}{}", report.function.empty() ? "" : ", in " + report.function, who(report));
    }
    finding.evidence.push_back(message_evidence(messages_[i]));
    for (Finding& before : findings_) {
      if (before.kind != finding.kind || before.text != finding.text) continue;
      if (before.evidence.size() < 3) before.evidence.push_back(finding.evidence[0]);
      return;
    }
    if (!cpus.empty()) add_named(finding, report.pid, report.comm, "runs");
    if (!cpu_goes_on)
      for (const uint32_t stalled : cpus) add_stack_of_cpu(finding, stalled);
    finding.key = fmt::format("rcu-stall|{}", is_starved ? "starved kthread" : function_name(report.function));
    add_readers(readers, cpus.empty(), finding);
    if (starves && !is_starved) finding.evidence.push_back({.text = starved_text(*starved, false)});
    add_excerpt(finding, std::move(report), "the kernel's report");
    findings_.push_back(std::move(finding));
  }

  static std::string stall_text(const std::string& who, bool is_past) {
    if (who.empty()) return "a grace period did not end, and the kernel named nobody";
    return who + (is_past ? " did not let a grace period end" : " does not let a grace period end");
  }

  static bool is_still(const StarvedKthread& kthread, uint64_t since_ns) {
    return kthread.task && !kthread.task->running_on && kthread.task->last_run_ns.value_or(UINT64_MAX) <= since_ns;
  }
  static std::string starved_text(const StarvedKthread& kthread, bool is_past) {
    return fmt::format("{}, which ends grace periods, {} to {}",
                       kthread.task ? task_text(*kthread.task) : "the kthread " + kthread.name,
                       is_past ? "did not come" : "does not come",
                       kthread.cpu ? fmt::format("CPU {}", *kthread.cpu) : "a CPU");
  }
  /// Nobody reads any more, and what would end the grace period does not come to its CPU: something else has that.
  void tell_starved(const StarvedKthread& kthread, bool still, Report& report, Finding& finding) const {
    const Task* task = kthread.task;
    finding.is_past = !still;
    forget_who_reports(report);
    finding.text = "RCU stall: " + starved_text(kthread, finding.is_past);
    if (task) add_task(finding, *task, "waits for a CPU");
    const auto vcpu = kthread.cpu ? vcpu_of(*kthread.cpu) : std::nullopt;
    const Task* runs = vcpu ? scene_.current[*vcpu] : nullptr;
    if (finding.is_past || !runs || runs->pid == 0) return;
    complete(report, *kthread.cpu, true);
    finding.text +=
        fmt::format(", which runs {}{}", task_text(*runs), report.function.empty() ? "" : " in " + report.function);
    add_task(finding, *runs, "runs");
    add_stack_of_cpu(finding, *kthread.cpu);
  }

  void add_readers(const std::vector<RcuReader>& readers, bool alone, Finding& finding) const {
    constexpr size_t kShown = 6;
    size_t shown = 0;
    for (const RcuReader& reader : readers) {
      if (!reader.name.empty()) add_named(finding, reader.pid, reader.name, "reads");
      if (!reader.task) continue;
      const Stack stack = scene_.kernel.stack_of(*reader.task);
      if (alone && shown == 0) finding.key += key_of(stack, 1);
      if (reader.is_in_it && shown++ < kShown)
        finding.evidence.push_back(stack_evidence("stack of " + task_text(*reader.task), stack));
    }
  }

  /// Of a stall that another CPU has seen, what stands there of a CPU and a task is about that one.
  static void forget_who_reports(Report& report) {
    report.function.clear();
    report.interrupted.clear();
    report.comm.clear();
    report.pid.reset();
  }

  /// Where another CPU has seen the stall, the stalled one reports of itself (by an NMI), or its task is printed. Other
  /// tasks may be, too, such as RCU's kthread that starves.
  void add_report_of_cpu(uint32_t cpu, Report& report) const {
    const std::string by_nmi = fmt::format("NMI backtrace for cpu {}", cpu);
    const std::string by_task = fmt::format("Task dump for CPU {}:", cpu);
    bool is_of_cpu = false;  // what the last of these lines announced
    for (size_t i = report.begin; i < messages_.size() && i < report.begin + kReport; ++i) {
      const std::string_view text = messages_[i].text;
      if (i != report.begin && is_another(text)) return;
      if (text.ends_with(by_nmi)) {
        Report own = report_from(i);
        report.function = own.function;
        report.interrupted = own.interrupted;
        report.comm = own.comm;
        report.pid = own.pid;
        report.lines.insert(report.lines.end(), own.lines.begin(), own.lines.end());
        return;
      }
      if (text.starts_with("Task dump for CPU ")) is_of_cpu = text == by_task;
      if (const auto task = is_of_cpu ? shown_task(text) : std::nullopt) {
        report.comm = task->name;
        report.pid = task->pid;
        return;
      }
    }
  }
  /// "cpus=2 node=0 flags=0x0 nice=0 stuck for 72s!", and later in the report
  /// "  pwq 4: cpus=2 node=0 flags=0x0 nice=0 active=15/256 refcnt=16" and "    in-flight: 3760137:psi_avgs_work".
  void workqueue_lockup(size_t i, std::string_view pool) {
    const auto cpus = after(pool, "cpus="), stuck = after(pool, "stuck for ");
    if (!cpus || !stuck) return;
    const std::string whose(cpus->substr(0, cpus->find(' ')));
    Report report = report_from(i);
    Finding finding{.kind = Finding::Kind::workqueue_lockup, .time_ns = messages_[i].time_ns};
    const auto worker = worker_of(report.lines, whose);
    const Task* works = worker ? scene_.task_of_pid(worker->first) : nullptr;
    if (works && !works->is_kernel_thread) works = nullptr;  // the number is another's by now
    // Of workers that no single CPU has, the CPU says nothing.
    const bool is_of_one = whose.find_first_not_of("0123456789") == whose.npos;
    const uint32_t cpu = leading_number<uint32_t>(whose).value_or(UINT32_MAX);
    const Task* runs = is_of_one ? running_since(messages_[i].time_ns, cpu) : nullptr;
    finding.is_past = !runs && !(works && works->running_on);
    finding.text = fmt::format("workqueue lockup: no work of the pool of CPU {} {} done{}", whose,
                               finding.is_past ? "got" : "gets",
                               finding.is_past ? fmt::format(" for {}", stuck->substr(0, stuck->find('!'))) : "");
    if (worker) {
      finding.text += fmt::format(", {} was at {}", works ? task_text(*works) : fmt::format("PID {}", worker->first),
                                  worker->second);
      if (works) add_task(finding, *works, "works");
    }
    if (runs && runs != works) {
      finding.text += fmt::format(", the CPU runs {}", task_text(*runs));
      add_task(finding, *runs, "runs");
    }
    finding.key = fmt::format("workqueue-lockup|{}", worker ? plain_function(worker->second) : "");
    finding.evidence.push_back(message_evidence(messages_[i]));
    // Said again every half minute, with a greater number.
    for (Finding& before : findings_) {
      if (before.kind != finding.kind ||
          before.text.substr(0, before.text.find(" done")) != finding.text.substr(0, finding.text.find(" done")))
        continue;
      add_latest(before, std::move(finding.evidence[0]));
      return;
    }
    if (runs) add_stack_of_cpu(finding, cpu);
    add_excerpt(finding, std::move(report), "the kernel's report");
    findings_.push_back(std::move(finding));
  }
  /// The first worker of the pool that was at something, and at which function.
  static std::optional<std::pair<int32_t, std::string>> worker_of(const std::vector<std::string>& report,
                                                                  const std::string& cpus) {
    bool is_of_pool = false;
    for (const std::string& line : report) {
      if (line.starts_with("  pwq ")) is_of_pool = contains(line, "cpus=" + cpus + " ");
      const auto workers = after(line, "in-flight: ");
      if (!is_of_pool || !workers) continue;
      const auto pid = leading_number<int32_t>(*workers);
      const auto work = after(*workers, ":");
      if (pid && work) return std::pair(*pid, std::string(work->substr(0, work->find_first_of(" ,"))));
    }
    return std::nullopt;
  }

  const Scene& scene_;
  std::vector<Message> messages_;
  std::vector<Finding>& findings_;
  std::map<uint32_t, size_t> told_;  // of each caller the record that its last oops ended at
};

}  // namespace

void find_in_messages(const Scene& scene, std::vector<Finding>& findings) { MessageReader(scene, findings).read(); }

std::vector<HungTask> hung_tasks(const Scene& scene) {
  std::vector<HungTask> hung;
  for (const Message& message : scene.messages) {
    const size_t mark = message.text.rfind(" blocked ");
    if (!is_of_hung_task(message.text) || message.facility != 0) continue;
    const std::string_view task = std::string_view(message.text).substr(11, mark - 11);
    const size_t colon = task.rfind(':');
    if (colon == std::string_view::npos) continue;
    const auto pid = leading_number<int32_t>(task.substr(colon + 1));
    if (!pid) continue;
    hung.push_back(
        {.pid = *pid, .name = std::string(task.substr(0, colon)), .time_ns = message.time_ns, .text = message.text});
  }
  return hung;
}

}  // namespace gcore::reader::linux_guest
